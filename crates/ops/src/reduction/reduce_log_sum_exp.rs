//! `ReduceLogSumExp`: the logarithm of the sum of exponentials over axes.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ReduceLogSumExp.html>.

use super::reduce::{self, Reduction};
use crate::attributes::int;

use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("ReduceLogSumExp", &[1, 11, 13, 18, 28], (1, 2), (1, 1))
    .with(&[("keepdims", int(1)), ("noop_with_empty_axes", int(0))]);

pub(crate) struct ReduceLogSumExp;

impl Reduction for ReduceLogSumExp {
    fn floats(row: &[f64]) -> f64 {
        // Shifting by the largest element keeps the exponentials in range.
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if top.is_infinite() {
            return row.iter().map(|x| x.exp()).sum::<f64>().ln();
        }
        top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
    }
}

impl Op for ReduceLogSumExp {
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
        8.0 * shapes.input_elements(0)
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
        let all = run(&ReduceLogSumExp, &Attrs::new(), std::slice::from_ref(&x));
        assert_eq!(all.shape(), [1, 1, 1]);
        close(&all, &[5.194472761665232]);
        let flat = Attrs::new().with("keepdims", 0i64);
        let rows = run(&ReduceLogSumExp, &flat, &[x, t(&[2], &[-1i64, 1])]);
        assert_eq!(rows.shape(), [2]);
        close(&rows, &[3.40760596444438, 5.011169791308271]);
    }

    #[test]
    fn large_elements_do_not_overflow() {
        close(&run(&ReduceLogSumExp, &Attrs::new(), &[t(&[2], &[1e30f32, 1e30])]), &[1e30]);
        close(&run(&ReduceLogSumExp, &Attrs::new(), &[t(&[1], &[f32::NEG_INFINITY])]), &[f64::NEG_INFINITY]);
    }
}
