//! Operators of the standard quantization: QuantizeLinear and its kin.

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[];
