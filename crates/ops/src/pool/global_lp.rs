//! `GlobalLpPool`: the p-norm over all spatial positions.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html>.

use super::global;
use crate::attributes::int;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("GlobalLpPool", &[1, 2, 22], (1, 1), (1, 1)).with(&[("p", int(2))]);

pub(crate) struct GlobalLpPool;

impl Op for GlobalLpPool {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        global::infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let p = cx.attrs.int_or("p", 2) as f64;
        global::eval(cx, |plane| plane.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p))
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.input_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn reduces_all_positions() {
        let x = t(&[1, 2, 2, 1], &[3f32, -4.0, 5.0, 12.0]);
        let result = run(&GlobalLpPool, &Attrs::new(), &[x]);
        assert_eq!(result.shape(), [1, 2, 1, 1]);
        close(&result, &[5.0, 13.0]);
    }
}
