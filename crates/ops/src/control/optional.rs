//! `Optional`, `OptionalHasElement`, `OptionalGetElement`: values that may be absent.
//!
//! A present optional is its value; since opset 18 a plain tensor or sequence counts as one.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Optional.html> and its neighbours.

use crate::attributes::OTHER;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{exists, input_type, refuse};
use crate::view::one;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{Attr, DType, Tensor, TensorType, Type};

static OPTIONAL: Schema = Schema::onnx("Optional", &[15, 28], (0, 1), (1, 1)).with(&[("type", OTHER)]);
static HAS_ELEMENT: Schema = Schema::onnx("OptionalHasElement", &[15, 18, 28], (0, 1), (1, 1));
static GET_ELEMENT: Schema = Schema::onnx("OptionalGetElement", &[15, 18, 28], (1, 1), (1, 1));

/// Makes an optional.
pub(crate) struct Optional;
/// Whether it has a value.
pub(crate) struct OptionalHasElement;
/// Its value.
pub(crate) struct OptionalGetElement;

fn given<'a>(cx: &Eval<'a>) -> Option<&'a Datum> {
    cx.inputs.first().copied().flatten().filter(|datum| **datum != Datum::Absent)
}

/// Checks that the input is an optional where older opsets took nothing else.
fn was_optional(op: &dyn Op, edit: &mut Edit<'_>) -> Result<(), VersionError> {
    exists(op, edit)?;
    let ty = input_type(edit, 0);
    if edit.opset < 18
        && (edit.node().input(0).is_none() || matches!(ty, Type::Tensor(_) | Type::Sequence(_)))
    {
        return Err(refuse(edit, "inputs that are no optionals came with opset 18"));
    }
    Ok(())
}

impl Op for Optional {
    fn schema(&self) -> &'static Schema {
        &OPTIONAL
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let of = |inner: &Type| match inner {
            Type::Unknown => Type::Unknown,
            inner => Type::Optional(Box::new(inner.clone())),
        };
        let ty = match (cx.input(0), cx.attrs.get("type")) {
            (Some(arg), _) => of(arg.ty),
            (None, Some(Attr::Type(ty))) => of(ty),
            (None, _) => {
                let expected = "the element's type, where there is no input".into();
                return Err(InferError::Attribute { name: "type".into(), expected });
            }
        };
        Ok(vec![ty.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        Ok(vec![given(cx).cloned().unwrap_or(Datum::Absent)])
    }
}

impl Op for OptionalHasElement {
    fn schema(&self) -> &'static Schema {
        &HAS_ELEMENT
    }

    fn infer(&self, _cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(vec![TensorType::new(DType::Bool, []).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        one(Tensor::from_bools(vec![], [given(cx).is_some()])?)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        was_optional(self, edit)
    }
}

impl Op for OptionalGetElement {
    fn schema(&self) -> &'static Schema {
        &GET_ELEMENT
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let ty = match cx.input(0).map(|arg| arg.ty) {
            Some(Type::Optional(inner)) => (**inner).clone(),
            Some(other) => other.clone(),
            None => Type::Unknown,
        };
        Ok(vec![ty.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let value = given(cx).cloned();
        Ok(vec![value.ok_or_else(|| EvalError::value("the optional has no element to get"))?])
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        was_optional(self, edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpreter;
    use crate::sizes::testing::infer_one;
    use fusebox_ir::Attrs;

    fn eval(op: &dyn Op, inputs: &[Option<&Datum>]) -> Result<Datum, EvalError> {
        let (attrs, interpreter) = (&Attrs::new(), &Interpreter::new(&[]));
        let cx = Eval { attrs, inputs, outputs: 1, regions: &[], captures: &[], interpreter };
        op.eval(&cx).map(|mut outputs| outputs.remove(0))
    }

    #[test]
    fn values_may_be_absent() {
        let value = Datum::from(Tensor::scalar(3i64));
        let some = eval(&Optional, &[Some(&value)]).unwrap();
        let none = eval(&Optional, &[]).unwrap();
        let has = |input: Option<&Datum>| eval(&OptionalHasElement, &[input]).unwrap().into_tensor().unwrap();
        assert_eq!([Some(&some), Some(&none), None].map(|d| has(d).data()[0]), [1, 0, 0]);
        assert_eq!(eval(&OptionalGetElement, &[Some(&some)]).unwrap(), value);
        let error = eval(&OptionalGetElement, &[Some(&none)]).unwrap_err();
        assert_eq!(error.to_string(), "the optional has no element to get");
    }

    #[test]
    fn types_wrap_and_unwrap() {
        let ty = Type::from(TensorType::known(DType::F32, &[2]));
        let wrapped = infer_one(&Optional, &Attrs::new(), &[(&ty, None)]).unwrap().ty;
        assert_eq!(wrapped.to_string(), "optional(f32[2])");
        assert_eq!(infer_one(&OptionalGetElement, &Attrs::new(), &[(&wrapped, None)]).unwrap().ty, ty);
        let mut named = Attrs::new();
        named.set("type", Attr::Type(Type::Sequence(Box::new(ty))));
        assert_eq!(infer_one(&Optional, &named, &[]).unwrap().ty.to_string(), "optional(seq(f32[2]))");
        assert!(infer_one(&Optional, &Attrs::new(), &[]).is_err());
    }
}
