//! Resizing by interpolation.

mod geometry;
mod operator;
mod target;
mod upsample;

pub use operator::{AxisTaps, resize_taps};

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&operator::Resize, &upsample::Upsample];
