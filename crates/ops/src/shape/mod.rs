//! Operators that make sizes and constants: Shape, Range, ConstantOfShape, Constant.

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[];
