//! `GatherND`: slices of a tensor addressed by the tuples in the last axis of the indices.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__GatherND.html>. Also holds the addressing that ScatterND shares.

use super::index::{expect_indices, integers, to_index};
use crate::attributes::int;
use crate::forms::{drop_int, existed};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{select, span, strides};
use crate::sizes::{copy_cost, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, Dim, Tensor, TensorType};

static SCHEMA: Schema =
    Schema::onnx("GatherND", &[11, 12, 13], (2, 2), (1, 1)).with(&[("batch_dims", int(0))]);

pub(crate) struct GatherNd;

impl Op for GatherNd {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect_indices(cx, 1)?;
        let batch = batch_dims(cx.attrs)?;
        let (Some(x), Some(indices)) = (cx.tensor(0), cx.tensor(1)) else { return Ok(unknown(cx)) };
        let unranked = || vec![TensorType::unranked(x.dtype).into()];
        let (Some(shape), Some(tuples)) = (&x.shape, &indices.shape) else { return Ok(unranked()) };
        let Some(depth) = tuples.last().map(Dim::value) else {
            return Err(InferError::shape("the indices are a scalar, expected tuples"));
        };
        let Some(depth) = depth.and_then(|depth| usize::try_from(depth).ok()) else { return Ok(unranked()) };
        check(batch, depth, shape.len(), tuples.len())?;
        let result = tuples[..tuples.len() - 1].iter().chain(&shape[batch + depth..]).cloned();
        Ok(vec![TensorType::new(x.dtype, result).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let batch = batch_dims(cx.attrs)?;
        let slices = slices(x, indices, batch)?;
        let tuples = &indices.shape()[..indices.shape().len() - 1];
        let shape = tuples.iter().chain(&x.shape()[x.shape().len() - slices.rank..]).copied().collect();
        let size = slices.size;
        one(select(x, shape, slices.starts.into_iter().flat_map(|start| start..start + size))?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        if edit.opset < 12 { drop_int(&SCHEMA, edit, "batch_dims", 0) } else { Ok(()) }
    }
}

fn batch_dims(attrs: &Attrs) -> Result<usize, InferError> {
    let wrong = |_| InferError::Attribute { name: "batch_dims".into(), expected: "not negative".into() };
    usize::try_from(attrs.int_or("batch_dims", 0)).map_err(wrong)
}

fn check(batch: usize, depth: usize, rank: usize, index_rank: usize) -> Result<(), InferError> {
    let is_whole = batch < index_rank && depth >= 1 && batch.saturating_add(depth) <= rank;
    if is_whole {
        return Ok(());
    }
    let reason =
        format!("tuples of {depth} indices after {batch} batch axes do not address rank-{rank} data");
    Err(InferError::shape(reason))
}

/// Slices that tuples address.
pub(super) struct Slices {
    /// First element of each slice, in the order of the tuples.
    pub(super) starts: Vec<usize>,
    /// Elements of a slice.
    pub(super) size: usize,
    /// Axes of a slice.
    pub(super) rank: usize,
}

/// Resolves the tuples in the last axis of `indices`.
///
/// # Errors
/// When the ranks do not fit or an index is out of range.
pub(super) fn slices(x: &Tensor, indices: &Tensor, batch: usize) -> Result<Slices, EvalError> {
    let (shape, tuples) = (x.shape(), indices.shape());
    let depth =
        *tuples.last().ok_or_else(|| EvalError::value("the indices are a scalar, expected tuples"))?;
    check(batch, depth, shape.len(), tuples.len())?;
    if shape[..batch] != tuples[..batch] {
        return Err(EvalError::value(format!(
            "data {shape:?} and indices {tuples:?} differ in their batch axes"
        )));
    }
    let own = strides(shape);
    let batch_size = span(&shape[..batch]);
    let per_item = span(&tuples[batch..tuples.len() - 1]).max(1);
    let item_size = span(&shape[batch..]);
    let size = span(&shape[batch + depth..]);
    let values = integers(indices, 1)?;
    let start = |(place, tuple): (usize, &[i64])| {
        let mut at = (place / per_item) * item_size;
        for (axis, index) in tuple.iter().enumerate() {
            let axis = batch + axis;
            let outside = || {
                EvalError::value(format!(
                    "index {index} is out of range for axis {axis} of size {}",
                    shape[axis]
                ))
            };
            at += to_index(*index, shape[axis]).ok_or_else(outside)? * own[axis].unsigned_abs();
        }
        Ok(at)
    };
    let starts: Result<Vec<usize>, EvalError> = values.chunks(depth).enumerate().map(start).collect();
    let starts = if batch_size == 0 { Vec::new() } else { starts? };
    Ok(Slices { starts, size, rank: shape.len() - batch - depth })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn tuples_address_elements_and_slices() {
        let x = t(&[2, 2], &[0i32, 1, 2, 3]);
        let none = Attrs::new();
        assert_eq!(run(&GatherNd, &none, &[x.clone(), t(&[2, 2], &[0i64, 0, 1, -1])]), t(&[2], &[0i32, 3]));
        assert_eq!(run(&GatherNd, &none, &[x.clone(), t(&[1, 1], &[1i64])]), t(&[1, 2], &[2i32, 3]));
        assert!(refusal(&GatherNd, &none, &[x.clone(), t(&[1, 2], &[0i64, 2])]).contains("axis 1 of size 2"));
        assert!(refusal(&GatherNd, &none, &[x, t(&[1, 3], &[0i64; 3])]).contains("tuples of 3"));
    }

    #[test]
    fn batch_axes_are_matched() {
        let x = t(&[2, 2, 2], &[0i32, 1, 2, 3, 4, 5, 6, 7]);
        let batched = Attrs::new().with("batch_dims", 1);
        let result = run(&GatherNd, &batched, &[x, t(&[2, 1], &[1i64, 0])]);
        assert_eq!(result, t(&[2, 2], &[2i32, 3, 4, 5]));
    }
}
