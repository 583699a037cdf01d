//! `Erf`: the error function `2/√π · ∫₀ˣ exp(-t²) dt`, elementwise.
//!
//! The spec lists integer types too; they have no sensible result and are typed but not evaluated.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Erf.html>.

use super::unary;
use crate::inference::{NUMBERS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Erf", &[9, 13], (1, 1), (1, 1));

pub(crate) struct Erf;

impl Op for Erf {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, libm::erf)
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
        let x = t(&[4], &[0.0f32, 0.5f32, -1.0f32, 4.0f32]);
        close(
            &run(&Erf, &Attrs::new(), &[x]),
            &[0.0, 0.5204998778130465, -0.8427007929497149, 0.9999999845827421],
        );
    }
}
