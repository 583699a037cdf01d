//! `Sigmoid`: `1 / (1 + e^-x)`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Sigmoid.html>.

use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Sigmoid", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Sigmoid;

impl Op for Sigmoid {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, |x| 1.0 / (1.0 + (-x).exp()))
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
        let x = t(&[5], &[-1000.0f32, -2.0f32, 0.0f32, 3.0f32, 1000.0f32]);
        close(&run(&Sigmoid, &Attrs::new(), &[x]), &[0.0, 0.11920292202211755, 0.5, 0.9525741268224334, 1.0]);
    }
}
