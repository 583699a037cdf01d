//! `ThresholdedRelu`: `x` above `alpha`, zero elsewhere, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ThresholdedRelu.html>.

use crate::attributes::float;
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema =
    Schema::onnx("ThresholdedRelu", &[10, 22], (1, 1), (1, 1)).with(&[("alpha", float(1.0))]);

pub(crate) struct ThresholdedRelu;

impl Op for ThresholdedRelu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let alpha = f64::from(cx.attrs.float_or("alpha", 1.0));
        unary::eval(cx, |x| if x > alpha || x.is_nan() { x } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_values() {
        let x = t(&[4], &[-2.0f32, 0.5f32, 1.0f32, 1.5f32]);
        close(&run(&ThresholdedRelu, &Attrs::new(), &[x]), &[0.0, 0.0, 0.0, 1.5]);
    }
}
