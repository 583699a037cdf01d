//! The GEMM family that carries the fusions: `C[M,N] = epilogue(prologue(A)[M,K] · B[K,N])`, batched and strided.
//!
//! Owns prologues, precisions, epilogues, the packing of B and the split into tiles; knows no graph. A
//! [`GemmSpec`] says what to multiply, [`GemmSpec::build`] checks it and picks kernels, the resulting [`GemmStep`]
//! runs in a program. K is never split across tiles, so results do not depend on the number of threads.
//!
//! To add an instruction set: one file beside `x86_avx2.rs` and its rows in the tables of `micro.rs`.

pub(crate) mod driver;
mod epilogue;
pub(crate) mod micro;
pub(crate) mod operands;
mod packed;
mod portable;
mod prologue;
mod reference;
mod step;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx512;

pub(crate) use driver::best_shape;
pub use epilogue::{Epilogue, Residual, ResidualOrder};
pub(crate) use micro::{Block, Micros, micros};
pub use packed::{INT8_MAX_K, PANEL, PackedB, Precision, Source};
pub use prologue::Prologue;
pub use step::GemmStep;

pub(crate) use epilogue::{Dequant, Finish, RowQuant};
pub(crate) use prologue::{PrepareRow, RowRange, wider};

use crate::arena::Span;
use crate::isa::{Isa, IsaError};
use crate::math::Levels;
use std::sync::Arc;

/// A matrix of f32 in the arena, rows contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Bytes that hold every element, of all batches.
    pub span: Span,
    /// Elements from one row to the next, at least the row's length for C.
    pub row_stride: usize,
}

/// One batch dimension: its size and the elements from one entry to the next in each operand. A stride of 0
/// broadcasts (not allowed for C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchDim {
    /// Number of entries.
    pub size: usize,
    /// Stride of A.
    pub a: usize,
    /// Stride of a dynamic B; ignored for packed weights.
    pub b: usize,
    /// Stride of C.
    pub c: usize,
    /// Stride of the residual, if any.
    pub residual: usize,
}

/// The right-hand side.
#[derive(Clone, Debug)]
pub enum Rhs {
    /// Constant weights.
    Packed(Arc<PackedB>),
    /// f32 activations: element (k, n) at `k·row_stride + n·column_stride`. Packed into scratch in the first phase.
    Dynamic {
        /// Bytes that hold every element, of all batches.
        span: Span,
        /// Elements from one k to the next.
        row_stride: usize,
        /// Elements from one column to the next; a transposed B has `row_stride` 1.
        column_stride: usize,
    },
}

/// What to multiply. Build with [`GemmSpec::new`] and set what differs.
#[derive(Clone, Debug)]
pub struct GemmSpec {
    /// Rows of A and C per batch entry.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Batch dimensions, outermost first; none means one product.
    pub batch: Vec<BatchDim>,
    /// Left-hand side, M×K.
    pub a: Matrix,
    /// Right-hand side, K×N.
    pub b: Rhs,
    /// Result, M×N. Overlaps nothing that is read.
    pub c: Matrix,
    /// Normalisation of the rows of A.
    pub prologue: Prologue,
    /// Whether int8 quantizes all rows of A by one range, as DynamicQuantizeLinear does, instead of each by its own.
    pub shared_range: bool,
    /// Levels of u8 that int8 quantizes A to, known beforehand, instead of a range found in each row.
    pub levels: Option<Levels>,
    /// Fused tail.
    pub epilogue: Epilogue,
    /// Scratch of at least [`GemmSpec::scratch_bytes`]; may be `None` when that is 0.
    pub scratch: Option<Span>,
    /// Instruction set to use instead of the best one, as `FUSEBOX_KERNEL` does for a whole process.
    pub force: Option<Isa>,
}

impl GemmSpec {
    /// A plain product of contiguous operands: C = A · B.
    pub fn new(m: usize, n: usize, k: usize, a: Span, b: Rhs, c: Span) -> Self {
        Self {
            m,
            n,
            k,
            batch: Vec::new(),
            a: Matrix { span: a, row_stride: k },
            b,
            c: Matrix { span: c, row_stride: n },
            prologue: Prologue::None,
            shared_range: false,
            levels: None,
            epilogue: Epilogue::default(),
            scratch: None,
            force: None,
        }
    }

    /// Precision of the multiplication.
    pub fn precision(&self) -> Precision {
        match &self.b {
            Rhs::Packed(packed) => packed.precision(),
            Rhs::Dynamic { .. } => Precision::F32,
        }
    }

    /// Bytes of scratch that the step needs: prepared rows of A (normalised, quantized) and a packed dynamic B.
    /// The planner allots them for the step's duration, 64-byte aligned. `usize::MAX` when the count overflows; `build`
    /// then says so.
    pub fn scratch_bytes(&self) -> usize {
        operands::ScratchLayout::of(self).map_or(usize::MAX, |layout| layout.total)
    }

    /// Checks the operands, picks kernels and tile sizes.
    ///
    /// # Errors
    /// The first rule that an operand breaks.
    pub fn build(self) -> Result<GemmStep, GemmError> {
        GemmStep::new(self)
    }
}

/// What makes a GEMM unfit to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GemmError {
    /// A K×N matrix whose element count does not fit.
    TooLarge {
        /// Rows.
        k: usize,
        /// Columns.
        n: usize,
    },
    /// A vector or matrix of the wrong length.
    SourceLength {
        /// Elements needed.
        expected: usize,
        /// Elements given.
        given: usize,
    },
    /// K beyond what an i32 accumulator holds exactly.
    DeepInt8 {
        /// The K asked for.
        k: usize,
    },
    /// Quantized weights offered to a float precision.
    QuantizedSource {
        /// The precision asked for.
        precision: Precision,
    },
    /// Packed weights of another shape than the spec's.
    WeightShape {
        /// K and N of the spec.
        expected: (usize, usize),
        /// K and N of the weights.
        given: (usize, usize),
    },
    /// A parameter vector of the wrong length.
    VectorLength {
        /// Which one.
        what: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        given: usize,
    },
    /// An operand whose elements do not all lie in its span.
    Extent {
        /// Which one.
        what: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes of the span.
        given: usize,
    },
    /// A span that does not start on an element.
    Misaligned {
        /// Which one.
        what: &'static str,
        /// The span.
        span: Span,
    },
    /// Strides under which two elements of C would share a place.
    OverlappingC,
    /// A shape or stride that the step cannot take, with the reason.
    Unsupported {
        /// The reason.
        reason: &'static str,
    },
    /// No kernel for the instruction set asked for.
    Isa(IsaError),
}

impl std::fmt::Display for GemmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { k, n } => write!(f, "a {k}x{n} matrix does not fit in memory"),
            Self::SourceLength { expected, given } => {
                write!(f, "weights need {expected} elements, got {given}")
            }
            Self::DeepInt8 { k } => write!(
                f,
                "int8 with K = {k} could overflow its i32 sums; the limit is {INT8_MAX_K}, use a float precision"
            ),
            Self::QuantizedSource { precision } => {
                write!(f, "quantized weights cannot be packed as {precision}; dequantize them first")
            }
            Self::WeightShape { expected, given } => write!(
                f,
                "the product needs {}x{} weights, the packed ones are {}x{}",
                expected.0, expected.1, given.0, given.1
            ),
            Self::VectorLength { what, expected, given } => {
                write!(f, "{what} needs {expected} elements, got {given}")
            }
            Self::Extent { what, needed, given } => {
                write!(f, "{what} needs {needed} bytes, its span has {given}")
            }
            Self::Misaligned { what, span } => write!(f, "{what} at {span:?} is not aligned"),
            Self::OverlappingC => f.write_str("strides of C let two of its elements share a place"),
            Self::Unsupported { reason } => f.write_str(reason),
            Self::Isa(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GemmError {}

impl From<IsaError> for GemmError {
    fn from(error: IsaError) -> Self {
        Self::Isa(error)
    }
}
