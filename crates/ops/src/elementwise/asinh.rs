//! `Asinh`: the inverse hyperbolic sine, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Asinh.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Asinh", &[9, 22], (1, 1), (1, 1));

pub(crate) struct Asinh;

impl Op for Asinh {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::asinh)
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
        let x = t(&[3], &[0.0f32, 1.0f32, -2.0f32]);
        close(&run(&Asinh, &Attrs::new(), &[x]), &[0.0, 0.881373587019543, -1.4436354751788103]);
    }
}
