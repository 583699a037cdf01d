//! Matrix products and tensor contractions.

mod det;
mod einsum;
mod equation;
mod gemm;
pub(crate) mod matmul;
pub(crate) mod product;

pub use equation::{Equation, Label};

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&det::Det, &einsum::Einsum, &gemm::Gemm, &matmul::MatMul];
