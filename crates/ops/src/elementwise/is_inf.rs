//! `IsInf`: whether `x` is infinite, of the signs asked for, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__IsInf.html>.

use super::unary;
use crate::attributes::int;
use crate::inference::{FLOATS_AND_F8, comparison, first_is};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("IsInf", &[10, 20], (1, 1), (1, 1))
    .with(&[("detect_negative", int(1)), ("detect_positive", int(1))]);

pub(crate) struct IsInf;

impl Op for IsInf {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(first_is(cx, comparison(cx, FLOATS_AND_F8)?.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let wanted = |name| cx.attrs.int_or(name, 1) != 0;
        let (negative, positive) = (wanted("detect_negative"), wanted("detect_positive"));
        unary::eval_predicate(cx, |x| {
            (positive && x == f64::INFINITY) || (negative && x == f64::NEG_INFINITY)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn finds_the_infinities_asked_for() {
        let x = t(&[3], &[f32::NEG_INFINITY, 1.0, f32::INFINITY]);
        let found = |attrs: &Attrs| run(&IsInf, attrs, std::slice::from_ref(&x));
        assert_eq!(found(&Attrs::new()), Tensor::from_bools(vec![3], [true, false, true]).unwrap());
        let positive = Attrs::new().with("detect_negative", 0i64);
        assert_eq!(found(&positive), Tensor::from_bools(vec![3], [false, false, true]).unwrap());
    }
}
