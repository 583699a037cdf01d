//! `Expand`: broadcasts a tensor to a shape, in both directions.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Expand.html>.

use crate::broadcast::{broadcast_dims, broadcast_sizes};
use crate::inference::elements;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, select, strides};
use crate::sizes::{copy_cost, fresh_dims, is_index, length_of, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Dim, Shape, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("Expand", &[8, 13], (2, 2), (1, 1));

pub(crate) struct Expand;

impl Op for Expand {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        if let Some(size) = elements(cx, 1).iter().flatten().find(|d| d.value().is_some_and(|v| v < 0)) {
            return Err(InferError::shape(format!("the shape to expand to holds the negative size {size}")));
        }
        let shape = match (&x.shape, elements(cx, 1)) {
            (Some(shape), Some(target)) => Some(broadcast_dims(&[shape, &target])?),
            (Some(shape), None) => length_of(cx, 1).map(|rank| at_least(shape, fresh_dims(cx, rank))),
            _ => None,
        };
        let ty = TensorType { dtype: x.dtype, shape };
        Ok(vec![Inferred { dims: repeated(cx, &ty), ty: ty.into() }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, target) = (cx.tensor(0)?, cx.integers(1)?.unwrap_or_default());
        let size = |size: &i64| {
            usize::try_from(*size).map_err(|_| EvalError::value(format!("negative size {size}")))
        };
        let target: Vec<usize> = target.iter().map(size).collect::<Result<_, _>>()?;
        let shape = broadcast_sizes(&[x.shape(), &target])?;
        one(expand(x, shape)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

/// A size other than one stays what it is, whatever it is expanded to; so does one that no target stands against.
fn at_least(shape: &[Dim], mut target: Shape) -> Shape {
    for (from_end, size) in shape.iter().rev().enumerate() {
        match target.len().checked_sub(from_end + 1) {
            None => target.insert(0, size.clone()),
            Some(at) if size.value().is_some_and(|size| size != 1) => target[at] = size.clone(),
            Some(_) => {}
        }
    }
    target
}

/// Elements of an expanded vector of sizes.
fn repeated(cx: &Infer<'_>, ty: &TensorType) -> Option<Vec<Dim>> {
    let values = elements(cx, 0).filter(|_| is_index(ty.dtype))?;
    match (ty.shape.as_deref()?, values.as_slice()) {
        ([], _) => Some(values),
        ([length], [only]) => {
            let length = usize::try_from(length.value()?).ok().filter(|length| *length <= 64)?;
            Some(vec![only.clone(); length])
        }
        ([length], _) => (length.value()? == values.len() as i64).then_some(values),
        _ => None,
    }
}

/// Repeats a tensor over a shape that it broadcasts to.
fn expand(x: &Tensor, shape: Vec<usize>) -> Result<Tensor, EvalError> {
    let added = shape.len() - x.shape().len();
    let own = strides(x.shape());
    let stride = |axis: usize| match axis.checked_sub(added) {
        Some(axis) if x.shape()[axis] != 1 => own[axis],
        _ => 0,
    };
    let strides: Vec<isize> = (0..shape.len()).map(stride).collect();
    let walk = Walk::new(0, &shape, &strides)?;
    select(x, shape, walk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::sizes::testing::{infer_one, symbolic};
    use fusebox_ir::{Attrs, DType};

    #[test]
    fn both_sides_broadcast() {
        let x = t(&[2, 1], &[1f32, 2.0]);
        let to = |shape: &[i64]| Tensor::vector(shape.to_vec());
        let result = run(&Expand, &Attrs::new(), &[x.clone(), to(&[2, 1, 2])]);
        assert_eq!(result, t(&[2, 2, 2], &[1f32, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]));
        assert_eq!(run(&Expand, &Attrs::new(), &[x.clone(), to(&[1])]), x);
        assert_eq!(run(&Expand, &Attrs::new(), &[x.clone(), to(&[0, 2, 3])]).shape(), [0, 2, 3]);
        assert!(refusal(&Expand, &Attrs::new(), &[x.clone(), to(&[3, 1])]).contains("do not broadcast"));
        assert!(refusal(&Expand, &Attrs::new(), &[x.clone(), to(&[-1])]).contains("negative size -1"));
        assert!(refusal(&Expand, &Attrs::new(), &[x, to(&[1 << 40, 1, 1])]).contains("more than 16 GiB"));
    }

    #[test]
    fn sizes_stay_symbolic() {
        let x = symbolic(DType::F32, &[1.into(), 1.into(), Dim::symbol("s")]);
        let target = [Dim::symbol("b"), Dim::known(12), Dim::symbol("s")];
        let ty = symbolic(DType::I64, &[3.into()]);
        let result = infer_one(&Expand, &Attrs::new(), &[(&x, None), (&ty, Some(&target))]).unwrap();
        assert_eq!(result.ty.to_string(), "f32[b, 12, s]");
        let x = symbolic(DType::F32, &[4.into(), 1.into()]);
        let result = infer_one(&Expand, &Attrs::new(), &[(&x, None), (&ty, None)]).unwrap();
        assert_eq!(result.ty.to_string(), "f32[fresh1, 4, fresh3]");
        let one = symbolic(DType::I64, &[1.into()]);
        let x = symbolic(DType::F32, &[1.into(), Dim::symbol("n"), 1.into()]);
        let result = infer_one(&Expand, &Attrs::new(), &[(&x, None), (&one, None)]).unwrap();
        assert_eq!(result.ty.to_string(), "f32[1, n, fresh1]");
    }
}
