//! `SoftmaxCrossEntropyLoss`: the negated log of the softmax over axis 1 at the target classes; the logs are output 1.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html>.

use super::weighted;
use crate::attributes::{INT, text};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::sizes::unknown;
use crate::view::{from_f64, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use ndarray::Axis;

static SCHEMA: Schema = Schema::onnx("SoftmaxCrossEntropyLoss", &[12, 13], (2, 3), (1, 2))
    .with(&[("ignore_index", INT), ("reduction", text("mean"))]);

pub(crate) struct SoftmaxCrossEntropyLoss;

impl Op for SoftmaxCrossEntropyLoss {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(ty) = weighted::infer(cx)? else { return Ok(unknown(cx)) };
        let logs = cx.input(0).map(|arg| arg.ty.clone()).unwrap_or_default();
        Ok([ty.into(), logs.into()].into_iter().take(cx.outputs).collect())
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        if x.shape().len() < 2 {
            return Err(EvalError::value(format!("scores need batch and classes, found {:?}", x.shape())));
        }
        let mut logs = to_f64(x)?;
        for mut lane in logs.lanes_mut(Axis(1)) {
            let largest = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = lane.iter().map(|score| (score - largest).exp()).sum();
            lane.mapv_inplace(|score| score - largest - sum.ln());
        }
        let row_major: Vec<f64> = logs.iter().copied().collect();
        Ok(vec![weighted::loss(cx, &row_major)?.into(), from_f64(x.dtype(), &logs)?.into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        12.0 * shapes.input_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run_all, t};
    use fusebox_ir::Attrs;

    #[test]
    fn logs_and_their_loss() {
        let inputs = [Some(t(&[2, 2], &[0f32, 3f32.ln(), 1000.0, 0.0])), Some(t(&[2], &[1i32, 0]))];
        let found = run_all(&SoftmaxCrossEntropyLoss, &Attrs::new(), &inputs, 2).unwrap();
        let three_quarters = 0.75f64.ln();
        close(&found[0], &[-three_quarters / 2.0]);
        close(&found[1], &[0.25f64.ln(), three_quarters, 0.0, -1000.0]);
    }
}
