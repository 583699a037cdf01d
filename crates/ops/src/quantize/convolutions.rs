//! `ConvInteger` and `QLinearConv`: convolutions of quantized values in i32, the second scaled back to a quantized type.
//! Padding is the zero point, that is, exactly zero.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ConvInteger.html>,
//! <https://onnx.ai/onnx/operators/onnx__QLinearConv.html>.

use super::affine::factors;
use super::products::{check_byte, requantized};
use crate::attributes::{INTS, int, text};
use crate::conv::{convolution, convolution_type};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::span;
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Tensor};

static INTEGER: Schema = Schema::onnx("ConvInteger", &[10], (2, 4), (1, 1)).with(&[
    ("auto_pad", text("NOTSET")),
    ("dilations", INTS),
    ("group", int(1)),
    ("kernel_shape", INTS),
    ("pads", INTS),
    ("strides", INTS),
]);
static QLINEAR: Schema = Schema::onnx("QLinearConv", &[10], (8, 9), (1, 1)).with(&[
    ("auto_pad", text("NOTSET")),
    ("dilations", INTS),
    ("group", int(1)),
    ("kernel_shape", INTS),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct ConvInteger;
pub(crate) struct QLinearConv;

impl Op for ConvInteger {
    fn schema(&self) -> &'static Schema {
        &INTEGER
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in [0, 1] {
            check_byte(cx, index)?;
        }
        let ty = convolution_type(cx.attrs, cx.tensor(0), cx.tensor(1), None, DType::I32)?;
        Ok(vec![ty.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = centred(cx.tensor(0)?, cx.optional(2)?)?;
        let w = centred(cx.tensor(1)?, cx.optional(3)?)?;
        one(convolution::<i32>(cx.attrs, &x, &w, None)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        window_flops(shapes, 1)
    }
}

impl Op for QLinearConv {
    fn schema(&self) -> &'static Schema {
        &QLINEAR
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in [0, 3] {
            check_byte(cx, index)?;
        }
        let Some(dtype) = cx.dtype(7)? else { return Ok(unknown(cx)) };
        Ok(vec![convolution_type(cx.attrs, cx.tensor(0), cx.tensor(3), cx.tensor(8), dtype)?.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = centred(cx.tensor(0)?, cx.optional(2)?)?;
        let w = centred(cx.tensor(3)?, cx.optional(5)?)?;
        let sums = convolution::<i32>(cx.attrs, &x, &w, cx.optional(8)?)?;
        let first = |index: usize| -> Result<f32, EvalError> {
            let scale = cx.tensor(index)?.elements::<f32>()?;
            scale.first().copied().ok_or_else(|| EvalError::value("a scale is empty"))
        };
        let (x_scale, y_scale) = (first(1)?, first(6)?);
        let w_scales = cx.tensor(4)?.elements::<f32>()?;
        let channels = w.shape()[0];
        if w_scales.len() != 1 && w_scales.len() != channels {
            let found = w_scales.len();
            return Err(EvalError::value(format!("{found} weight scales are given for {channels} channels")));
        }
        let pixels = span(&sums.shape()[2..]);
        let real = |(place, sum): (usize, &i32)| {
            let w_scale = w_scales[place / pixels % channels % w_scales.len()];
            *sum as f32 * (x_scale * w_scale / y_scale)
        };
        let reals: Vec<f32> = sums.elements::<i32>()?.iter().enumerate().map(real).collect();
        one(requantized(sums.shape().to_vec(), &reals, cx.tensor(7)?)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        window_flops(shapes, 3)
    }
}

fn window_flops(shapes: &Shapes<'_>, weights: usize) -> f64 {
    let taps: f64 = shapes.input(weights).map_or(0.0, |w| w.iter().skip(1).product());
    2.0 * taps * shapes.output_elements(0)
}

/// Values minus zero point; a vector of zero points is one per output channel, the first axis of the weights.
fn centred(x: &Tensor, zero: Option<&Tensor>) -> Result<Tensor, EvalError> {
    let mut values = factors(x)?;
    if let Some(zero) = zero {
        let zeros = factors(zero)?;
        let channels = x.shape().first().copied().unwrap_or(1);
        if zeros.len() != 1 && zeros.len() != channels {
            return Err(EvalError::value(format!(
                "{} zero points are given for {channels} channels",
                zeros.len()
            )));
        }
        let per_channel = span(x.shape().get(1..).unwrap_or(&[])).max(1);
        for (place, value) in values.iter_mut().enumerate() {
            *value -= zeros[place / per_channel % zeros.len()];
        }
    }
    Ok(Tensor::from_vec(x.shape().to_vec(), values)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn padding_is_the_zero_point() {
        let x = t(&[1, 1, 3, 3], &[2u8, 3, 4, 5, 6, 7, 8, 9, 10]);
        let inputs = [x, t(&[1, 1, 2, 2], &[1u8; 4]), Tensor::scalar(1u8)];
        assert_eq!(run(&ConvInteger, &Attrs::new(), &inputs), t(&[1, 1, 2, 2], &[12i32, 16, 24, 28]));
        let padded = Attrs::new().with("pads", vec![1, 1, 1, 1]);
        let expected = [1i32, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9];
        assert_eq!(run(&ConvInteger, &padded, &inputs), t(&[1, 1, 4, 4], &expected));
    }

    #[test]
    fn results_are_requantized_per_channel() {
        let x = t(&[1, 1, 1, 2], &[10u8, 20]);
        let w = t(&[2, 1, 1, 1], &[1i8, -2]);
        let inputs = [
            x,
            Tensor::scalar(0.5f32),
            Tensor::scalar(10u8),
            w,
            t(&[2], &[1f32, 0.5]),
            t(&[2], &[0i8, 0]),
            Tensor::scalar(1f32),
            Tensor::scalar(100u8),
            t(&[2], &[2i32, 0]),
        ];
        assert_eq!(run(&QLinearConv, &Attrs::new(), &inputs), t(&[1, 2, 1, 2], &[101u8, 106, 100, 95]));
    }
}
