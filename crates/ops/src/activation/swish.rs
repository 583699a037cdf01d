//! `Swish`: `x · sigmoid(alpha · x)`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Swish.html>.

use crate::attributes::float;
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Swish", &[24], (1, 1), (1, 1)).with(&[("alpha", float(1.0))]);

pub(crate) struct Swish;

impl Op for Swish {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let alpha = f64::from(cx.attrs.float_or("alpha", 1.0));
        unary::eval(cx, |x| x / (1.0 + (-alpha * x).exp()))
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
            &run(&Swish, &Attrs::new().with("alpha", 2f32), &[x]),
            &[-0.03597241992418312, -0.13447071068499755, 0.0, 0.36552928931500245, 2.992582130530096],
        );
    }
}
