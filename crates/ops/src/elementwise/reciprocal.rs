//! `Reciprocal`: `1 / x`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Reciprocal.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Reciprocal", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Reciprocal;

impl Op for Reciprocal {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::recip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_values() {
        let x = t(&[3], &[4.0f32, -0.5f32, 0.0f32]);
        close(&run(&Reciprocal, &Attrs::new(), &[x]), &[0.25, -2.0, f64::INFINITY]);
    }
}
