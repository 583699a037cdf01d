//! `ReverseSequence`: reverses the first `sequence_lens[b]` steps of each batch item.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ReverseSequence.html>.

use crate::attributes::int;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{select, strides};
use crate::sizes::copy_cost;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, Type};

static SCHEMA: Schema = Schema::onnx("ReverseSequence", &[10, 28], (2, 2), (1, 1))
    .with(&[("batch_axis", int(1)), ("time_axis", int(0))]);

pub(crate) struct ReverseSequence;

impl Op for ReverseSequence {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        if let Some(rank) = cx.tensor(0).and_then(fusebox_ir::TensorType::rank) {
            axes(cx.attrs, rank)?;
        }
        Ok(vec![cx.input(0).map_or(Type::Unknown, |arg| arg.ty.clone()).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, lengths) = (cx.tensor(0)?, cx.integers(1)?.unwrap_or_default());
        let shape = x.shape().to_vec();
        let (batch, time) = axes(cx.attrs, shape.len())?;
        if lengths.len() != shape[batch] {
            let reason = format!("{} lengths are given for a batch of {}", lengths.len(), shape[batch]);
            return Err(EvalError::value(reason));
        }
        if let Some(bad) =
            lengths.iter().find(|l| usize::try_from(**l).is_ok_and(|l| l > shape[time]) || **l < 0)
        {
            return Err(EvalError::value(format!("length {bad} is outside 0..={}", shape[time])));
        }
        let steps = strides(&shape);
        let source = |index: usize| {
            let coordinate = |axis: usize| index / steps[axis].unsigned_abs() % shape[axis];
            let (item, step) = (coordinate(batch), coordinate(time));
            let length = usize::try_from(lengths[item]).unwrap_or(0);
            let from = if step < length { length - 1 - step } else { step };
            index + from * steps[time].unsigned_abs() - step * steps[time].unsigned_abs()
        };
        one(select(x, shape.clone(), (0..x.len()).map(source))?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

/// Batch and time axis, which are 0 and 1 in either order.
fn axes(attrs: &Attrs, rank: usize) -> Result<(usize, usize), InferError> {
    let pair = (attrs.int_or("batch_axis", 1), attrs.int_or("time_axis", 0));
    match pair {
        (1, 0) if rank >= 2 => Ok((1, 0)),
        (0, 1) if rank >= 2 => Ok((0, 1)),
        _ => {
            let (batch, time) = pair;
            let reason = format!(
                "batch_axis {batch} and time_axis {time} must be the axes 0 and 1 of a rank-{rank} input"
            );
            Err(InferError::shape(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn prefixes_are_reversed() {
        let x = t(&[3, 2], &[0i32, 10, 1, 11, 2, 12]);
        let result = run(&ReverseSequence, &Attrs::new(), &[x.clone(), t(&[2], &[2i64, 3])]);
        assert_eq!(result, t(&[3, 2], &[1i32, 12, 0, 11, 2, 10]));
        let rows = Attrs::new().with("batch_axis", 0).with("time_axis", 1);
        let result = run(&ReverseSequence, &rows, &[x.clone(), t(&[3], &[2i64, 1, 0])]);
        assert_eq!(result, t(&[3, 2], &[10i32, 0, 1, 11, 2, 12]));
        assert!(
            refusal(&ReverseSequence, &Attrs::new(), &[x, t(&[2], &[4i64, 1])]).contains("outside 0..=3")
        );
    }
}
