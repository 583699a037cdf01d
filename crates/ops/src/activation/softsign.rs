//! `Softsign`: `x / (1 + |x|)`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Softsign.html>.

use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Softsign", &[1, 22], (1, 1), (1, 1));

pub(crate) struct Softsign;

impl Op for Softsign {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, |x| x / (1.0 + x.abs()))
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
            &run(&Softsign, &Attrs::new(), &[x]),
            &[-0.6666666666666666, -0.3333333333333333, 0.0, 0.3333333333333333, 0.75],
        );
    }
}
