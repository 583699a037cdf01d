//! Resizing by interpolation.

mod geometry;
mod operator;
mod target;
mod upsample;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&operator::Resize, &upsample::Upsample];
