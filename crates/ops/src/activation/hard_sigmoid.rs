//! `HardSigmoid`: `alpha · x + beta` cut to [0, 1], elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__HardSigmoid.html>.

use crate::attributes::float;
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("HardSigmoid", &[1, 6, 22], (1, 1), (1, 1))
    .with(&[("alpha", float(0.2)), ("beta", float(0.5))]);

pub(crate) struct HardSigmoid;

impl Op for HardSigmoid {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let alpha = f64::from(cx.attrs.float_or("alpha", 0.2));
        let beta = f64::from(cx.attrs.float_or("beta", 0.5));
        unary::eval(cx, |x| (alpha * x + beta).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_values() {
        let x = t(&[5], &[-3.0f32, -1.0f32, 0.0f32, 2.0f32, 9.0f32]);
        close(&run(&HardSigmoid, &Attrs::new(), &[x]), &[0.0, 0.3, 0.5, 0.9, 1.0]);
    }
}
