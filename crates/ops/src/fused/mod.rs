//! Fused operators, domain `ai.fusebox`: what the rewrite rules produce and the executor has kernels for.
//!
//! Each is defined by a body in standard operators: the body is the reference evaluation, the ONNX local function that
//! an exported model carries, and what `--target onnx` inlines. A fused operator therefore never means more than its
//! body says. Shared parts: [`activation`] and [`epilogue`] (attributes of Linear, NormLinear, Conv), [`norm`],
//! [`quantize`] (the exact int8 arithmetic).

use crate::Op;

pub mod activation;
pub mod attention;
pub mod conv;
pub mod emit;
pub mod epilogue;
pub mod linear;
pub mod norm;
pub mod norm_linear;
pub mod quantize;
pub mod skip_layer_norm;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use attention::{AttentionAttrs, Layout};
pub use epilogue::Epilogue;
pub use norm::Norm;

/// Operators of the family.
pub(crate) const OPS: &[&dyn Op] = &[
    &attention::Attention,
    &conv::Conv,
    &linear::Linear,
    &norm_linear::NormLinear,
    &skip_layer_norm::SkipLayerNorm,
];
