//! Operators that move elements without computing on them.

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[];
