//! What ArgMax and ArgMin share: the axis, the shape, the search.
//!
//! NaN wins over every number, as in NumPy.

use super::reduce::{reduced, rows};
use crate::axis::normalize;
use crate::inference::{NUMBERS, expect, first_is};
use crate::op::{Edit, Eval, Infer, Inferred};
use crate::versions::{input_rank, refuse};
use crate::view::{dispatch, one, view};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{DType, Dim, Tensor, TensorType};
use std::cmp::Ordering;

/// Types of the outputs.
pub(super) fn infer(cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    expect(cx, 0, NUMBERS)?;
    let Some(shape) = cx.tensor(0).and_then(|ty| ty.shape.as_ref()) else {
        return Ok(first_is(cx, TensorType::unranked(DType::I64).into()));
    };
    let axis = normalize(cx.attrs.int_or("axis", 0), shape.len())?;
    let (keep, one) = (cx.attrs.int_or("keepdims", 1) != 0, Dim::known(1));
    Ok(first_is(cx, TensorType::new(DType::I64, reduced(shape, &[axis], keep.then_some(&one))).into()))
}

/// Position in a row of the element that compares as `wanted` with all others.
fn position<T: crate::number::Number>(row: &[T], wanted: Ordering, last: bool) -> i64 {
    let mut best = 0;
    for (index, value) in row.iter().enumerate().skip(1) {
        let better = match (value.nan(), row[best].nan()) {
            (true, false) => true,
            (false, true) => false,
            (true, true) => last,
            (false, false) => {
                let order = value.partial_cmp(&row[best]);
                order == Some(wanted) || (last && order == Some(Ordering::Equal))
            }
        };
        if better {
            best = index;
        }
    }
    best as i64
}

/// Reference evaluation.
pub(super) fn eval(cx: &Eval<'_>, wanted: Ordering) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    let axis = normalize(cx.attrs.int_or("axis", 0), x.shape().len())?;
    if x.shape()[axis] == 0 {
        let reason = format!("axis {axis} of shape {:?} is empty: it has no extreme element", x.shape());
        return Err(EvalError::value(reason));
    }
    let shape = reduced(x.shape(), &[axis], (cx.attrs.int_or("keepdims", 1) != 0).then_some(&1));
    let last = cx.attrs.int_or("select_last_index", 0) != 0;
    dispatch!(numbers, x.dtype(), T => {
        let found = rows(&view::<T>(x)?.view(), &[axis], |row| position(row, wanted, last));
        one(Tensor::from_vec(shape, found)?)
    })
}

/// Takes back what opsets 11 (negative axes) and 12 (`select_last_index`) added.
pub(super) fn downgrade(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset < 12 {
        if edit.node().attrs.int_or("select_last_index", 0) != 0 {
            return Err(refuse(edit, "select_last_index came with opset 12"));
        }
        edit.node().attrs.remove("select_last_index");
    }
    let axis = edit.node().attrs.int_or("axis", 0);
    if edit.opset < 11 && axis < 0 {
        let Some(rank) = input_rank(edit, 0) else {
            return Err(refuse(edit, "negative axes came with opset 11, and the rank is not known"));
        };
        let axis = normalize(axis, rank)? as i64;
        edit.node().attrs.set("axis", axis);
    }
    Ok(())
}
