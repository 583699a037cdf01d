//! `Ceil`: the smallest integer not below `x`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Ceil.html>.

use super::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Ceil", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Ceil;

impl Op for Ceil {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, f64::ceil)
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
        close(&run(&Ceil, &Attrs::new(), &[x]), &[2.0, -1.0, 2.0]);
    }
}
