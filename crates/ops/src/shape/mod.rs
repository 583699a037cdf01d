//! Operators that make sizes, ranges and constants.
//!
//! Typing evaluates them symbolically, so exported models keep their batch and sequence symbols from end to end.

mod constant;
mod constant_of_shape;
mod eye_like;
mod range;
mod shape_of;
mod size;

use crate::Op;

pub(crate) use constant::constant_value;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &constant::Constant,
    &constant_of_shape::ConstantOfShape,
    &eye_like::EyeLike,
    &range::Range,
    &shape_of::Shape,
    &size::Size,
];
