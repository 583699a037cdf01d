//! Position of the largest or smallest element along one axis (ONNX ArgMax, ArgMin).
//!
//! NaN counts as the extremum, as numpy has it. Positions come out as i64.

use crate::arena::{Memory, Span};
use crate::layout::Layout;
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};

/// Elements one tile reads, about.
const TILE: usize = 32 << 10;

/// Which extremum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgExtremum {
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// The position of an extremum along `axis` of a contiguous f32 tensor.
#[derive(Clone, Debug)]
pub struct ArgSpec {
    /// Shape of the input.
    pub dims: Vec<usize>,
    /// Axis to search.
    pub axis: usize,
    /// Which extremum.
    pub extremum: ArgExtremum,
    /// Of equal elements, the last instead of the first.
    pub last: bool,
    /// The input.
    pub input: Operand,
    /// i64 positions, one per remaining index.
    pub output: Span,
}

/// An [`ArgSpec`] ready to run.
pub struct ArgStep {
    outputs: usize,
    extent: usize,
    inner: usize,
    extremum: ArgExtremum,
    last: bool,
    input: Source<f32>,
    output: Target<i64>,
    per_tile: usize,
}

impl ArgStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// An axis out of range or without elements, or operands that are too small.
    pub fn new(spec: ArgSpec) -> Result<Self, SpecError> {
        let ArgSpec { dims, axis, extremum, last, input, output } = spec;
        let count = Layout::contiguous(&dims).reach("arg input")?;
        let extent = *dims
            .get(axis)
            .ok_or_else(|| SpecError::new(format!("arg axis {axis} of {} dims", dims.len())))?;
        let others = || dims.iter().enumerate().filter(|&(a, _)| a != axis).map(|(_, &d)| d);
        if extent == 0 && others().all(|d| d > 0) {
            return Err(SpecError::new(format!("arg: axis {axis} has no elements to choose from")));
        }
        let outputs = count.checked_div(extent).unwrap_or(0);
        Ok(Self {
            outputs,
            extent,
            inner: dims[axis + 1..].iter().product(),
            extremum,
            last,
            input: Source::new(input, count, "arg input")?,
            output: Target::new(output, outputs, "arg output")?,
            per_tile: (TILE / extent.max(1)).max(1),
        })
    }

    fn search(&self, input: &[f32], output: usize) -> i64 {
        let base = output / self.inner * self.extent * self.inner + output % self.inner;
        let at = |index: usize| input[base + index * self.inner];
        let better = |x: f32, best: f32| match self.extremum {
            ArgExtremum::Max => x > best || (x.is_nan() && !best.is_nan()),
            ArgExtremum::Min => x < best || (x.is_nan() && !best.is_nan()),
        };
        let mut found = 0;
        for index in 1..self.extent {
            let (x, best) = (at(index), at(found));
            let ties = self.last && (x == best || (x.is_nan() && best.is_nan()));
            if better(x, best) || ties {
                found = index;
            }
        }
        i64::try_from(found).unwrap_or(i64::MAX)
    }
}

// SAFETY: Source and Target hold the input and the output; tiles write disjoint ranges of the output.
unsafe impl Step for ArgStep {
    fn name(&self) -> String {
        format!("arg{:?}", self.extremum).to_lowercase()
    }
    fn reads(&self) -> Vec<Span> {
        self.input.span().into_iter().collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.output.span()]
    }
    fn tiles(&self, _: usize) -> usize {
        self.outputs.div_ceil(self.per_tile)
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let start = tile.index * self.per_tile;
        let count = self.per_tile.min(self.outputs - start);
        // SAFETY: the operands hold this many elements, nothing writes the input, and these outputs are the tile's.
        let (input, output) = unsafe {
            let input = std::slice::from_raw_parts(self.input.locate(memory), self.outputs * self.extent);
            (input, std::slice::from_raw_parts_mut(self.output.locate(memory).add(start), count))
        };
        output.iter_mut().enumerate().for_each(|(i, out)| *out = self.search(input, start + i));
        Ok(())
    }
}
