//! `IsNaN`: whether `x` is not a number, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__IsNaN.html>.

use super::unary;
use crate::inference::{FLOATS, comparison, first_is};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("IsNaN", &[9, 13, 20], (1, 1), (1, 1));

pub(crate) struct IsNaN;

impl Op for IsNaN {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(first_is(cx, comparison(cx, FLOATS)?.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval_predicate(cx, f64::is_nan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn finds_nan() {
        let result = run(&IsNaN, &Attrs::new(), &[t(&[3], &[1f32, f32::NAN, f32::INFINITY])]);
        assert_eq!(result, Tensor::from_bools(vec![3], [false, true, false]).unwrap());
    }
}
