//! `RMSNormalization`: `x / √(mean(x²) + epsilon) · scale` over the axes from `axis` on.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html>.

use super::affine::{expect_broadcastable, spread};
use crate::attributes::{float, int};
use crate::axis::normalize;
use crate::inference::{FLOATS, expect, same_as_first};
use crate::lanes::map_rows;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::one;
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("RMSNormalization", &[23], (2, 2), (1, 1)).with(&[
    ("axis", int(-1)),
    ("epsilon", float(1e-05)),
    ("stash_type", int(1)),
]);

pub(crate) struct RmsNormalization;

impl Op for RmsNormalization {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 1, FLOATS)?;
        if let Some(shape) = cx.tensor(0).and_then(|ty| ty.shape.as_ref()) {
            normalize(cx.attrs.int_or("axis", -1), shape.len())?;
            expect_broadcastable(cx, 1, shape)?;
        }
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = normalize(cx.attrs.int_or("axis", -1), x.shape().len())?;
        let epsilon = f64::from(cx.attrs.float_or("epsilon", 1e-5));
        let length: usize = x.shape()[axis..].iter().product();
        let scale = spread(cx, 1, x.shape())?.unwrap_or_default();
        one(map_rows(x, length, |number, row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let inverse = 1.0 / (mean + epsilon).sqrt();
            row.iter_mut().zip(&scale[number * length..]).for_each(|(x, scale)| *x *= inverse * scale);
        })?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        5.0 * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn divides_by_the_root_mean_square() {
        let inputs = [t(&[2, 2], &[3f32, 4.0, 0.0, 0.0]), t(&[2], &[1f32, 2.0])];
        let rms = 12.5f64.sqrt();
        close(&run(&RmsNormalization, &Attrs::new(), &inputs), &[3.0 / rms, 8.0 / rms, 0.0, 0.0]);
    }
}
