//! `FusedGemm` (an activation behind Gemm) and `QGemm` (Gemm of 8-bit values, in i32, scaled to reals or quantized again).

use super::affine::{dtype_of, stored};
use super::products::activation;
use super::{Defined, per_product};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, OpName, ValueId};

/// `act(alpha·A·B + beta·C)`.
pub(crate) static FUSED_GEMM: Defined = Defined {
    schema: &super::schema("FusedGemm", (2, 3), (1, 1)),
    flops: |shapes| per_product(shapes, 0),
    role: QuantRole::Weighted { weight: 1, channel_axis: 1 },
    define: fused,
};

/// `alpha·a_scale·b_scale·(A·B + C)`, quantized where a scale of the result is given.
pub(crate) static QGEMM: Defined = Defined {
    schema: &super::schema("QGemm", (2, 9), (1, 1)),
    flops: |shapes| per_product(shapes, 0),
    role: QuantRole::StaysFloat,
    define: quantized,
};

fn fused(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &["A", "B", "C"])?;
    let shared = cx.attrs.iter().filter(|(name, _)| !name.starts_with("activation"));
    let attrs: Attrs = shared.map(|(name, attr)| (name.into(), attr.clone())).collect();
    let inputs = [e.input(0), e.input(1), e.input(2)];
    let y = e.b.node(OpName::onnx("Gemm"), &inputs, 1, attrs)[0];
    let params = [cx.attrs.float("activation_alpha"), cx.attrs.float("activation_beta")];
    let y = activation(cx.attrs.str("activation").unwrap_or(""), params)?.emit(&mut e, y);
    Some(e.finish(&[y]))
}

fn quantized(cx: &Body<'_>) -> Option<Graph> {
    let names =
        ["A", "a_scale", "a_zero_point", "B", "b_scale", "b_zero_point", "C", "y_scale", "y_zero_point"];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 1)?)?;
    let a = side(&mut e, 0, cx.attrs.int_or("transA", 0))?;
    let b = side(&mut e, 3, cx.attrs.int_or("transB", 0))?;
    let inputs = [Some(a), Some(b), e.input(2), e.input(5)];
    let mut sums = e.b.node(OpName::onnx("MatMulInteger"), &inputs, 1, Attrs::new())[0];
    if let Some(c) = e.input(6) {
        sums = e.op("Add", &[sums, c]);
    }
    let real = e.cast(sums, DType::F32);
    let (a_scale, b_scale) = (e.input(1)?, e.input(4)?);
    let mut scale = e.op("Mul", &[a_scale, b_scale]);
    let alpha = cx.attrs.float_or("alpha", 1.0);
    if alpha != 1.0 {
        let alpha = e.scalar(f64::from(alpha));
        scale = e.op("Mul", &[scale, alpha]);
    }
    let mut y = e.op("Mul", &[real, scale]);
    if e.input(7).is_some() {
        y = stored(&mut e, y, 7, 8, dtype_of(cx, 0)?)?;
    }
    Some(e.finish(&[y]))
}

fn side(e: &mut Emit<'_>, index: usize, transposed: i64) -> Option<ValueId> {
    let value = e.input(index)?;
    Some(if transposed == 0 { value } else { e.transpose(value, &[1, 0]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, run_all, t};
    use fusebox_ir::Tensor;

    #[test]
    fn activations_have_parameters() {
        let inputs = [t(&[1, 2], &[1f32, 2.0]), t(&[1, 2], &[1f32, -1.0]), t(&[1], &[0.5f32])];
        let attrs =
            Attrs::new().with("transB", 1).with("activation", "LeakyRelu").with("activation_alpha", 0.5f32);
        close(&run(&FUSED_GEMM, &attrs, &inputs), &[-0.25]);
    }

    #[test]
    fn results_are_reals_or_quantized() {
        let s = Tensor::scalar::<f32>;
        let mut inputs = vec![
            Some(t(&[1, 2], &[3u8, 5])),
            Some(s(0.5)),
            Some(Tensor::scalar(1u8)),
            Some(t(&[2, 2], &[1i8, 2, -3, 4])),
            Some(t(&[2], &[1f32, 2.0])),
            Some(t(&[2], &[0i8, 0])),
            Some(t(&[2], &[4i32, 0])),
        ];
        let attrs = Attrs::new().with("transB", 1);
        close(&run_all(&QGEMM, &attrs, &inputs, 1).unwrap()[0], &[7.0, 10.0]);
        inputs.extend([Some(s(2.0)), Some(Tensor::scalar(10u8))]);
        assert_eq!(run_all(&QGEMM, &attrs, &inputs, 1).unwrap()[0], t(&[1, 2], &[14u8, 15]));
    }
}
