//! `MeanVarianceNormalization`: `(x - mean) / (deviation + 1e-9)` over the given axes, by default all but channels.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>.

use crate::attributes::INTS;
use crate::axis::normalize_all;
use crate::inference::{FLOATS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use ndarray::{ArrayD, Axis};

static SCHEMA: Schema =
    Schema::onnx("MeanVarianceNormalization", &[9, 13], (1, 1), (1, 1)).with(&[("axes", INTS)]);

/// What the spec adds to the deviation.
const FLOOR: f64 = 1e-9;

pub(crate) struct MeanVarianceNormalization;

fn mean_over(x: &ArrayD<f64>, axes: &[usize]) -> ArrayD<f64> {
    axes.iter().fold(x.clone(), |x, axis| {
        let count = x.len_of(Axis(*axis)) as f64;
        x.sum_axis(Axis(*axis)).insert_axis(Axis(*axis)) / count
    })
}

impl Op for MeanVarianceNormalization {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let tensor = cx.tensor(0)?;
        let axes = normalize_all(cx.attrs.ints("axes").unwrap_or(&[0, 2, 3]), tensor.shape().len())?;
        let x = to_f64(tensor)?;
        let centred = &x - &mean_over(&x, &axes);
        let deviation = mean_over(&centred.mapv(|x| x * x), &axes).mapv(f64::sqrt);
        one(from_f64(tensor.dtype(), &(&centred / &(deviation + FLOOR)))?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        6.0 * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn normalises_over_all_but_channels() {
        let x = t(&[2, 2, 1, 1], &[1f32, 10.0, 3.0, 20.0]);
        close(
            &run(&MeanVarianceNormalization, &Attrs::new(), std::slice::from_ref(&x)),
            &[-1.0, -1.0, 1.0, 1.0],
        );
        let rows = Attrs::new().with("axes", vec![1i64]);
        close(&run(&MeanVarianceNormalization, &rows, &[x]), &[-1.0, 1.0, -1.0, 1.0]);
    }
}
