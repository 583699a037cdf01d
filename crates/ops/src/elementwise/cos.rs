//! `Cos`: the cosine, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Cos.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Cos", &[7, 22], (1, 1), (1, 1));

pub(crate) struct Cos;

impl Op for Cos {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::cos)
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
        close(&run(&Cos, &Attrs::new(), &[x]), &[1.0, 0.5403023058681398, -0.4161468365471424]);
    }
}
