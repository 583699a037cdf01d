//! Operators of com.microsoft that `--target onnxruntime` emits.

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[];
