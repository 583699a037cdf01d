//! Reductions over any set of axes, and the position of the extremum along one.
//!
//! Contract: [`ReduceSpec`] folds the elements of the named axes of a contiguous tensor; what is kept stays in order,
//! contiguous. Float sums run in pieces whose partial sums are joined in f64, so the error does not grow with the
//! extent. The order of summation depends on the shape alone.

mod arg;
mod plan;
mod portable;
mod reference;
#[cfg(test)]
mod tests;

pub use arg::{ArgExtremum, ArgSpec, ArgStep};

use crate::arena::{Memory, Span};
use crate::element::Element;
use crate::isa::{Isa, Kernel, Method, VECTOR_KERNELS, select};
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use plan::Plan;

/// Best first.
pub static KERNELS: &[Kernel<Method>] = VECTOR_KERNELS;

/// How elements are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// `Σx`.
    Sum,
    /// `Σx / n`; integers truncate.
    Mean,
    /// The largest; NaN if any is.
    Max,
    /// The smallest; NaN if any is.
    Min,
    /// `Πx`.
    Prod,
    /// `Σ|x|`.
    L1,
    /// `√Σx²`.
    L2,
    /// `Σx²`.
    SumSquare,
}

impl Reduction {
    /// Every reduction.
    pub const ALL: [Self; 8] =
        [Self::Sum, Self::Mean, Self::Max, Self::Min, Self::Prod, Self::L1, Self::L2, Self::SumSquare];
}

/// A reduction of a contiguous tensor.
#[derive(Clone, Debug)]
pub struct ReduceSpec {
    /// Shape of the input.
    pub dims: Vec<usize>,
    /// Axes to fold; an empty list folds none.
    pub axes: Vec<usize>,
    /// How.
    pub reduction: Reduction,
    /// [`Element::F32`], [`Element::I32`] or [`Element::I64`], of input and output.
    pub element: Element,
    /// The input.
    pub input: Operand,
    /// The output: the product of the kept dims.
    pub output: Span,
}

enum Operands {
    F32(Source<f32>, Target<f32>),
    I32(Source<i32>, Target<i32>),
    I64(Source<i64>, Target<i64>),
}

/// A [`ReduceSpec`] ready to run.
pub struct ReduceStep {
    plan: Plan,
    reduction: Reduction,
    operands: Operands,
    isa: Isa,
    method: Method,
}

impl ReduceStep {
    /// Checks the spec and plans its tiles.
    ///
    /// # Errors
    /// An axis out of range, another element type, operands that are too small, or a `FUSEBOX_KERNEL` this CPU cannot
    /// run.
    pub fn new(spec: ReduceSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        let ReduceSpec { dims, axes, reduction, element, input, output } = spec;
        let plan = Plan::new(&dims, &axes)?;
        let (read, written) = (plan.inputs(), plan.outputs);
        let (from, to) = ("reduce input", "reduce output");
        let operands = match element {
            Element::F32 => Operands::F32(Source::new(input, read, from)?, Target::new(output, written, to)?),
            Element::I32 => Operands::I32(Source::new(input, read, from)?, Target::new(output, written, to)?),
            Element::I64 => Operands::I64(Source::new(input, read, from)?, Target::new(output, written, to)?),
            other => {
                let reason = format!("reduce: elements are {}; f32, i32 and i64 exist", other.name());
                return Err(SpecError::new(reason));
            }
        };
        Ok(Self { plan, reduction, operands, isa, method })
    }
}

// SAFETY: Source and Target hold the input and the output; tiles write disjoint ranges of the output.
unsafe impl Step for ReduceStep {
    fn name(&self) -> String {
        format!("reduce.{:?}.{}", self.reduction, self.isa).to_lowercase()
    }
    fn reads(&self) -> Vec<Span> {
        let span = match &self.operands {
            Operands::F32(source, _) => source.span(),
            Operands::I32(source, _) => source.span(),
            Operands::I64(source, _) => source.span(),
        };
        span.into_iter().collect()
    }
    fn writes(&self) -> Vec<Span> {
        match &self.operands {
            Operands::F32(_, target) => vec![target.span()],
            Operands::I32(_, target) => vec![target.span()],
            Operands::I64(_, target) => vec![target.span()],
        }
    }
    fn tiles(&self, _: usize) -> usize {
        self.plan.tiles()
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let range = self.plan.range(tile.index);
        macro_rules! operands {
            ($source:expr, $target:expr) => {
                // SAFETY: the operands hold this many elements, nothing writes the input, and this range of the
                // output is the tile's own.
                unsafe {
                    let input = std::slice::from_raw_parts($source.locate(memory), self.plan.inputs());
                    let first = $target.locate(memory).add(range.start);
                    (input, std::slice::from_raw_parts_mut(first, range.len()))
                }
            };
        }
        match &self.operands {
            Operands::F32(source, target) => {
                let (input, output) = operands!(source, target);
                let fold =
                    portable::FoldTile { plan: &self.plan, reduction: self.reduction, input, range, output };
                match self.method {
                    Method::Vector(level) => level.dispatch(fold),
                    Method::Scalar => reference::floats(fold),
                }
            }
            Operands::I32(source, target) => {
                let (input, output) = operands!(source, target);
                reference::integers(&self.plan, self.reduction, input, range.start, output);
            }
            Operands::I64(source, target) => {
                let (input, output) = operands!(source, target);
                reference::integers(&self.plan, self.reduction, input, range.start, output);
            }
        }
        Ok(())
    }
}
