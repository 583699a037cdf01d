//! `ReduceMin`: the smallest element over axes.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ReduceMin.html>.

use super::reduce::{self, Reduction};
use crate::attributes::int;
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("ReduceMin", &[1, 11, 12, 13, 18, 20], (1, 2), (1, 1))
    .with(&[("keepdims", int(1)), ("noop_with_empty_axes", int(0))]);

pub(crate) struct ReduceMin;

impl Reduction for ReduceMin {
    const BOOLEANS: bool = true;

    fn floats(row: &[f64]) -> f64 {
        row.iter().fold(f64::INFINITY, |a, b| a.smaller(*b))
    }

    fn integers<T: Number>(row: &[T]) -> T {
        row.iter().fold(T::from_f64(f64::INFINITY), |a, b| a.smaller(*b))
    }

    fn on_dims(row: &[Dim]) -> Option<Dim> {
        row.iter().skip(1).try_fold(row.first()?.clone(), |a, b| Some(a.smaller(b)))
    }
}

impl Op for ReduceMin {
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
        let all = run(&ReduceMin, &Attrs::new(), std::slice::from_ref(&x));
        assert_eq!(all.shape(), [1, 1, 1]);
        close(&all, &[-4.0]);
        let flat = Attrs::new().with("keepdims", 0i64);
        let rows = run(&ReduceMin, &flat, &[x, t(&[2], &[-1i64, 1])]);
        assert_eq!(rows.shape(), [2]);
        close(&rows, &[1.0, -4.0]);
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(run(&ReduceMin, &Attrs::new(), &[t(&[3], &[3i64, -4, 5])]), t(&[1], &[-4i64]));
    }

    #[test]
    fn nan_and_booleans() {
        let x = t(&[2], &[f32::NAN, 1.0]);
        assert!(run(&ReduceMin, &Attrs::new(), &[x]).floats().unwrap()[0].is_nan());
        let x = fusebox_ir::Tensor::from_bools(vec![2], [true, false]).unwrap();
        assert_eq!(run(&ReduceMin, &Attrs::new(), &[x]).data()[0], 0);
        let empty = run(&ReduceMin, &Attrs::new(), &[t::<f32>(&[0], &[])]);
        close(&empty, &[f64::INFINITY]);
    }
}
