//! `DynamicQuantizeMatMul` and `MatMulIntegerToFloat`: products of 8-bit values, scaled to reals, with a bias.
//!
//! Their bodies are the nodes that ONNX Runtime fused: the rules that recognise dynamic quantization see them again.

use super::affine::dtype_of;
use super::{Defined, per_product};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, OpName, ValueId};

/// `A` is quantized by its own range.
pub(crate) static DYNAMIC_QUANTIZE_MATMUL: Defined = Defined {
    schema: &super::schema("DynamicQuantizeMatMul", (3, 5), (1, 1)),
    flops: |shapes| per_product(shapes, 0),
    role: QuantRole::StaysFloat,
    define: dynamic,
};

/// Both operands are quantized already.
pub(crate) static MATMUL_INTEGER_TO_FLOAT: Defined = Defined {
    schema: &super::schema("MatMulIntegerToFloat", (4, 7), (1, 1)),
    flops: |shapes| per_product(shapes, 0),
    role: QuantRole::StaysFloat,
    define: to_float,
};

fn dynamic(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &["A", "B", "b_scale", "b_zero_point", "bias"])?;
    let a = e.input(0)?;
    let quantized = e.b.node(OpName::onnx("DynamicQuantizeLinear"), &[Some(a)], 3, Attrs::new());
    let (b, b_scale, b_zero, bias) = (e.input(1)?, e.input(2)?, e.input(3), e.input(4));
    let operands =
        Operands { a: quantized[0], b, a_scale: quantized[1], b_scale, a_zero: Some(quantized[2]), b_zero };
    let y = product(&mut e, &operands, bias);
    Some(e.finish(&[y]))
}

fn to_float(cx: &Body<'_>) -> Option<Graph> {
    let names = ["A", "B", "a_scale", "b_scale", "a_zero_point", "b_zero_point", "bias"];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 2)?)?;
    let (a, b, a_scale, b_scale) = (e.input(0)?, e.input(1)?, e.input(2)?, e.input(3)?);
    let operands = Operands { a, b, a_scale, b_scale, a_zero: e.input(4), b_zero: e.input(5) };
    let bias = e.input(6);
    let y = product(&mut e, &operands, bias);
    Some(e.finish(&[y]))
}

/// Quantized operands of a product.
pub(super) struct Operands {
    pub(super) a: ValueId,
    pub(super) b: ValueId,
    pub(super) a_scale: ValueId,
    pub(super) b_scale: ValueId,
    pub(super) a_zero: Option<ValueId>,
    pub(super) b_zero: Option<ValueId>,
}

/// `f(Σ (a - a_zero)·(b - b_zero))·(a_scale·b_scale) + bias`, in the order in which the quantizer writes it.
pub(super) fn product(e: &mut Emit<'_>, at: &Operands, bias: Option<ValueId>) -> ValueId {
    let inputs = [Some(at.a), Some(at.b), at.a_zero, at.b_zero];
    let sums = e.b.node(OpName::onnx("MatMulInteger"), &inputs, 1, Attrs::new())[0];
    let own = e.dtype;
    let mut real = e.cast(sums, DType::F32);
    if own != DType::F32 {
        real = e.cast(real, own);
    }
    let scale = e.op("Mul", &[at.a_scale, at.b_scale]);
    let y = e.op("Mul", &[real, scale]);
    bias.map_or(y, |bias| e.op("Add", &[y, bias]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, run_all, t};
    use fusebox_ir::Tensor;

    #[test]
    fn rows_of_the_range_are_exact() {
        let a = t(&[2, 2], &[-127f32, 128.0, 1.0, 0.0]);
        let b = t(&[2, 2], &[1i8, 2, 3, 4]);
        let inputs = [a, b, t(&[2], &[0.5f32, 2.0]), t(&[2], &[0i8, 1]), t(&[2], &[1f32, 0.0])];
        let y = run(&DYNAMIC_QUANTIZE_MATMUL, &Attrs::new(), &inputs);
        close(&y, &[129.5, 514.0, 1.5, 2.0]);
    }

    #[test]
    fn zero_points_may_be_absent() {
        let (a, b) = (t(&[1, 2], &[1u8, 2]), t(&[2, 1], &[3u8, 4]));
        let inputs = [Some(a), Some(b), Some(Tensor::scalar(0.5f32)), Some(Tensor::scalar(2f32))];
        close(&run_all(&MATMUL_INTEGER_TO_FLOAT, &Attrs::new(), &inputs, 1).unwrap()[0], &[11.0]);
    }
}
