//! Precision passes: dynamic int8, and weights stored as fp16 or bf16.
//!
//! Refuses to know file formats and kernels. A pass walks the operators whose quantization role is `Weighted` or `Recurrent`, asks a
//! [`Scheme`] for the narrow form of each weight, and rewrites the node into the fused operator that takes it. Nothing
//! is skipped in silence: every such operator ends up in the [`PrecisionReport`], lowered or refused with a reason.
//! To add a scheme: one file in `scheme/` and its row.

mod pass;
mod scheme;

pub use pass::{Decision, Layer, PrecisionOptions, PrecisionReport, apply, goes_by};
pub use scheme::{Narrow, Precision, Refusal, SCHEMES, Scheme};
