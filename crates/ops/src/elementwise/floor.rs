//! `Floor`: the largest integer not above `x`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Floor.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Floor", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Floor;

impl Op for Floor {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_values() {
        let x = t(&[3], &[1.5f32, -1.5f32, 2.0f32]);
        close(&run(&Floor, &Attrs::new(), &[x]), &[1.0, -2.0, 2.0]);
    }
}
