//! `Log`: the natural logarithm, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Log.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Log", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Log;

impl Op for Log {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::ln)
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
        let x = t(&[4], &[1.0f32, 10.0f32, 0.0f32, -1.0f32]);
        close(&run(&Log, &Attrs::new(), &[x]), &[0.0, std::f64::consts::LN_10, f64::NEG_INFINITY, f64::NAN]);
    }
}
