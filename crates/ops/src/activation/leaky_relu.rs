//! `LeakyRelu`: `x` above zero, `alpha · x` below, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__LeakyRelu.html>.

use crate::attributes::float;
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema =
    Schema::onnx("LeakyRelu", &[1, 6, 16], (1, 1), (1, 1)).with(&[("alpha", float(0.01))]);

pub(crate) struct LeakyRelu;

impl Op for LeakyRelu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let alpha = f64::from(cx.attrs.float_or("alpha", 0.01));
        unary::eval(cx, |x| if x < 0.0 { alpha * x } else { x })
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
        close(&run(&LeakyRelu, &Attrs::new().with("alpha", 0.1f32), &[x]), &[-0.2, -0.05, 0.0, 0.5, 3.0]);
    }
}
