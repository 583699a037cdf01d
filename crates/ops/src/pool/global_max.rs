//! `GlobalMaxPool`: the largest element over all spatial positions.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html>.

use super::global;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("GlobalMaxPool", &[1, 22], (1, 1), (1, 1));

pub(crate) struct GlobalMaxPool;

impl Op for GlobalMaxPool {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        global::infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        global::eval(cx, |plane| {
            plane.iter().fold(f64::NEG_INFINITY, |a, b| crate::number::Number::larger(a, *b))
        })
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
        let result = run(&GlobalMaxPool, &Attrs::new(), &[x]);
        assert_eq!(result.shape(), [1, 2, 1, 1]);
        close(&result, &[3.0, 12.0]);
    }
}
