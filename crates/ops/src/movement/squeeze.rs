//! `Squeeze`: removes axes of size one; without `axes` it removes all of them.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Squeeze.html>.

use crate::forms::{input_to_ints, ints_to_input};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::{fresh_dims, length_of, unknown, vector_dims, view_cost};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Dim, Shape, TensorType};

static SCHEMA: Schema = Schema::onnx("Squeeze", &[1, 11, 13, 21, 23, 24, 25], (1, 2), (1, 1));

pub(crate) struct Squeeze;

impl Op for Squeeze {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let axes = cx.integers(1);
        let shape = match (&x.shape, axes) {
            (Some(shape), Some(axes)) => Some(without(shape, &axes)?),
            (Some(shape), None) if cx.input(1).is_none() => all_ones_removed(shape),
            (Some(shape), None) => length_of(cx, 1)
                .and_then(|count| shape.len().checked_sub(count))
                .map(|rank| fresh_dims(cx, rank)),
            _ => None,
        };
        let ty = TensorType { dtype: x.dtype, shape };
        let dims = vector_dims(cx, 0, &ty);
        Ok(vec![Inferred { ty: ty.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let shape: Vec<usize> = match cx.integers(1)? {
            None => x.shape().iter().copied().filter(|size| *size != 1).collect(),
            Some(axes) => {
                let axes = axis::normalize_all(&axes, x.shape().len())?;
                if let Some(axis) = axes.iter().find(|axis| x.shape()[**axis] != 1) {
                    return Err(not_one(*axis, x.shape()[*axis]).into());
                }
                let stays = |axis: &usize| !axes.contains(axis);
                (0..x.shape().len()).filter(stays).map(|axis| x.shape()[axis]).collect()
            }
        };
        one(x.reshaped(shape)?)
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

fn not_one(axis: usize, size: impl std::fmt::Display) -> InferError {
    InferError::shape(format!("axis {axis} has size {size} and cannot be squeezed"))
}

fn without(shape: &[Dim], axes: &[i64]) -> Result<Shape, InferError> {
    let axes = axis::normalize_all(axes, shape.len())?;
    let is_one = |axis: usize| shape[axis].value().is_none_or(|size| size == 1);
    if let Some(axis) = axes.iter().find(|axis| !is_one(**axis)) {
        return Err(not_one(*axis, &shape[*axis]));
    }
    Ok((0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis].clone()).collect())
}

/// `None` when a symbolic size may turn out to be one.
fn all_ones_removed(shape: &[Dim]) -> Option<Shape> {
    shape
        .iter()
        .all(|dim| dim.value().is_some())
        .then(|| shape.iter().filter(|dim| dim.value() != Some(1)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::{downgraded, input_ints, upgraded};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn ones_go() {
        let x = t(&[1, 3, 1], &[1f32, 2.0, 3.0]);
        assert_eq!(run(&Squeeze, &Attrs::new(), std::slice::from_ref(&x)).shape(), [3]);
        let last = Tensor::vector(vec![-1i64]);
        assert_eq!(run(&Squeeze, &Attrs::new(), &[x.clone(), last]).shape(), [1, 3]);
        let middle = Tensor::vector(vec![1i64]);
        assert!(refusal(&Squeeze, &Attrs::new(), &[x, middle]).contains("axis 1 has size 3"));
    }

    #[test]
    fn the_number_of_axes_gives_the_rank() {
        use crate::sizes::testing::{infer_one, symbolic};
        let x = symbolic(fusebox_ir::DType::F32, &[1.into(), 3.into(), 1.into()]);
        let axes = |count: i64| symbolic(fusebox_ir::DType::I64, &[count.into()]);
        let typed = |axes: &fusebox_ir::Type| {
            infer_one(&Squeeze, &Attrs::new(), &[(&x, None), (axes, None)]).unwrap().ty.to_string()
        };
        assert_eq!(typed(&axes(2)), "f32[fresh1]");
        // No axes at all are known axes.
        assert_eq!(typed(&axes(0)), "f32[1, 3, 1]");
    }

    #[test]
    fn axes_move_between_attribute_and_input() {
        let x = t(&[1, 3], &[1f32, 2.0, 3.0]);
        let (graph, node) =
            upgraded(&Squeeze, Attrs::new().with("axes", vec![0]), std::slice::from_ref(&x), 11).unwrap();
        assert_eq!(input_ints(&graph, node, 1), Some(vec![0]));
        let (graph, node) = downgraded(&Squeeze, Attrs::new(), &[x, Tensor::vector(vec![0i64])], 12).unwrap();
        assert_eq!(graph.node(node).attrs.ints("axes"), Some(&[0][..]));
        assert_eq!(graph.node(node).inputs.len(), 1);
    }
}
