//! `Round`: rounding to the nearest integer, halves to even, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Round.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Round", &[11, 22], (1, 1), (1, 1));

pub(crate) struct Round;

impl Op for Round {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::round_ties_even)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn halves_go_to_even() {
        let x = t(&[5], &[0.5f32, 1.5f32, 2.5f32, -0.6f32, -2.5f32]);
        close(&run(&Round, &Attrs::new(), &[x]), &[0.0, 2.0, 2.0, -1.0, -2.0]);
    }
}
