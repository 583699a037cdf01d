//! `ReduceL2`: the square root of the sum of squares over axes.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ReduceL2.html>.

use super::reduce::{self, Reduction};
use crate::attributes::int;

use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("ReduceL2", &[1, 11, 13, 18], (1, 2), (1, 1))
    .with(&[("keepdims", int(1)), ("noop_with_empty_axes", int(0))]);

pub(crate) struct ReduceL2;

impl Reduction for ReduceL2 {
    const OVER_NO_AXIS: Option<&'static str> = Some("Abs");

    fn floats(row: &[f64]) -> f64 {
        row.iter().fold(0.0, |sum: f64, x| sum + x * x).sqrt()
    }
}

impl Op for ReduceL2 {
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
        2.0 * shapes.input_elements(0)
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
        let all = run(&ReduceL2, &Attrs::new(), std::slice::from_ref(&x));
        assert_eq!(all.shape(), [1, 1, 1]);
        close(&all, &[7.433034373659253]);
        let flat = Attrs::new().with("keepdims", 0i64);
        let rows = run(&ReduceL2, &flat, &[x, t(&[2], &[-1i64, 1])]);
        assert_eq!(rows.shape(), [2]);
        close(&rows, &[3.7416573867739413, 6.422616289332565]);
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(run(&ReduceL2, &Attrs::new(), &[t(&[3], &[3i64, -4, 0])]), t(&[1], &[5i64]));
    }
}
