//! `Atanh`: the inverse hyperbolic tangent, NaN outside [-1, 1], elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Atanh.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Atanh", &[9, 22], (1, 1), (1, 1));

pub(crate) struct Atanh;

impl Op for Atanh {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::atanh)
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
        let x = t(&[4], &[0.0f32, 0.5f32, -0.5f32, -3.0f32]);
        close(&run(&Atanh, &Attrs::new(), &[x]), &[0.0, 0.5493061443340548, -0.5493061443340548, f64::NAN]);
    }
}
