//! Functions of whole rows: along one axis, or over all trailing axes.
//!
//! A row is handed out as f64 and written back rounded once, so that sums over it are exact to far below the element
//! type's precision.

use crate::EvalError;
use crate::number::Number;
use crate::view::{dispatch, tensor, view};
use fusebox_ir::Tensor;
use ndarray::Axis;

/// `f` on every lane along `axis` of a float tensor.
///
/// # Errors
/// When the element type is not a float type.
pub(crate) fn map_lanes(x: &Tensor, axis: usize, mut f: impl FnMut(&mut [f64])) -> Result<Tensor, EvalError> {
    dispatch!(floats, x.dtype(), T => {
        let mut array = view::<T>(x)?.into_owned();
        let mut row = vec![0f64; x.shape()[axis]];
        for mut lane in array.lanes_mut(Axis(axis)) {
            row.iter_mut().zip(&lane).for_each(|(slot, x)| *slot = Number::to_f64(*x));
            f(&mut row);
            lane.iter_mut().zip(&row).for_each(|(slot, x)| *slot = T::from_f64(*x));
        }
        tensor(array)
    })
}

/// `f` on every run of `length` consecutive elements of a float tensor, with the number of the run.
///
/// # Errors
/// When the element type is not a float type.
pub(crate) fn map_rows(
    x: &Tensor,
    length: usize,
    mut f: impl FnMut(usize, &mut [f64]),
) -> Result<Tensor, EvalError> {
    dispatch!(floats, x.dtype(), T => {
        let mut elements = x.elements::<T>()?.into_owned();
        let mut wide = vec![0f64; length];
        for (number, row) in elements.chunks_exact_mut(length.max(1)).enumerate() {
            wide.iter_mut().zip(&*row).for_each(|(slot, x)| *slot = Number::to_f64(*x));
            f(number, &mut wide);
            row.iter_mut().zip(&wide).for_each(|(slot, x)| *slot = T::from_f64(*x));
        }
        Ok(Tensor::from_vec(x.shape().to_vec(), elements)?)
    })
}

/// Mean and population variance of a row, in two passes.
pub(crate) fn moments(row: &[f64]) -> (f64, f64) {
    let count = row.len() as f64;
    let mean = row.iter().sum::<f64>() / count;
    (mean, row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count)
}
