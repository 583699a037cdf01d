//! `Acosh`: the inverse hyperbolic cosine, NaN below 1, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Acosh.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Acosh", &[9, 22], (1, 1), (1, 1));

pub(crate) struct Acosh;

impl Op for Acosh {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::acosh)
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
        let x = t(&[4], &[1.0f32, 2.0f32, 10.0f32, -3.0f32]);
        close(&run(&Acosh, &Attrs::new(), &[x]), &[0.0, 1.3169578969248166, 2.993222846126381, f64::NAN]);
    }
}
