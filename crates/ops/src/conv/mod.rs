//! Convolutions.

mod causal;
mod col2im;
mod columns;
mod convolution;
mod deformable;
mod geometry;
mod transposed;

use crate::Op;

pub(crate) use convolution::{convolution, convolution_type};
pub use transposed::transposed_axes;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &causal::CausalConvWithState,
    &col2im::Col2Im,
    &convolution::Conv,
    &deformable::DeformConv,
    &transposed::ConvTranspose,
];
