//! `DequantizeLinear`: `(x − zero_point)·scale` per tensor, axis or block, in the type of the scale.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>.

use super::affine::{Granularity, check_quantized, reals, zero_points};
use super::quantize_linear::{check_form, optional_dtype};
use crate::attributes::int;
use crate::forms::{existed, inexpressible};
use crate::movement::cast;
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{DType, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("DequantizeLinear", &[10, 13, 19, 21, 23, 24, 25, 28], (2, 3), (1, 1))
    .with(&[("axis", int(1)), ("block_size", int(0)), ("output_dtype", int(0))]);

pub(crate) struct DequantizeLinear;

impl Op for DequantizeLinear {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        if let Some(dtype) = cx.dtype(0)? {
            check_quantized(dtype, 0)?;
        }
        crate::inference::expect_same(cx, 0, 2)?;
        let given = optional_dtype(cx.attrs, "output_dtype")?;
        let Some(dtype) = given.or(cx.dtype(1)?) else { return Ok(unknown(cx)) };
        let shape = cx.tensor(0).and_then(|ty| ty.shape.clone());
        Ok(vec![TensorType { dtype, shape }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, scale) = (cx.tensor(0)?, cx.tensor(1)?);
        let (axis, block) = (cx.attrs.int_or("axis", 1), cx.attrs.int_or("block_size", 0));
        let granularity = Granularity::new(x.shape(), scale.shape(), axis, block)?;
        let (values, zeros) = (reals(x)?, zero_points(cx.optional(2)?, scale)?);
        let result = if scale.dtype() == DType::F64 {
            dequantized::<f64>(x, scale, &values, &zeros, &granularity)?
        } else {
            // Halves too: a 16-bit integer would be rounded before it is scaled.
            dequantized::<f32>(x, &cast(scale, DType::F32)?, &values, &zeros, &granularity)?
        };
        one(cast(&result, optional_dtype(cx.attrs, "output_dtype")?.unwrap_or(scale.dtype()))?)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        check_form(&SCHEMA, edit)?;
        if edit.opset < 23 && edit.node().attrs.remove("output_dtype").is_some() {
            return Err(inexpressible(&SCHEMA, edit, "output_dtype does not exist there"));
        }
        Ok(())
    }
}

fn dequantized<T: Number>(
    x: &Tensor,
    scale: &Tensor,
    values: &[f64],
    zeros: &[f64],
    granularity: &Granularity,
) -> Result<Tensor, EvalError> {
    let scales = scale.elements::<T>()?;
    let real = |(place, value): (usize, &f64)| {
        let param = granularity.param(place);
        T::from_f64(value - zeros[param]).times(scales[param])
    };
    let reals: Vec<T> = values.iter().enumerate().map(real).collect();
    Ok(Tensor::from_vec(x.shape().to_vec(), reals)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn integers_become_reals() {
        let inputs = [t(&[4], &[0u8, 3, 128, 255]), Tensor::scalar(2f32), Tensor::scalar(128u8)];
        let result = run(&DequantizeLinear, &Attrs::new(), &inputs);
        assert_eq!(result, t(&[4], &[-256f32, -250.0, 0.0, 254.0]));
        let scale = Tensor::scalar(half::f16::from_f32(0.5));
        assert_eq!(
            run(&DequantizeLinear, &Attrs::new(), &[t(&[1], &[3i8]), scale]).floats(),
            Some(vec![1.5])
        );
    }

    #[test]
    fn small_floats_become_reals() {
        let x = Tensor::from_bytes(DType::F8E4M3FN, vec![2], vec![0x38, 0xb0].into()).unwrap();
        assert_eq!(run(&DequantizeLinear, &Attrs::new(), &[x, Tensor::scalar(2f32)]), t(&[2], &[2f32, -1.0]));
    }

    #[test]
    fn blocks_have_their_scales() {
        let nibbles = Tensor::from_bytes(DType::I4, vec![4, 1], vec![0x21, 0xf3].into()).unwrap();
        let attrs = Attrs::new().with("axis", 0).with("block_size", 2);
        let result = run(&DequantizeLinear, &attrs, &[nibbles, t(&[2, 1], &[1f32, 10.0])]);
        assert_eq!(result, t(&[4, 1], &[1f32, 2.0, 30.0, -10.0]));
    }
}
