//! `TensorScatter`: writes a run of new entries into a cache along its sequence axis, at a place per batch entry.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__TensorScatter.html>.

use super::index::{Reduction, scatter};
use crate::attributes::{int, text};
use crate::inference::{expect_same, first_is};
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::span;
use crate::sizes::{copy_cost, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, axis};
use fusebox_ir::Attrs;

static SCHEMA: Schema =
    Schema::onnx("TensorScatter", &[24], (2, 3), (1, 1)).with(&[("axis", int(-2)), ("mode", text("linear"))]);

pub(crate) struct TensorScatter;

/// The sequence axis, which is never the batch axis.
fn sequence_axis(attrs: &Attrs, rank: usize) -> Result<usize, InferError> {
    match axis::normalize(attrs.int_or("axis", -2), rank)? {
        0 => Err(InferError::shape("the sequence axis cannot be axis 0, which is the batch")),
        at => Ok(at),
    }
}

fn is_circular(attrs: &Attrs) -> Result<bool, InferError> {
    match attrs.str("mode").unwrap_or("linear") {
        "linear" => Ok(false),
        "circular" => Ok(true),
        _ => Err(InferError::Attribute { name: "mode".into(), expected: "linear or circular".into() }),
    }
}

impl Op for TensorScatter {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        is_circular(cx.attrs)?;
        expect_same(cx, 0, 1)?;
        let Some(cache) = cx.tensor(0) else { return Ok(unknown(cx)) };
        if let Some(rank) = cache.rank() {
            sequence_axis(cx.attrs, rank)?;
        }
        Ok(first_is(cx, cache.clone().into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (cache, update) = (cx.tensor(0)?, cx.tensor(1)?);
        let at = sequence_axis(cx.attrs, cache.shape().len())?;
        let circular = is_circular(cx.attrs)?;
        let (most, count) = (cache.shape()[at], update.shape().get(at).copied().unwrap_or(0));
        let mut expected = cache.shape().to_vec();
        expected[at] = count;
        if update.shape() != expected || count > most {
            let (cache, update) = (cache.shape(), update.shape());
            let reason =
                format!("an update of shape {update:?} does not fit a cache of shape {cache:?} on axis {at}");
            return Err(EvalError::value(reason));
        }
        let batch = cache.shape()[0];
        let starts = cx.integers(2)?.unwrap_or_else(|| vec![0; batch]);
        let start = |start: &i64| {
            let start = if circular && most > 0 { start.rem_euclid(most as i64) } else { *start };
            usize::try_from(start).ok().filter(|start| circular || start.saturating_add(count) <= most)
        };
        let found: Option<Vec<usize>> = starts.iter().map(start).collect();
        let starts = found.filter(|found| found.len() == batch).ok_or_else(|| {
            let last = most - count;
            EvalError::value(format!(
                "write_indices must hold {batch} places from 0 to {last}, it is {starts:?}"
            ))
        })?;
        let (outer, inner) = (span(&cache.shape()[1..at]), span(&cache.shape()[at + 1..]));
        let writes = (0..update.len()).map(|from| {
            let (row, within) = (from / inner, from % inner);
            let (prefix, step) = (row / count, row % count);
            let place = (starts[prefix / outer] + step) % most;
            ((prefix * most + place) * inner + within, from)
        });
        one(scatter(cache, update, writes, Reduction::None)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn entries_go_where_each_batch_entry_says() {
        let cache = t(&[2, 3, 2], &[0f32; 12]);
        let update = t(&[2, 2, 2], &[1f32, 2., 3., 4., 5., 6., 7., 8.]);
        let at = |mode: &str, starts: [i64; 2]| {
            let inputs = [cache.clone(), update.clone(), t(&[2], &starts)];
            run(&TensorScatter, &Attrs::new().with("mode", mode), &inputs)
        };
        let linear = at("linear", [0, 1]);
        assert_eq!(linear, t(&[2, 3, 2], &[1f32, 2., 3., 4., 0., 0., 0., 0., 5., 6., 7., 8.]));
        let circular = at("circular", [2, 3]);
        assert_eq!(circular, t(&[2, 3, 2], &[3f32, 4., 0., 0., 1., 2., 5., 6., 7., 8., 0., 0.]));
        let inputs = [cache.clone(), update.clone(), t(&[2], &[0i64, 2])];
        let message = refusal(&TensorScatter, &Attrs::new(), &inputs);
        assert_eq!(message, "write_indices must hold 2 places from 0 to 1, it is [0, 2]");
        let start = run(&TensorScatter, &Attrs::new(), &[cache, update]);
        assert_eq!(start.elements::<f32>().unwrap()[..4], [1.0, 2.0, 3.0, 4.0]);
    }
}
