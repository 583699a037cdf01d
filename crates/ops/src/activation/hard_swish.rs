//! `HardSwish`: `x · min(1, max(0, x/6 + 1/2))`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__HardSwish.html>.

use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("HardSwish", &[14, 22], (1, 1), (1, 1));

pub(crate) struct HardSwish;

impl Op for HardSwish {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_values() {
        let x = t(&[5], &[-4.0f32, -1.0f32, 0.0f32, 2.0f32, 9.0f32]);
        close(
            &run(&HardSwish, &Attrs::new(), &[x]),
            &[0.0, -0.33333333333333337, 0.0, 1.6666666666666665, 9.0],
        );
    }
}
