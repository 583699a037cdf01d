//! Operators of com.microsoft: those that `--target onnxruntime` emits, and those that ONNX Runtime's optimizer and
//! quantizer leave in files. Each is defined by its body in standard operators, by which it is typed, evaluated and,
//! when a model is optimized, replaced.
//!
//! Spec of all: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>.

mod affine;
mod attention;
mod convolutions;
mod dynamic_quantize_lstm;
mod embed_layer_norm;
mod gathers;
mod gelus;
mod gemm;
mod group_query_attention;
mod heads;
mod matmul_nbits;
mod multi_head_attention;
mod nchwc;
mod products;
mod quantized_elementwise;
mod quantized_pools;
mod quantized_products;
mod rotary_embedding;
mod skip_norms;

use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole, Schema, Target};
use crate::{Op, Shapes};
use fusebox_ir::{DType, Graph, Type};

/// A pure operator of the domain. The least number of inputs counts those before the first optional one, which may be
/// left out with others behind it.
const fn schema(name: &'static str, inputs: (usize, usize), outputs: (usize, usize)) -> Schema {
    Schema { domain: "com.microsoft", ..Schema::onnx(name, &[1], inputs, outputs) }
}

/// A body in standard operators whatever the target, or it would be defined by itself.
fn emit<'a>(cx: &Body<'a>, names: &[&str]) -> Option<Emit<'a>> {
    let dtype = cx.inputs.first().copied().flatten().and_then(Type::tensor).map_or(DType::F32, |ty| ty.dtype);
    emit_as(cx, names, dtype)
}

/// As [`emit`], with constants of a given float type. `None` when an input has no name.
fn emit_as<'a>(cx: &Body<'a>, names: &[&str], dtype: DType) -> Option<Emit<'a>> {
    if cx.inputs.iter().skip(names.len()).any(Option::is_some) {
        return None;
    }
    Emit::typed(&Body { target: Target::Onnx { opset: cx.target.opset() }, ..*cx }, names, dtype)
}

/// An operator that is nothing but its definition.
pub(crate) struct Defined {
    schema: &'static Schema,
    flops: fn(&Shapes<'_>) -> f64,
    role: QuantRole,
    define: for<'a> fn(&Body<'a>) -> Option<Graph>,
}

impl Op for Defined {
    fn schema(&self) -> &'static Schema {
        self.schema
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        (self.flops)(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        self.role
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        (self.define)(cx)
    }
}

/// One operation per element of the first output.
fn per_element(shapes: &Shapes<'_>) -> f64 {
    shapes.output_elements(0)
}

/// Two operations per element of the first output and per element of a row of input `a`.
fn per_product(shapes: &Shapes<'_>, a: usize) -> f64 {
    let inner = shapes.input(a).and_then(|sizes| sizes.last().copied()).unwrap_or(0.0);
    2.0 * inner * shapes.output_elements(0)
}

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &affine::DEQUANTIZE,
    &affine::QUANTIZE,
    &attention::ATTENTION,
    &attention::QUANTIZED,
    &convolutions::NHWC_FUSED_CONV,
    &convolutions::NHWC_MAX_POOL,
    &convolutions::QLINEAR_CONV,
    &dynamic_quantize_lstm::DYNAMIC_QUANTIZE_LSTM,
    &embed_layer_norm::EMBED_LAYER_NORM,
    &embed_layer_norm::QUANTIZED,
    &gathers::GATHER_BLOCK_QUANTIZED,
    &gelus::BIAS,
    &gelus::ERF,
    &gelus::FAST,
    &gelus::QUICK,
    &gemm::FUSED_GEMM,
    &gemm::QGEMM,
    &group_query_attention::GROUP_QUERY_ATTENTION,
    &matmul_nbits::MATMUL_NBITS,
    &multi_head_attention::MULTI_HEAD_ATTENTION,
    &nchwc::AVERAGE_POOL,
    &nchwc::CONV,
    &nchwc::GLOBAL_AVERAGE_POOL,
    &nchwc::GLOBAL_MAX_POOL,
    &nchwc::MAX_POOL,
    &nchwc::REORDER_INPUT,
    &nchwc::REORDER_OUTPUT,
    &products::FusedConv,
    &products::FusedMatMul,
    &quantized_elementwise::ADD,
    &quantized_elementwise::CONCAT,
    &quantized_elementwise::LEAKY_RELU,
    &quantized_elementwise::MUL,
    &quantized_elementwise::REDUCE_MEAN,
    &quantized_elementwise::SIGMOID,
    &quantized_elementwise::SOFTMAX,
    &quantized_elementwise::WHERE,
    &quantized_pools::AVERAGE,
    &quantized_pools::GLOBAL_AVERAGE,
    &quantized_products::DYNAMIC_QUANTIZE_MATMUL,
    &quantized_products::MATMUL_INTEGER_TO_FLOAT,
    &rotary_embedding::ROTARY_EMBEDDING,
    &skip_norms::RMS_NORM,
    &skip_norms::RMS_NORM_ONNX,
    &skip_norms::SKIP_LAYER_NORM,
    &skip_norms::SKIP_RMS_NORM,
];
