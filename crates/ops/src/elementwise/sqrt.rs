//! `Sqrt`: the square root `√x`, NaN below zero, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Sqrt.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Sqrt", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Sqrt;

impl Op for Sqrt {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::sqrt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_values() {
        let x = t(&[4], &[4.0f32, 2.0f32, 0.0f32, -1.0f32]);
        close(&run(&Sqrt, &Attrs::new(), &[x]), &[2.0, std::f64::consts::SQRT_2, 0.0, f64::NAN]);
    }
}
