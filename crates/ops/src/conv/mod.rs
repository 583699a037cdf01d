//! Convolutions.

mod columns;
mod convolution;
mod geometry;
mod transposed;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&convolution::Conv, &transposed::ConvTranspose];
