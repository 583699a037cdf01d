//! `Unsqueeze`: inserts axes of size one at the given positions of the result.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>.

use crate::forms::{input_to_ints, ints_to_input};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::{fresh_dims, length_of, unknown, vector_dims, view_cost};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Dim, TensorType};

static SCHEMA: Schema = Schema::onnx("Unsqueeze", &[1, 11, 13, 21, 23, 24, 25], (2, 2), (1, 1));

pub(crate) struct Unsqueeze;

impl Op for Unsqueeze {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let shape = match (&x.shape, cx.integers(1)) {
            (Some(shape), Some(axes)) => Some(with_ones(shape, &axes, &Dim::known(1))?.into()),
            (Some(shape), None) => length_of(cx, 1).map(|added| fresh_dims(cx, shape.len() + added)),
            _ => None,
        };
        let ty = TensorType { dtype: x.dtype, shape };
        let dims = vector_dims(cx, 0, &ty);
        Ok(vec![Inferred { ty: ty.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let axes = cx.integers(1)?.ok_or(InferError::MissingInput { index: 1 })?;
        one(x.reshaped(with_ones(x.shape(), &axes, &1)?)?)
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 13 {
            ints_to_input(edit, "axes", 1);
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 13 { input_to_ints(&SCHEMA, edit, 1, "axes") } else { Ok(()) }
    }
}

/// The shape with `unit` at each of `axes`, which count in the result.
fn with_ones<D: Clone>(shape: &[D], axes: &[i64], unit: &D) -> Result<Vec<D>, InferError> {
    let rank = shape.len() + axes.len();
    let axes = axis::normalize_all(axes, rank)?;
    let mut kept = shape.iter();
    let size = |axis: usize| if axes.contains(&axis) { Some(unit) } else { kept.next() };
    Ok((0..rank).filter_map(size).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::sizes::testing::{infer_one, symbolic};
    use fusebox_ir::{Attrs, DType, Tensor};

    #[test]
    fn axes_count_in_the_result() {
        let x = t(&[2, 3], &[0f32; 6]);
        let shape = |axes: &[i64]| {
            run(&Unsqueeze, &Attrs::new(), &[x.clone(), Tensor::vector(axes.to_vec())]).shape().to_vec()
        };
        assert_eq!(shape(&[0, 3]), [1, 2, 3, 1]);
        assert_eq!(shape(&[-1, 0]), [1, 2, 3, 1]);
        assert_eq!(shape(&[2, 1]), [2, 1, 1, 3]);
        let refuse =
            |axes: &[i64]| refusal(&Unsqueeze, &Attrs::new(), &[x.clone(), Tensor::vector(axes.to_vec())]);
        assert!(refuse(&[3]).contains("out of range"));
        assert!(refuse(&[0, -4]).contains("twice"));
    }

    #[test]
    fn a_size_becomes_a_vector() {
        let scalar = symbolic(DType::I64, &[]);
        let (n, zero) = ([Dim::symbol("n")], [Dim::known(0)]);
        let axes = symbolic(DType::I64, &[1.into()]);
        let result =
            infer_one(&Unsqueeze, &Attrs::new(), &[(&scalar, Some(&n)), (&axes, Some(&zero))]).unwrap();
        assert_eq!((result.ty.to_string().as_str(), result.dims), ("i64[1]", Some(n.to_vec())));
    }
}
