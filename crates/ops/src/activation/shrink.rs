//! `Shrink`: `x + bias` below `-lambd`, `x - bias` above `lambd`, zero between, elementwise on every number type.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Shrink.html>.

use crate::attributes::float;
use crate::inference::{NUMBERS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema =
    Schema::onnx("Shrink", &[9], (1, 1), (1, 1)).with(&[("bias", float(0.0)), ("lambd", float(0.5))]);

pub(crate) struct Shrink;

impl Op for Shrink {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let (bias, limit) =
            (f64::from(cx.attrs.float_or("bias", 0.0)), f64::from(cx.attrs.float_or("lambd", 0.5)));
        let shrink = |x: f64| match x {
            x if x < -limit => x + bias,
            x if x > limit => x - bias,
            _ => 0.0,
        };
        one(from_f64(x.dtype(), &to_f64(x)?.mapv(shrink))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn shrinks_towards_zero() {
        let attrs = Attrs::new().with("bias", 1.5f32).with("lambd", 1.5f32);
        close(&run(&Shrink, &attrs, &[t(&[3], &[-2f32, 1.0, 2.0])]), &[-0.5, 0.0, 0.5]);
        assert_eq!(run(&Shrink, &attrs, &[t(&[2], &[-4i32, 4])]), t(&[2], &[-2i32, 2]));
    }
}
