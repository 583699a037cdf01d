//! `Tanh`: the hyperbolic tangent, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Tanh.html>.

use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Tanh", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Tanh;

impl Op for Tanh {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::tanh)
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
        let x = t(&[5], &[-20.0f32, -0.5f32, 0.0f32, 0.5f32, 3.0f32]);
        close(
            &run(&Tanh, &Attrs::new(), &[x]),
            &[-1.0, -0.46211715726000974, 0.0, 0.46211715726000974, 0.9950547536867305],
        );
    }
}
