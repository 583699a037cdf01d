//! `Softplus`: `ln(1 + e^x)`, elementwise.
//!
//! Computed so that it neither overflows nor loses small results.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Softplus.html>.

use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Softplus", &[1, 22], (1, 1), (1, 1));

pub(crate) struct Softplus;

impl Op for Softplus {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        unary::eval(cx, |x| x.max(0.0) + (-x.abs()).exp().ln_1p())
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
        let x = t(&[5], &[-100.0f32, -1.0f32, 0.0f32, 2.0f32, 1000.0f32]);
        close(
            &run(&Softplus, &Attrs::new(), &[x]),
            &[3.720075976020836e-44, 0.31326168751822286, std::f64::consts::LN_2, 2.1269280110429727, 1000.0],
        );
    }
}
