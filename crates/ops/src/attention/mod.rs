//! Attention and positions as ONNX has them since opset 23. The fused attention of `ai.fusebox` is in `fused`.

mod bias;
mod linear_attention;
pub(crate) mod rotary_embedding;
mod scaled_dot_product;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] =
    &[&linear_attention::LinearAttention, &rotary_embedding::RotaryEmbedding, &scaled_dot_product::Attention];
