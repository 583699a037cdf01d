//! Row kernels: layer and RMS normalisation, softmax and log-softmax.
//!
//! Contract: every row is staged in working memory once, so an output may take the place of an input; mean and variance
//! are computed in two passes over the staged row. Knows no axes beyond rows: exec flattens what comes before them.

mod norm;
mod portable;
mod reference;
mod softmax;
mod strip;
#[cfg(test)]
mod tests;

pub use norm::{NormKind, NormSpec, NormStep, RowView};
pub use softmax::{SoftmaxMask, SoftmaxSpec, SoftmaxStep};

use crate::isa::{Kernel, Method, VECTOR_KERNELS};

/// Best first.
pub static KERNELS: &[Kernel<Method>] = VECTOR_KERNELS;

/// Elements of a tile, about.
const TILE: usize = 16 << 10;
