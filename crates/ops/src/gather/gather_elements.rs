//! `GatherElements`: for each index, the element at that place with the index as its coordinate along one axis.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__GatherElements.html>. Also holds the addressing that ScatterElements
//! shares.

use super::index::{expect_indices, resolve};
use crate::attributes::int;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{select, strides};
use crate::sizes::{copy_cost, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, axis};
use fusebox_ir::{Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("GatherElements", &[11, 13], (2, 2), (1, 1)).with(&[("axis", int(0))]);

pub(crate) struct GatherElements;

impl Op for GatherElements {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect_indices(cx, 1)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let indices = cx.tensor(1).and_then(|ty| ty.shape.clone());
        if let (Some(a), Some(b)) = (&x.shape, &indices) {
            axis::normalize(cx.attrs.int_or("axis", 0), a.len())?;
            if a.len() != b.len() {
                let reason = format!("indices have {} axes but the data has {}", b.len(), a.len());
                return Err(InferError::shape(reason));
            }
        }
        Ok(vec![TensorType { dtype: x.dtype, shape: indices }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let at = axis::normalize(cx.attrs.int_or("axis", 0), x.shape().len())?;
        one(select(x, indices.shape().to_vec(), addresses(x, indices, at)?)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

/// Position in `x` that each index addresses.
///
/// # Errors
/// When ranks differ, the indices are larger than the data besides the axis, or one is out of range.
pub(super) fn addresses(x: &Tensor, indices: &Tensor, at: usize) -> Result<Vec<usize>, EvalError> {
    let (data, shape) = (x.shape(), indices.shape());
    let fits = |axis: usize| axis == at || shape[axis] <= data[axis];
    if data.len() != shape.len() || !(0..data.len()).all(fits) {
        return Err(EvalError::value(format!(
            "indices of shape {shape:?} do not fit data of shape {data:?}"
        )));
    }
    let own = strides(data);
    let within = strides(shape);
    let address = |(place, index): (usize, usize)| {
        let along = |axis: usize| {
            let coordinate =
                if axis == at { index } else { place / within[axis].unsigned_abs() % shape[axis] };
            coordinate * own[axis].unsigned_abs()
        };
        (0..data.len()).map(along).sum()
    };
    Ok(resolve(indices, data[at])?.into_iter().enumerate().map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn elements_are_picked_along_the_axis() {
        let x = t(&[2, 2], &[1i32, 2, 3, 4]);
        let indices = t(&[2, 2], &[0i64, 0, 1, -2]);
        let columns = Attrs::new().with("axis", 1);
        assert_eq!(run(&GatherElements, &columns, &[x.clone(), indices]), t(&[2, 2], &[1i32, 1, 4, 3]));
        assert_eq!(
            run(&GatherElements, &Attrs::new(), &[x.clone(), t(&[1, 2], &[1i64, 0])]),
            t(&[1, 2], &[3i32, 2])
        );
        assert!(refusal(&GatherElements, &columns, &[x, t(&[3, 1], &[0i64; 3])]).contains("do not fit"));
    }
}
