//! `MatMulInteger` and `QLinearMatMul`: matrix products of quantized values in i32, the second scaled back to a quantized
//! type.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__MatMulInteger.html>,
//! <https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html>.

use super::affine::{factors, integers, packed, range};
use crate::linear::matmul::{batched_product, product_dims};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::sizes::unknown;
use crate::view::{one, view};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Tensor, TensorType};
use ndarray::ArrayD;

static INTEGER: Schema = Schema::onnx("MatMulInteger", &[10], (2, 4), (1, 1));
static QLINEAR: Schema = Schema::onnx("QLinearMatMul", &[10, 21], (8, 8), (1, 1));

pub(crate) struct MatMulInteger;
pub(crate) struct QLinearMatMul;

impl Op for MatMulInteger {
    fn schema(&self) -> &'static Schema {
        &INTEGER
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in [0, 1] {
            check_byte(cx, index)?;
        }
        Ok(vec![product_type(cx, 0, 1, DType::I32)?.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let a = centred(cx.tensor(0)?, cx.optional(2)?, Side::Left)?;
        let b = centred(cx.tensor(1)?, cx.optional(3)?, Side::Right)?;
        one(crate::view::tensor(batched_product(a.view(), b.view())?)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        product_flops(shapes)
    }
}

impl Op for QLinearMatMul {
    fn schema(&self) -> &'static Schema {
        &QLINEAR
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in [0, 3] {
            check_byte(cx, index)?;
        }
        let Some(dtype) = cx.dtype(7)? else { return Ok(unknown(cx)) };
        Ok(vec![product_type(cx, 0, 3, dtype)?.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let a = centred(cx.tensor(0)?, cx.optional(2)?, Side::Left)?;
        let b = centred(cx.tensor(3)?, cx.optional(5)?, Side::Right)?;
        let product = batched_product(a.view(), b.view())?;
        let scale = |index: usize, side: Side| scales(cx.tensor(index)?, side);
        let (a_scale, b_scale) = (scale(1, Side::Left)?, scale(4, Side::Right)?);
        let ratio = (&a_scale * &b_scale) / scale(6, Side::Left)?;
        let zero = cx.tensor(7)?;
        let ratio = crate::broadcast::broadcast_to(&ratio, product.shape())?;
        let reals: Vec<f32> = product.iter().zip(&ratio).map(|(sum, ratio)| *sum as f32 * ratio).collect();
        one(requantized(product.shape().to_vec(), &reals, zero)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let inner = shapes.input(0).and_then(|sizes| sizes.last().copied()).unwrap_or(0.0);
        2.0 * inner * shapes.output_elements(0)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

fn product_flops(shapes: &Shapes<'_>) -> f64 {
    let inner = shapes.input(0).and_then(|sizes| sizes.last().copied()).unwrap_or(0.0);
    2.0 * inner * shapes.output_elements(0)
}

/// Checks that an input holds bytes.
pub(super) fn check_byte(cx: &Infer<'_>, index: usize) -> Result<(), InferError> {
    match cx.dtype(index)? {
        Some(found) if found.bits() != 8 || found == DType::Bool => {
            Err(InferError::DType { index, expected: "u8 or i8".into(), found })
        }
        _ => Ok(()),
    }
}

fn product_type(cx: &Infer<'_>, a: usize, b: usize, dtype: DType) -> Result<TensorType, InferError> {
    let shape = |index: usize| cx.tensor(index).and_then(|ty| ty.shape.as_deref());
    let shape = shape(a).zip(shape(b)).map(|(a, b)| product_dims(a, b)).transpose()?;
    Ok(TensorType { dtype, shape })
}

/// A vector of parameters of the left side is one per row, which needs an axis after it.
fn along(shape: &[usize], side: Side) -> Vec<usize> {
    match (shape, side) {
        ([rows], Side::Left) if *rows != 1 => vec![*rows, 1],
        _ => shape.to_vec(),
    }
}

fn centred(x: &Tensor, zero: Option<&Tensor>, side: Side) -> Result<ArrayD<i32>, EvalError> {
    let values = Tensor::from_vec(x.shape().to_vec(), factors(x)?)?;
    let values = view::<i32>(&values)?.into_owned();
    let Some(zero) = zero else { return Ok(values) };
    let zero = Tensor::from_vec(along(zero.shape(), side), factors(zero)?)?;
    let zero = view::<i32>(&zero)?;
    let zero = crate::broadcast::broadcast_to(&zero, values.shape())?;
    Ok(values - zero)
}

fn scales(scale: &Tensor, side: Side) -> Result<ArrayD<f32>, EvalError> {
    let scale = crate::movement::cast(scale, DType::F32)?.reshaped(along(scale.shape(), side))?;
    Ok(view::<f32>(&scale)?.into_owned())
}

/// Values of the type of `zero` from reals that are already divided by the scale.
pub(super) fn requantized(shape: Vec<usize>, reals: &[f32], zero: &Tensor) -> Result<Tensor, EvalError> {
    let to = zero.dtype();
    let (lo, hi) = range(to).ok_or_else(|| EvalError::unsupported(format!("quantization to {to}")))?;
    let offset = integers(zero)?.first().copied().unwrap_or(0);
    let quantize = |real: &f32| {
        (f64::from(real.round_ties_even()) + f64::from(offset)).clamp(f64::from(lo), f64::from(hi)) as i32
    };
    packed(to, shape, &reals.iter().map(quantize).collect::<Vec<i32>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn zero_points_are_subtracted() {
        let a = t(&[4, 3], &[11u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]);
        let b = t(&[3, 2], &[1u8, 4, 2, 5, 3, 6]);
        let inputs = [a.clone(), b.clone(), Tensor::scalar(12u8), Tensor::scalar(0u8)];
        let expected = t(&[4, 2], &[-38i32, -83, -44, -98, -50, -113, -56, -128]);
        assert_eq!(run(&MatMulInteger, &Attrs::new(), &inputs), expected);
        let per_row = [a.clone(), b, t(&[4], &[12u8, 12, 12, 12]), t(&[2], &[0u8, 0])];
        assert_eq!(run(&MatMulInteger, &Attrs::new(), &per_row), expected);
        assert!(refusal(&MatMulInteger, &Attrs::new(), &[a, t(&[2, 1], &[1u8, 1])]).contains("inner sizes"));
    }

    #[test]
    fn products_are_requantized() {
        let f = |x: f32| Tensor::scalar(x);
        let z = |x: u8| Tensor::scalar(x);
        let a = t(&[2, 4], &[208u8, 236, 0, 238, 3, 214, 255, 29]);
        let b = t(&[4, 3], &[152u8, 51, 244, 60, 26, 255, 0, 127, 246, 127, 254, 247]);
        let inputs = [a, f(0.0066), z(113), b, f(0.00705), z(114), f(0.0107), z(118)];
        let expected = t(&[2, 3], &[168u8, 115, 255, 1, 66, 151]);
        assert_eq!(run(&QLinearMatMul, &Attrs::new(), &inputs), expected);
    }
}
