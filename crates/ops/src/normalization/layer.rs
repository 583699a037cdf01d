//! `LayerNormalization`: `(x - mean) / √(variance + epsilon) · scale + bias` over the axes from `axis` on.
//!
//! Optional outputs 1 and 2 are the mean and the inverse deviation, with 1 in place of the normalised axes, in the
//! type that `stash_type` names. Statistics are two-pass f64.
//! Spec: <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html>.

use super::affine::{array, expect_broadcastable, spread};
use crate::attributes::{float, int};
use crate::axis::normalize;
use crate::inference::{FLOATS, expect, same_as_first};
use crate::lanes::{map_rows, moments};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::from_f64;
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, TensorType};

static SCHEMA: Schema = Schema::onnx("LayerNormalization", &[17], (2, 3), (1, 3)).with(&[
    ("axis", int(-1)),
    ("epsilon", float(1e-05)),
    ("stash_type", int(1)),
]);

pub(crate) struct LayerNormalization;

/// Type of the statistics.
fn stash_type(attrs: &Attrs) -> Result<DType, InferError> {
    let number = attrs.int_or("stash_type", 1);
    let known = i32::try_from(number).ok().and_then(DType::from_onnx).filter(|ty| FLOATS.types.contains(ty));
    known.ok_or_else(|| InferError::Attribute { name: "stash_type".into(), expected: "a float type".into() })
}

impl Op for LayerNormalization {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 1, FLOATS)?;
        let stash = stash_type(cx.attrs)?;
        let mut outputs = same_as_first(cx, FLOATS)?;
        let shape = cx.tensor(0).and_then(|ty| ty.shape.as_ref());
        let statistics = match shape {
            Some(shape) => {
                let axis = normalize(cx.attrs.int_or("axis", -1), shape.len())?;
                expect_broadcastable(cx, 1, shape)?;
                expect_broadcastable(cx, 2, shape)?;
                let kept = shape.iter().take(axis).cloned();
                TensorType::new(stash, kept.chain((axis..shape.len()).map(|_| Dim::known(1))))
            }
            None => TensorType::unranked(stash),
        };
        outputs.iter_mut().skip(1).for_each(|slot| *slot = statistics.clone().into());
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = normalize(cx.attrs.int_or("axis", -1), x.shape().len())?;
        let epsilon = f64::from(cx.attrs.float_or("epsilon", 1e-5));
        let length: usize = x.shape()[axis..].iter().product();
        let (scale, bias) = (spread(cx, 1, x.shape())?, spread(cx, 2, x.shape())?);
        let (mut means, mut inverses) = (Vec::new(), Vec::new());
        let y = map_rows(x, length, |number, row| {
            let (mean, variance) = moments(row);
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for (index, value) in row.iter_mut().enumerate() {
                let at = number * length + index;
                let factor = scale.as_ref().map_or(1.0, |s| s[at]);
                *value = (*value - mean) * inverse * factor + bias.as_ref().map_or(0.0, |b| b[at]);
            }
            means.push(mean);
            inverses.push(inverse);
        })?;
        let mut outputs = vec![y.into()];
        if cx.outputs > 1 {
            let stash = stash_type(cx.attrs)?;
            let mut shape = x.shape().to_vec();
            shape[axis..].fill(1);
            // Rows without elements have no statistics.
            let rows: usize = shape.iter().product();
            means.resize(rows, f64::NAN);
            inverses.resize(rows, f64::NAN);
            outputs.push(from_f64(stash, &array(&shape, means)?)?.into());
            outputs.push(from_f64(stash, &array(&shape, inverses)?)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        8.0 * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, run_all, t};

    #[test]
    fn normalises_trailing_axes() {
        let x = t(&[2, 2], &[1f32, 3.0, 1000.0, 1000.0]);
        let inputs = [Some(x.clone()), Some(t(&[2], &[1f32, 2.0])), Some(t(&[2], &[0f32, 10.0]))];
        let attrs = Attrs::new().with("epsilon", 0f32 + 1e-9);
        let found = run_all(&LayerNormalization, &attrs, &inputs, 3).unwrap();
        close(&found[0], &[-1.0, 12.0, 0.0, 10.0]);
        close(&found[1], &[2.0, 1000.0]);
        assert_eq!(found[1].shape(), [2, 1]);
        close(&found[2], &[1.0, 1.0 / 1e-9f64.sqrt()]);
        let whole = run(&LayerNormalization, &Attrs::new().with("axis", 0i64), &[x, t(&[2, 2], &[1f32; 4])]);
        close(&whole, &[-500.0, -498.0, 499.0, 499.0].map(|x| x / 249_001.5f64.sqrt()));
    }

    #[test]
    fn a_large_offset_does_not_cancel() {
        let x = t(&[1, 2], &[16_777_214f32, 16_777_216.0]);
        close(
            &run(&LayerNormalization, &Attrs::new(), &[x, t(&[2], &[1f32, 1.0])]),
            &[-0.999_995, 0.999_995],
        );
    }

    #[test]
    fn the_scale_must_fit() {
        let message =
            refusal(&LayerNormalization, &Attrs::new(), &[t(&[1, 2], &[0f32; 2]), t(&[3], &[0f32; 3])]);
        assert_eq!(message, "shape [3] does not broadcast to [1, 2]");
    }
}
