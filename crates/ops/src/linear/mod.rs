//! Matrix products and tensor contractions.

mod gemm;
pub(crate) mod matmul;
pub(crate) mod product;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&gemm::Gemm, &matmul::MatMul];
