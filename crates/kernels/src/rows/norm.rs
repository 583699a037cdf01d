//! Layer and RMS normalisation of rows, with the residual addition before it fused in.
//!
//! Owns the checks and the walk over rows; the arithmetic of one row is the kernel's. A row is staged before anything
//! is written, so outputs may take the places of inputs.

use super::{KERNELS, TILE, reference};
use crate::arena::{Memory, Span};
use crate::isa::{Isa, Method, select};
use crate::layout::{Layout, to_signed};
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use crate::scratch::with_slots;

/// Which statistic normalises a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `(x − mean) / √(variance + ε)`, the variance that of the population.
    Layer,
    /// `x / √(mean of squares + ε)`.
    Rms,
}

/// Rows of f32 in a span, `stride` elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowView {
    /// Where the rows are; row 0 begins it.
    pub span: Span,
    /// Elements from one row to the next.
    pub stride: usize,
}

/// Normalisation of `rows` rows of `columns` elements: `out = norm(input + residual)·gamma + beta`.
#[derive(Clone, Debug)]
pub struct NormSpec {
    /// Which statistic.
    pub kind: NormKind,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// What to normalise.
    pub input: RowView,
    /// Added to the input first.
    pub residual: Option<RowView>,
    /// Receives `input + residual`.
    pub sum: Option<RowView>,
    /// Scale per column.
    pub gamma: Option<Operand>,
    /// Offset per column.
    pub beta: Option<Operand>,
    /// Added under the root.
    pub epsilon: f32,
    /// Receives the normalised rows.
    pub output: RowView,
}

struct Rows<P> {
    place: P,
    stride: usize,
}

/// A [`NormSpec`] ready to run.
pub struct NormStep {
    kind: NormKind,
    rows: usize,
    columns: usize,
    input: Rows<Source<f32>>,
    residual: Option<Rows<Source<f32>>>,
    sum: Option<Rows<Target<f32>>>,
    gamma: Option<Source<f32>>,
    beta: Option<Source<f32>>,
    epsilon: f32,
    output: Rows<Target<f32>>,
    in_place: bool,
    per_tile: usize,
    isa: Isa,
    method: Method,
}

/// One staged row and what turns it into the result.
pub(super) struct NormRow<'a> {
    pub(super) kind: NormKind,
    pub(super) row: &'a [f32],
    pub(super) gamma: Option<&'a [f32]>,
    pub(super) beta: Option<&'a [f32]>,
    pub(super) epsilon: f32,
    pub(super) output: &'a mut [f32],
}

impl NormStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// Operands that are too small, written rows that overlap each other or an input other than by taking its exact
    /// place, an epsilon below zero, or a `FUSEBOX_KERNEL` this CPU cannot run.
    pub fn new(spec: NormSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        let (rows, columns) = (spec.rows, spec.columns);
        if spec.epsilon.is_nan() || spec.epsilon < 0.0 {
            return Err(SpecError::new(format!("norm: epsilon {} is below zero", spec.epsilon)));
        }
        let reach = |view: RowView, what: &str| {
            let strides = vec![to_signed(view.stride), 1];
            Layout { dims: vec![rows, columns], strides, offset: 0 }.reach(what)
        };
        let source = |view: RowView, what: &str| {
            let place = Source::new(view.span.into(), reach(view, what)?, what)?;
            Ok::<_, SpecError>(Rows { place, stride: view.stride })
        };
        let target = |view: RowView, what: &str| {
            if view.stride < columns && rows > 1 {
                return Err(SpecError::new(format!("{what}: rows of {columns}, {} apart", view.stride)));
            }
            Ok(Rows { place: Target::new(view.span, reach(view, what)?, what)?, stride: view.stride })
        };
        let weights = |operand: Option<Operand>, what: &str| {
            operand.map(|operand| Source::new(operand, columns, what)).transpose()
        };
        let in_place = takes_place(&spec)?;
        Ok(Self {
            kind: spec.kind,
            rows,
            columns,
            input: source(spec.input, "norm input")?,
            residual: spec.residual.map(|view| source(view, "norm residual")).transpose()?,
            sum: spec.sum.map(|view| target(view, "norm sum")).transpose()?,
            gamma: weights(spec.gamma, "norm gamma")?,
            beta: weights(spec.beta, "norm beta")?,
            epsilon: spec.epsilon,
            output: target(spec.output, "norm output")?,
            in_place,
            per_tile: (TILE / columns.max(1)).max(1),
            isa,
            method,
        })
    }

    /// # Safety
    /// `row < self.rows`, nothing else accesses the written rows of that number, nothing writes the inputs.
    unsafe fn row(&self, row: usize, staged: &mut [f32], memory: &Memory<'_>) {
        let read = |rows: &Rows<Source<f32>>| {
            // SAFETY: the view reaches every row; the borrow ends before anything is written.
            unsafe {
                std::slice::from_raw_parts(rows.place.locate(memory).add(row * rows.stride), self.columns)
            }
        };
        let weights = |source: &Source<f32>| {
            // SAFETY: the operand holds a value per column.
            unsafe { std::slice::from_raw_parts(source.locate(memory), self.columns) }
        };
        match &self.residual {
            Some(residual) => add(read(&self.input), read(residual), staged),
            None => staged.copy_from_slice(read(&self.input)),
        }
        let write = |rows: &Rows<Target<f32>>| {
            // SAFETY: the view reaches every row and the caller vouches for exclusive access.
            unsafe {
                std::slice::from_raw_parts_mut(rows.place.locate(memory).add(row * rows.stride), self.columns)
            }
        };
        if let Some(sum) = &self.sum {
            write(sum).copy_from_slice(staged);
        }
        let normed = NormRow {
            kind: self.kind,
            row: staged,
            gamma: self.gamma.as_ref().map(weights),
            beta: self.beta.as_ref().map(weights),
            epsilon: self.epsilon,
            output: write(&self.output),
        };
        match self.method {
            Method::Vector(level) => level.dispatch(normed),
            Method::Scalar => reference::norm(normed),
        }
    }
}

fn add(a: &[f32], b: &[f32], sum: &mut [f32]) {
    sum.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum = a + b);
}

/// Whether an output takes the place of an input; refuses overlaps that are not exact.
fn takes_place(spec: &NormSpec) -> Result<bool, SpecError> {
    let mut found = false;
    for output in std::iter::once(&spec.output).chain(&spec.sum) {
        let weights = [&spec.gamma, &spec.beta].into_iter().flatten().filter_map(Operand::span);
        if weights.into_iter().any(|span| span.overlaps(output.span)) {
            return Err(SpecError::new("norm: an output overlaps gamma or beta"));
        }
        for input in std::iter::once(&spec.input).chain(&spec.residual) {
            if input.span.overlaps(output.span) {
                if input != output {
                    return Err(SpecError::new(format!("norm: {output:?} overlaps {input:?} in part")));
                }
                found = true;
            }
        }
    }
    Ok(found)
}

// SAFETY: the views were checked against their spans, tiles are disjoint ranges of rows, and a row is staged before
// anything of the same number is written.
unsafe impl Step for NormStep {
    fn name(&self) -> String {
        let kind = if self.kind == NormKind::Layer { "layernorm" } else { "rmsnorm" };
        format!("{kind}.{}", self.isa)
    }
    fn reads(&self) -> Vec<Span> {
        let rows = std::iter::once(&self.input).chain(&self.residual).filter_map(|rows| rows.place.span());
        rows.chain([&self.gamma, &self.beta].into_iter().flatten().filter_map(Source::span)).collect()
    }
    fn writes(&self) -> Vec<Span> {
        std::iter::once(&self.output).chain(&self.sum).map(|rows| rows.place.span()).collect()
    }
    fn in_place(&self) -> bool {
        self.in_place
    }
    fn tiles(&self, _: usize) -> usize {
        if self.columns == 0 { 0 } else { self.rows.div_ceil(self.per_tile) }
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let start = tile.index * self.per_tile;
        let end = (start + self.per_tile).min(self.rows);
        with_slots(1, self.columns * size_of::<f32>(), |slots| {
            let staged = &mut slots[0].floats_mut()[..self.columns];
            // SAFETY: these rows belong to this tile.
            (start..end).for_each(|row| unsafe { self.row(row, staged, memory) });
        });
        Ok(())
    }
}
