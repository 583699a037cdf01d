//! Operators that draw random numbers.

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[];
