//! `Gather`: slices of a tensor along one axis, picked by index; negative indices count from the end.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Gather.html>. While typing it also picks from vectors of sizes.

use super::index::{resolve, to_index};
use crate::attributes::int;
use crate::inference::elements;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{select, span};
use crate::sizes::{copy_cost, is_index, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, axis};
use fusebox_ir::{Dim, TensorType};

static SCHEMA: Schema = Schema::onnx("Gather", &[1, 11, 13], (2, 2), (1, 1)).with(&[("axis", int(0))]);

pub(crate) struct Gather;

impl Op for Gather {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        super::index::expect_indices(cx, 1)?;
        let (Some(x), Some(indices)) = (cx.tensor(0), cx.tensor(1)) else { return Ok(unknown(cx)) };
        let (Some(shape), Some(picked)) = (&x.shape, &indices.shape) else {
            return Ok(vec![TensorType::unranked(x.dtype).into()]);
        };
        let at = axis::normalize(cx.attrs.int_or("axis", 0), shape.len())?;
        let result = shape[..at].iter().chain(picked).chain(&shape[at + 1..]).cloned();
        let ty = TensorType::new(x.dtype, result);
        let dims = picked_dims(cx, shape.len(), &ty)?;
        Ok(vec![Inferred { ty: ty.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let at = axis::normalize(cx.attrs.int_or("axis", 0), x.shape().len())?;
        let size = x.shape()[at];
        let picked: Vec<usize> = resolve(indices, size)?;
        let shape: Vec<usize> =
            x.shape()[..at].iter().chain(indices.shape()).chain(&x.shape()[at + 1..]).copied().collect();
        let outer = span(&x.shape()[..at]);
        let inner = span(&x.shape()[at + 1..]);
        let rows = (0..outer).flat_map(|row| picked.iter().map(move |index| (row * size + index) * inner));
        one(select(x, shape, rows.flat_map(|start| start..start + inner))?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

/// Sizes picked from a vector of sizes.
fn picked_dims(cx: &Infer<'_>, rank: usize, ty: &TensorType) -> Result<Option<Vec<Dim>>, InferError> {
    if rank != 1 || !is_index(ty.dtype) || ty.rank().is_none_or(|rank| rank > 1) {
        return Ok(None);
    }
    let (Some(values), Some(indices)) = (elements(cx, 0), cx.integers(1)) else { return Ok(None) };
    let pick = |index: &i64| -> Result<Dim, InferError> {
        let at = to_index(*index, values.len());
        let at = at.ok_or_else(|| {
            InferError::shape(format!("index {index} is out of range for {} elements", values.len()))
        })?;
        Ok(values[at].clone())
    };
    indices.iter().map(pick).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::sizes::testing::{infer_one, symbolic};
    use fusebox_ir::{Attrs, DType, Tensor};

    #[test]
    fn rows_are_picked() {
        let x = t(&[3, 2], &[0f32, 1.0, 10.0, 11.0, 20.0, 21.0]);
        let rows = t(&[1, 2], &[2i64, -3]);
        let result = run(&Gather, &Attrs::new(), &[x.clone(), rows]);
        assert_eq!(result, t(&[1, 2, 2], &[20f32, 21.0, 0.0, 1.0]));
        let columns = Attrs::new().with("axis", -1);
        assert_eq!(run(&Gather, &columns, &[x.clone(), Tensor::scalar(1i32)]), t(&[3], &[1f32, 11.0, 21.0]));
        let message = refusal(&Gather, &Attrs::new(), &[x, t(&[1], &[3i64])]);
        assert_eq!(message, "index 3 is out of range for an axis of size 3");
    }

    #[test]
    fn a_size_is_picked() {
        let shape = symbolic(DType::I64, &[2.into()]);
        let sizes = [Dim::symbol("b"), Dim::symbol("s")];
        let (index, last) = (symbolic(DType::I64, &[]), [Dim::known(-1)]);
        let result =
            infer_one(&Gather, &Attrs::new(), &[(&shape, Some(&sizes)), (&index, Some(&last))]).unwrap();
        assert_eq!((result.ty.to_string().as_str(), result.dims.unwrap()), ("i64[]", vec![Dim::symbol("s")]));
        let outside = [Dim::known(2)];
        assert!(
            infer_one(&Gather, &Attrs::new(), &[(&shape, Some(&sizes)), (&index, Some(&outside))]).is_err()
        );
    }
}
