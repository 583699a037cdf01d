//! Convolutions.

mod columns;
mod convolution;
mod geometry;
mod transposed;

use crate::Op;

pub(crate) use convolution::{convolution, convolution_type};

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&convolution::Conv, &transposed::ConvTranspose];
