//! `IsNaN`: whether `x` is not a number, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__IsNaN.html>.

use super::unary;
use crate::inference::{FLOATS_AND_F8, comparison, first_is};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("IsNaN", &[9, 13, 20], (1, 1), (1, 1));

pub(crate) struct IsNaN;

impl Op for IsNaN {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(first_is(cx, comparison(cx, FLOATS_AND_F8)?.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval_predicate(cx, f64::is_nan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::{Attrs, DType, Tensor};

    #[test]
    fn finds_nan_in_bytes() {
        let found = |dtype: DType| {
            let x = Tensor::from_bytes(dtype, vec![5], vec![0x7f, 0xff, 0x80, 0x7c, 0x3c].into()).unwrap();
            run(&IsNaN, &Attrs::new(), &[x]).data().to_vec()
        };
        assert_eq!(found(DType::F8E4M3FN), [1, 1, 0, 0, 0]);
        assert_eq!(found(DType::F8E5M2), [1, 1, 0, 0, 0]);
        assert_eq!(found(DType::F8E4M3FNUZ), [0, 0, 1, 0, 0]);
        assert_eq!(found(DType::F8E5M2FNUZ), [0, 0, 1, 0, 0]);
    }

    #[test]
    fn finds_nan() {
        let result = run(&IsNaN, &Attrs::new(), &[t(&[3], &[1f32, f32::NAN, f32::INFINITY])]);
        assert_eq!(result, Tensor::from_bools(vec![3], [false, true, false]).unwrap());
    }
}
