//! `QuantizeLinear` and `DequantizeLinear` of com.microsoft, which are those of ai.onnx under an older name, and the two
//! as parts of other definitions.

use super::{Defined, per_element};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, OpName, Type, ValueId};

/// `QuantizeLinear(x, y_scale, y_zero_point?)`.
pub(crate) static QUANTIZE: Defined = Defined {
    schema: &super::schema("QuantizeLinear", (2, 3), (1, 1)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define: |cx| same(cx, "QuantizeLinear", 0),
};

/// `DequantizeLinear(x, x_scale, x_zero_point?)`.
pub(crate) static DEQUANTIZE: Defined = Defined {
    schema: &super::schema("DequantizeLinear", (2, 3), (1, 1)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define: |cx| same(cx, "DequantizeLinear", 1),
};

fn same(cx: &Body<'_>, name: &str, float: usize) -> Option<Graph> {
    let mut e = super::emit_as(cx, &["x", "scale", "zero_point"], dtype_of(cx, float)?)?;
    let inputs = [e.input(0), e.input(1), e.input(2)];
    let y = e.b.node(OpName::onnx(name), &inputs, 1, cx.attrs.clone())[0];
    Some(e.finish(&[y]))
}

/// Element type of an input, when present and known.
pub(super) fn dtype_of(cx: &Body<'_>, index: usize) -> Option<DType> {
    cx.inputs.get(index).copied().flatten().and_then(Type::tensor).map(|ty| ty.dtype)
}

/// Reals of a quantized input; the zero point may be absent.
pub(super) fn real(e: &mut Emit<'_>, x: usize, scale: usize, zero: usize) -> Option<ValueId> {
    let inputs = [Some(e.input(x)?), Some(e.input(scale)?), e.input(zero)];
    Some(e.b.node(OpName::onnx("DequantizeLinear"), &inputs, 1, Attrs::new())[0])
}

/// Quantized values of reals, of type `dtype` where no zero point says it.
pub(super) fn stored(
    e: &mut Emit<'_>,
    y: ValueId,
    scale: usize,
    zero: usize,
    dtype: DType,
) -> Option<ValueId> {
    let inputs = [Some(y), Some(e.input(scale)?), e.input(zero)];
    let attrs = match e.input(zero) {
        Some(_) => Attrs::new(),
        None => Attrs::new().with("output_dtype", i64::from(dtype.to_onnx())),
    };
    Some(e.b.node(OpName::onnx("QuantizeLinear"), &inputs, 1, attrs)[0])
}
