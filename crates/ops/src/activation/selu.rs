//! `Selu`: `gamma · x` above zero, `gamma · alpha · (e^x - 1)` below, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Selu.html>.

use crate::attributes::float;
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Selu", &[1, 6, 22], (1, 1), (1, 1))
    .with(&[("alpha", float(1.6732632)), ("gamma", float(1.050701))]);

pub(crate) struct Selu;

impl Op for Selu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let alpha = f64::from(cx.attrs.float_or("alpha", 1.673_263_2));
        let gamma = f64::from(cx.attrs.float_or("gamma", 1.050_701));
        unary::eval(cx, |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
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
            &run(&Selu, &Attrs::new(), &[x]),
            &[-1.520166468595695, -0.6917581878028713, 0.0, 0.5253504936777402, 3.1521029620664414],
        );
    }
}
