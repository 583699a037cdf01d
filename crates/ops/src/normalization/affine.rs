//! What the normalisations share: a scale and an optional shift over trailing axes or over channels, in f64.
//!
//! Refuses to know what is normalised; that is each operator's own.

use crate::broadcast::{broadcast_dims, broadcast_to};
use crate::op::{Eval, Infer};
use crate::view::to_f64;
use crate::{EvalError, InferError};
use fusebox_ir::{Dim, Tensor};
use ndarray::{ArrayD, IxDyn};

/// Input `index` (scale, shift) broadcast to `shape` and laid out row by row; empty when absent.
pub(super) fn spread(cx: &Eval<'_>, index: usize, shape: &[usize]) -> Result<Option<Vec<f64>>, EvalError> {
    let Some(tensor) = cx.optional(index)? else { return Ok(None) };
    let wide = to_f64(tensor)?;
    Ok(Some(broadcast_to(&wide, shape)?.iter().copied().collect()))
}

/// One f64 per channel from input `index`.
pub(super) fn per_channel(cx: &Eval<'_>, index: usize, channels: usize) -> Result<Vec<f64>, EvalError> {
    let tensor = cx.tensor(index)?;
    if tensor.shape() != [channels] {
        return Err(EvalError::value(format!(
            "input {index} must have one element per channel ({channels}), its shape is {:?}",
            tensor.shape()
        )));
    }
    Ok(to_f64(tensor)?.iter().copied().collect())
}

/// Checks that input `index`, where known, is a vector of one element per channel of input 0.
///
/// # Errors
/// When it is not.
pub(super) fn expect_per_channel(cx: &Infer<'_>, index: usize) -> Result<(), InferError> {
    let dims = |index: usize| cx.tensor(index).and_then(|ty| ty.shape.as_deref());
    let (Some(data), Some(vector)) = (dims(0), dims(index)) else { return Ok(()) };
    let channels = data.get(1).cloned().unwrap_or(Dim::known(1));
    let fits = vector.len() == 1
        && (vector[0] == channels || vector[0].value().is_none() || channels.value().is_none());
    if fits {
        return Ok(());
    }
    Err(InferError::shape(format!(
        "input {index} must have one element per channel ({channels}), its shape is {vector:?}"
    )))
}

/// Checks that input `index`, where known, broadcasts to `shape` without growing it.
///
/// # Errors
/// When it does not.
pub(super) fn expect_broadcastable(cx: &Infer<'_>, index: usize, shape: &[Dim]) -> Result<(), InferError> {
    let Some(from) = cx.tensor(index).and_then(|ty| ty.shape.as_deref()) else { return Ok(()) };
    let joined = broadcast_dims(&[shape, from])?;
    let grown = joined.len() != shape.len()
        || joined
            .iter()
            .zip(shape)
            .any(|(to, from)| from.value() == Some(1) && to.value().is_some_and(|v| v != 1));
    if grown {
        let reason = format!("input {index} of shape {from:?} does not broadcast to {shape:?}");
        return Err(InferError::shape(reason));
    }
    Ok(())
}

/// Channels of data of shape `[batch, channels, …]`.
///
/// # Errors
/// When the rank is below 2.
pub(super) fn channels(x: &Tensor) -> Result<usize, EvalError> {
    let missing =
        || EvalError::value(format!("input 0 must have a channel axis, its shape is {:?}", x.shape()));
    x.shape().get(1).copied().ok_or_else(missing)
}

/// An array of f64 from its row-major elements.
pub(super) fn array(shape: &[usize], elements: Vec<f64>) -> Result<ArrayD<f64>, EvalError> {
    Ok(ArrayD::from_shape_vec(IxDyn(shape), elements)?)
}
