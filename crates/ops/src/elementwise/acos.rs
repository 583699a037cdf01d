//! `Acos`: the inverse cosine, NaN outside [-1, 1], elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Acos.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Acos", &[7, 22], (1, 1), (1, 1));

pub(crate) struct Acos;

impl Op for Acos {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::acos)
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
        let x = t(&[4], &[0.0f32, 1.0f32, -0.5f32, -3.0f32]);
        close(
            &run(&Acos, &Attrs::new(), &[x]),
            &[std::f64::consts::FRAC_PI_2, 0.0, std::f64::consts::FRAC_PI_3 * 2.0, f64::NAN],
        );
    }
}
