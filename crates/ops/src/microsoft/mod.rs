//! Operators of com.microsoft that `--target onnxruntime` emits, and their neighbours that ONNX Runtime's own optimizer
//! writes. Defined by their bodies in standard operators.

mod gelus;
mod multi_head_attention;
mod products;
mod skip_norms;

use crate::Op;
use crate::fused::emit::Emit;
use crate::op::{Body, Schema, Target};

/// A pure operator of the domain.
const fn schema(name: &'static str, inputs: (usize, usize), outputs: (usize, usize)) -> Schema {
    Schema { domain: "com.microsoft", ..Schema::onnx(name, &[1], inputs, outputs) }
}

/// A body in standard operators whatever the target, or it would be defined by itself.
fn emit<'a>(cx: &Body<'a>, names: &[&str]) -> Option<Emit<'a>> {
    Emit::new(&Body { target: Target::Onnx { opset: cx.target.opset() }, ..*cx }, names)
}

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &gelus::BIAS,
    &gelus::ERF,
    &gelus::FAST,
    &gelus::QUICK,
    &multi_head_attention::MultiHeadAttention,
    &products::FusedConv,
    &products::FusedMatMul,
    &skip_norms::SKIP_LAYER_NORM,
    &skip_norms::SKIP_RMS_NORM,
];
