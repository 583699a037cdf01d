//! `Exp`: `e^x`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Exp.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Exp", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Exp;

impl Op for Exp {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::exp)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        unary::transcendental_flops(shapes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_values() {
        let x = t(&[4], &[0.0f32, 1.0f32, f32::NEG_INFINITY, 100.0f32]);
        close(&run(&Exp, &Attrs::new(), &[x]), &[1.0, std::f64::consts::E, 0.0, f64::INFINITY]);
    }
}
