//! `ReduceSum`: the sum over axes.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ReduceSum.html>.

use super::reduce::{self, Reduction};
use crate::attributes::int;
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("ReduceSum", &[1, 11, 13], (1, 2), (1, 1))
    .with(&[("keepdims", int(1)), ("noop_with_empty_axes", int(0))]);

pub(crate) struct ReduceSum;

impl Reduction for ReduceSum {
    const AXES_INPUT_SINCE: i64 = 13;

    fn floats(row: &[f64]) -> f64 {
        row.iter().fold(0.0, |sum, x| sum + x)
    }

    fn integers<T: Number>(row: &[T]) -> T {
        row.iter().fold(T::ZERO, |sum, x| sum.plus(*x))
    }

    fn on_dims(row: &[Dim]) -> Option<Dim> {
        Some(row.iter().fold(Dim::known(0), |sum, x| sum.add(x)))
    }
}

impl Op for ReduceSum {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        reduce::infer::<Self>(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        reduce::eval::<Self>(cx)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.input_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        reduce::upgrade::<Self>(edit);
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        reduce::downgrade::<Self>(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn reduces_all_or_some_axes() {
        let x = t(&[2, 1, 3], &[1f32, 2.0, 3.0, -4.0, 5.0, 0.5]);
        let all = run(&ReduceSum, &Attrs::new(), std::slice::from_ref(&x));
        assert_eq!(all.shape(), [1, 1, 1]);
        close(&all, &[7.5]);
        let flat = Attrs::new().with("keepdims", 0i64);
        let rows = run(&ReduceSum, &flat, &[x, t(&[2], &[-1i64, 1])]);
        assert_eq!(rows.shape(), [2]);
        close(&rows, &[6.0, 1.5]);
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(run(&ReduceSum, &Attrs::new(), &[t(&[3], &[3i64, -4, 5])]), t(&[1], &[4i64]));
    }

    #[test]
    fn over_no_axis_nothing_happens_and_an_empty_sum_is_zero() {
        let noop = Attrs::new().with("noop_with_empty_axes", 1i64);
        let x = t(&[2], &[1f32, 2.0]);
        assert_eq!(run(&ReduceSum, &noop, std::slice::from_ref(&x)), x);
        let empty = run(&ReduceSum, &Attrs::new(), &[t::<f32>(&[2, 0], &[]), t(&[1], &[1i64])]);
        assert_eq!(empty, t(&[2, 1], &[0f32, 0.0]));
    }
}
