//! `ReduceMean`: the mean over axes.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ReduceMean.html>.

use super::reduce::{self, Reduction};
use crate::attributes::int;

use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("ReduceMean", &[1, 11, 13, 18], (1, 2), (1, 1))
    .with(&[("keepdims", int(1)), ("noop_with_empty_axes", int(0))]);

pub(crate) struct ReduceMean;

impl Reduction for ReduceMean {
    fn floats(row: &[f64]) -> f64 {
        row.iter().sum::<f64>() / row.len() as f64
    }
}

impl Op for ReduceMean {
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
        let all = run(&ReduceMean, &Attrs::new(), std::slice::from_ref(&x));
        assert_eq!(all.shape(), [1, 1, 1]);
        close(&all, &[1.25]);
        let flat = Attrs::new().with("keepdims", 0i64);
        let rows = run(&ReduceMean, &flat, &[x, t(&[2], &[-1i64, 1])]);
        assert_eq!(rows.shape(), [2]);
        close(&rows, &[2.0, 0.5]);
    }
}
