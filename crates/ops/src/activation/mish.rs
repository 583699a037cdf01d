//! `Mish`: `x · tanh(ln(1 + e^x))`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Mish.html>.

use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Mish", &[18, 22], (1, 1), (1, 1));

pub(crate) struct Mish;

impl Op for Mish {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh())
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
        let x = t(&[5], &[-2.0f32, -0.5f32, 0.0f32, 0.5f32, 3.0f32]);
        close(
            &run(&Mish, &Attrs::new(), &[x]),
            &[-0.2525014826957089, -0.22074377465173, 0.0, 0.3752452113048951, 2.9865350049679575],
        );
    }
}
