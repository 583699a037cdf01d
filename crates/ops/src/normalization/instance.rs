//! `InstanceNormalization`: each channel of each image normalised over its positions, scaled and shifted per channel.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>.

use super::affine::{channels, expect_per_channel, per_channel};
use crate::attributes::float;
use crate::inference::{FLOATS, expect_same, same_as_first};
use crate::lanes::{map_rows, moments};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::one;
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema =
    Schema::onnx("InstanceNormalization", &[1, 6, 22], (3, 3), (1, 1)).with(&[("epsilon", float(1e-05))]);

pub(crate) struct InstanceNormalization;

impl Op for InstanceNormalization {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in [1, 2] {
            expect_same(cx, 0, index)?;
            expect_per_channel(cx, index)?;
        }
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let count = channels(x)?;
        let epsilon = f64::from(cx.attrs.float_or("epsilon", 1e-5));
        let (scale, bias) = (per_channel(cx, 1, count)?, per_channel(cx, 2, count)?);
        let area: usize = x.shape()[2..].iter().product();
        one(map_rows(x, area, |number, row| {
            let (mean, variance) = moments(row);
            let factor = scale[number % count] / (variance + epsilon).sqrt();
            row.iter_mut().for_each(|x| *x = (*x - mean) * factor + bias[number % count]);
        })?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        8.0 * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn normalises_every_channel() {
        let x = t(&[1, 2, 2], &[1f32, 3.0, 10.0, 20.0]);
        let inputs = [x, t(&[2], &[1f32, 2.0]), t(&[2], &[0f32, 5.0])];
        let attrs = Attrs::new().with("epsilon", 1e-12f32);
        close(&run(&InstanceNormalization, &attrs, &inputs), &[-1.0, 1.0, 3.0, 7.0]);
    }
}
