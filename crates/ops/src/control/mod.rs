//! Operators with subgraphs: If, Loop, Scan; sequences.

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[];
