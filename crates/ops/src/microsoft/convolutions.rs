//! `QLinearConv`, `NhwcFusedConv` and `NhwcMaxPool` of com.microsoft: operators with channels behind the pixels, which are
//! those with channels in front between two transposes.

use super::affine::dtype_of;
use super::quantized_pools::{channels_first, channels_last, shared};
use super::{Defined, per_element};
use crate::Shapes;
use crate::op::{Body, QuantRole};
use fusebox_ir::{DType, Graph, OpName};

/// `QLinearConv` of ai.onnx where the attribute `channels_last` is 0.
pub(crate) static QLINEAR_CONV: Defined = Defined {
    schema: &super::schema("QLinearConv", (2, 9), (1, 1)),
    flops: |shapes| taps(shapes, 3),
    role: QuantRole::StaysFloat,
    define: quantized,
};

/// `FusedConv` with channels last; its weights have them in front.
pub(crate) static NHWC_FUSED_CONV: Defined = Defined {
    schema: &super::schema("NhwcFusedConv", (2, 4), (1, 1)),
    flops: |shapes| taps(shapes, 1),
    role: QuantRole::StaysFloat,
    define: fused,
};

/// `MaxPool` with channels last, of 8-bit values.
pub(crate) static NHWC_MAX_POOL: Defined = Defined {
    schema: &super::schema("NhwcMaxPool", (1, 1), (1, 1)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define: |cx| {
        let mut e = super::emit_as(cx, &["x"], DType::F32)?;
        let rank = e.ty(0)?.rank()?;
        let x = e.input(0)?;
        let x = channels_first(&mut e, x, rank);
        let y = e.op_with("MaxPool", &[x], cx.attrs.clone());
        let y = channels_last(&mut e, y, rank);
        Some(e.finish(&[y]))
    },
};

fn taps(shapes: &Shapes<'_>, weights: usize) -> f64 {
    let taps: f64 = shapes.input(weights).map_or(0.0, |w| w.iter().skip(1).product());
    2.0 * taps * shapes.output_elements(0)
}

fn quantized(cx: &Body<'_>) -> Option<Graph> {
    let names =
        ["x", "x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point", "B"];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 1)?)?;
    let is_last = cx.attrs.int_or("channels_last", 0) != 0;
    let rank = if is_last { e.ty(0)?.rank()? } else { 0 };
    let mut inputs: Vec<_> = (0..9).map(|index| e.input(index)).collect();
    if is_last {
        inputs[0] = Some(channels_first(&mut e, inputs[0]?, rank));
    }
    let attrs = shared(cx.attrs, &["channels_last"]);
    let mut y = e.b.node(OpName::onnx("QLinearConv"), &inputs, 1, attrs)[0];
    if is_last {
        y = channels_last(&mut e, y, rank);
    }
    Some(e.finish(&[y]))
}

fn fused(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &["X", "W", "B", "Z"])?;
    let rank = e.ty(0)?.rank()?;
    let x = e.input(0)?;
    let x = channels_first(&mut e, x, rank);
    let attrs = shared(cx.attrs, &["activation", "activation_params"]);
    let inputs = [Some(x), e.input(1), e.input(2)];
    let mut y = e.b.node(OpName::onnx("Conv"), &inputs, 1, attrs)[0];
    if let Some(residual) = e.input(3) {
        let residual = channels_first(&mut e, residual, rank);
        y = e.op("Add", &[y, residual]);
    }
    y = super::products::activate(&mut e, cx.attrs, y)?;
    let y = channels_last(&mut e, y, rank);
    Some(e.finish(&[y]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn channels_come_last() {
        let x = t(&[1, 1, 2, 2], &[1u8, 10, 3, 30]);
        assert_eq!(
            run(&NHWC_MAX_POOL, &Attrs::new().with("kernel_shape", vec![1, 2]), std::slice::from_ref(&x)),
            t(&[1, 1, 1, 2], &[3u8, 30])
        );
        let (one, zero) = (Tensor::scalar(1f32), Tensor::scalar(0u8));
        let w = t(&[1, 2, 1, 1], &[1u8, 2]);
        let inputs =
            [x, one.clone(), zero.clone(), w, one.clone(), zero.clone(), one, zero, t(&[1], &[5i32])];
        let attrs = Attrs::new().with("channels_last", 1);
        assert_eq!(run(&QLINEAR_CONV, &attrs, &inputs), t(&[1, 1, 2, 1], &[26u8, 68]));
        let inputs = [t(&[1, 1, 2, 2], &[1f32, -2.0, 3.0, 4.0]), t(&[1, 2, 1, 1], &[1f32, 1.0])];
        close(&run(&NHWC_FUSED_CONV, &Attrs::new().with("activation", "Relu"), &inputs), &[0.0, 7.0]);
    }
}
