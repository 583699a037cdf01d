//! `Elu`: `x` above zero, `alpha · (e^x - 1)` below, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Elu.html>.

use crate::attributes::float;
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Elu", &[1, 6, 22], (1, 1), (1, 1)).with(&[("alpha", float(1.0))]);

pub(crate) struct Elu;

impl Op for Elu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let alpha = f64::from(cx.attrs.float_or("alpha", 1.0));
        unary::eval(cx, |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
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
        let x = t(&[5], &[-2.0f32, -0.5f32, 0.0f32, 0.5f32, 3.0f32]);
        close(
            &run(&Elu, &Attrs::new().with("alpha", 2f32), &[x]),
            &[-1.7293294335267746, -0.7869386805747332, 0.0, 0.5, 3.0],
        );
    }
}
