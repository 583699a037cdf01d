//! `Concat`: joins tensors along an existing axis.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Concat.html>.

use crate::attributes::INT;
use crate::inference::elements;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{pick, span};
use crate::sizes::{copy_cost, is_index, same_size, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Attrs, Dim, Tensor, TensorType};

static SCHEMA: Schema =
    Schema::onnx("Concat", &[1, 4, 11, 13], (1, usize::MAX), (1, 1)).with(&[("axis", INT)]);

pub(crate) struct Concat;

impl Op for Concat {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let at = axis_of(cx.attrs)?;
        let types: Vec<Option<&TensorType>> = (0..cx.inputs.len()).map(|index| cx.tensor(index)).collect();
        let Some(first) = types.iter().flatten().next() else { return Ok(unknown(cx)) };
        let other = types
            .iter()
            .enumerate()
            .find_map(|(i, ty)| (*ty).filter(|t| t.dtype != first.dtype).zip(Some(i)));
        if let Some((ty, index)) = other {
            let expected = format!("{} like the other inputs", first.dtype);
            return Err(InferError::DType { index, expected, found: ty.dtype });
        }
        let known: Vec<&[Dim]> = types.iter().flatten().filter_map(|ty| ty.shape.as_deref()).collect();
        let mut shape = joined(&known, at)?;
        if let Some(shape) = shape.as_mut().filter(|_| known.len() < types.len()) {
            let at = axis::normalize(at, shape.len())?;
            shape[at] = (cx.fresh)();
        }
        let all: Option<Vec<Vec<Dim>>> = (0..cx.inputs.len()).map(|index| elements(cx, index)).collect();
        let is_vector = shape.as_ref().is_some_and(|shape| shape.len() == 1) && is_index(first.dtype);
        let dims = all.filter(|_| is_vector).map(|all| all.concat());
        let ty = TensorType { dtype: first.dtype, shape: shape.map(Into::into) };
        Ok(vec![Inferred { ty: ty.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let tensors: Vec<&Tensor> =
            (0..cx.inputs.len()).map(|index| cx.tensor(index)).collect::<Result<_, _>>()?;
        one(concat(&tensors, axis_of(cx.attrs)?)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 4 && edit.node().attrs.get("axis").is_none() {
            edit.node().attrs.set("axis", 1);
        }
        Ok(())
    }
}

fn axis_of(attrs: &Attrs) -> Result<i64, InferError> {
    let missing = || InferError::Attribute { name: "axis".into(), expected: "an integer".into() };
    attrs.int("axis").ok_or_else(missing)
}

/// Joined shape of the known inputs; `None` when there are none.
fn joined(shapes: &[&[Dim]], at: i64) -> Result<Option<Vec<Dim>>, InferError> {
    let Some((first, rest)) = shapes.split_first() else { return Ok(None) };
    let at = axis::normalize(at, first.len())?;
    let mut result = first.to_vec();
    for shape in rest {
        let clash =
            || InferError::shape(format!("shapes {result:?} and {shape:?} cannot be joined along axis {at}"));
        if shape.len() != result.len() {
            return Err(clash());
        }
        let join = |(axis, (a, b)): (usize, (&Dim, &Dim))| {
            if axis == at { Some(a.add(b)) } else { same_size(a, b) }
        };
        let next: Option<Vec<Dim>> = result.iter().zip(*shape).enumerate().map(join).collect();
        result = next.ok_or_else(clash)?;
    }
    Ok(Some(result))
}

/// Joins tensors along an axis.
///
/// # Errors
/// When types or sizes besides the axis differ.
pub(crate) fn concat(tensors: &[&Tensor], at: i64) -> Result<Tensor, EvalError> {
    let Some(first) = tensors.first() else { return Err(InferError::MissingInput { index: 0 }.into()) };
    let at = axis::normalize(at, first.shape().len())?;
    let mut shape = first.shape().to_vec();
    for tensor in &tensors[1..] {
        let other = tensor.shape();
        if other.len() != shape.len() || (0..shape.len()).any(|axis| axis != at && other[axis] != shape[axis])
        {
            let reason = format!("shapes {shape:?} and {other:?} cannot be joined along axis {at}");
            return Err(EvalError::value(reason));
        }
        shape[at] = shape[at].saturating_add(other[at]);
    }
    let outer = span(&shape[..at]);
    let inner: Vec<usize> = tensors.iter().map(|t| span(&t.shape()[at..])).collect();
    let rows = (0..outer).flat_map(|row| {
        let part = move |(source, len): (usize, &usize)| (source, row * len, *len);
        inner.iter().enumerate().map(part)
    });
    let positions = rows.flat_map(|(source, start, len)| (start..start + len).map(move |at| (source, at)));
    pick(tensors, shape.clone(), positions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::sizes::testing::{infer_one, symbolic};
    use fusebox_ir::DType;

    #[test]
    fn parts_follow_each_other() {
        let (a, b) = (t(&[2, 1], &[1f32, 2.0]), t(&[2, 2], &[3f32, 4.0, 5.0, 6.0]));
        let last = Attrs::new().with("axis", -1);
        assert_eq!(
            run(&Concat, &last, &[a.clone(), b.clone()]),
            t(&[2, 3], &[1f32, 3.0, 4.0, 2.0, 5.0, 6.0])
        );
        let first = Attrs::new().with("axis", 0);
        assert!(refusal(&Concat, &first, &[a.clone(), b]).contains("cannot be joined along axis 0"));
        assert!(refusal(&Concat, &first, &[a, t(&[2, 1], &[1i32, 2])]).contains("found i32"));
        assert!(refusal(&Concat, &Attrs::new(), &[t(&[1], &[1f32])]).contains("\"axis\""));
    }

    #[test]
    fn sizes_are_joined() {
        let one = symbolic(DType::I64, &[1.into()]);
        let (b, s) = ([Dim::symbol("b")], [Dim::symbol("s")]);
        let attrs = Attrs::new().with("axis", 0);
        let result = infer_one(&Concat, &attrs, &[(&one, Some(&b)), (&one, Some(&s))]).unwrap();
        assert_eq!(result.dims.unwrap(), [b[0].clone(), s[0].clone()]);
        let past = symbolic(DType::F32, &[Dim::symbol("b"), Dim::symbol("past"), 64.into()]);
        let new = symbolic(DType::F32, &[Dim::symbol("b"), Dim::symbol("s"), 64.into()]);
        let result =
            infer_one(&Concat, &Attrs::new().with("axis", 1), &[(&past, None), (&new, None)]).unwrap();
        assert_eq!(result.ty.to_string(), "f32[b, past + s, 64]");
    }
}
