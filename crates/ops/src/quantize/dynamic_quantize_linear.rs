//! `DynamicQuantizeLinear`: u8 values with the scale and zero point of their own range, which always includes 0.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>. The arithmetic is that of
//! [`crate::fused::quantize`] over the whole tensor.

use crate::fused::quantize::{quantize, row_params};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("DynamicQuantizeLinear", &[11], (1, 1), (3, 3));

pub(crate) struct DynamicQuantizeLinear;

impl Op for DynamicQuantizeLinear {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        if let Some(found) = cx.dtype(0)?.filter(|dtype| *dtype != DType::F32) {
            return Err(InferError::DType { index: 0, expected: "f32".into(), found });
        }
        let shape = cx.tensor(0).and_then(|ty| ty.shape.clone());
        let mut outputs = vec![
            TensorType { dtype: DType::U8, shape }.into(),
            TensorType::new(DType::F32, []).into(),
            TensorType::new(DType::U8, []).into(),
        ];
        outputs.truncate(cx.outputs);
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let values = x.elements::<f32>()?;
        let (scale, zero) = row_params(&values);
        let q: Vec<u8> = values.iter().map(|value| quantize(*value, scale, zero)).collect();
        let q = Tensor::from_vec(x.shape().to_vec(), q)?;
        Ok(vec![q.into(), Tensor::scalar(scale).into(), Tensor::scalar(zero).into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        3.0 * shapes.input_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run_all, t};
    use fusebox_ir::Attrs;

    #[test]
    fn the_range_gives_scale_and_zero_point() {
        let x = t(&[6], &[0f32, 2.0, -3.0, -2.5, 1.34, 0.5]);
        let outputs = run_all(&DynamicQuantizeLinear, &Attrs::new(), &[Some(x)], 3).unwrap();
        assert_eq!(outputs[0], t(&[6], &[153u8, 255, 0, 26, 221, 179]));
        assert_eq!(outputs[1], Tensor::scalar(5f32 / 255.0));
        assert_eq!(outputs[2], Tensor::scalar(153u8));
    }
}
