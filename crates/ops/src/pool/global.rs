//! What the global pools share: one value for each channel of each image, over all spatial positions.

use crate::inference::{FLOATS, expect, first_is};
use crate::op::{Eval, Infer, Inferred};
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Dim, TensorType};
use ndarray::{ArrayD, IxDyn};

/// Types of the outputs: every spatial size becomes 1.
pub(super) fn infer(cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    expect(cx, 0, FLOATS)?;
    let Some(ty) = cx.tensor(0) else { return Ok(first_is(cx, Inferred::default())) };
    let shape = ty.shape.as_ref().map(|shape| {
        let size = |(axis, dim): (usize, &Dim)| if axis < 2 { dim.clone() } else { Dim::known(1) };
        shape.iter().enumerate().map(size).collect()
    });
    Ok(first_is(cx, TensorType { dtype: ty.dtype, shape }.into()))
}

/// `f` on every plane.
pub(super) fn eval(cx: &Eval<'_>, f: impl Fn(&[f64]) -> f64) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    if x.shape().len() < 2 {
        let reason = format!("a pool needs batch and channel axes, the shape is {:?}", x.shape());
        return Err(EvalError::value(reason));
    }
    let mut shape = x.shape().to_vec();
    let area: usize = shape[2..].iter().product();
    shape[2..].fill(1);
    let elements: Vec<f64> = to_f64(x)?.iter().copied().collect();
    let planes: usize = shape.iter().product();
    let values = (0..planes).map(|plane| f(&elements[plane * area..][..area])).collect();
    one(from_f64(x.dtype(), &ArrayD::from_shape_vec(IxDyn(&shape), values)?)?)
}
