//! `Constant`: a tensor given by an attribute.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Constant.html>. `sparse_value` is carried but has no evaluation.

use crate::attributes::{FLOAT, INT, INTS, OTHER, TEXT};
use crate::forms::inexpressible;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::sizes::{is_index, unknown, view_cost};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attr, Attrs, Dim, Tensor};

static SCHEMA: Schema = Schema::onnx("Constant", &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25], (0, 0), (1, 1))
    .with(&[
        ("sparse_value", OTHER),
        ("value", OTHER),
        ("value_float", FLOAT),
        ("value_floats", OTHER),
        ("value_int", INT),
        ("value_ints", INTS),
        ("value_string", TEXT),
        ("value_strings", OTHER),
    ]);

pub(crate) struct Constant;

impl Op for Constant {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        if cx.attrs.get("sparse_value").is_some() {
            return Ok(unknown(cx));
        }
        let value = constant_value(cx.attrs).ok_or_else(no_value)?;
        let is_small = value.shape().len() <= 1 && value.len() <= 64 && is_index(value.dtype());
        let dims = is_small.then(|| value.integers()).flatten();
        let dims = dims.map(|values| values.into_iter().map(Dim::known).collect());
        Ok(vec![Inferred { ty: value.ty().into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        if cx.attrs.get("sparse_value").is_some() {
            return Err(EvalError::unsupported("a sparse constant"));
        }
        one(constant_value(cx.attrs).ok_or_else(no_value)?)
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let is_new = |attrs: &Attrs| attrs.get("value").is_none();
        if edit.opset < 12 && is_new(&edit.node().attrs) {
            let value = constant_value(&edit.node().attrs);
            let value =
                value.ok_or_else(|| inexpressible(&SCHEMA, edit, "sparse values do not exist there"))?;
            edit.node().attrs = Attrs::new().with("value", value);
        }
        Ok(())
    }
}

fn no_value() -> InferError {
    InferError::Attribute {
        name: "value".into(),
        expected: "given, or one of value_int, value_floats, …".into(),
    }
}

/// The tensor that the attributes of a Constant node give.
pub(crate) fn constant_value(attrs: &Attrs) -> Option<Tensor> {
    let (name, attr) = attrs.iter().find(|(name, _)| name.starts_with("value"))?;
    match (name, attr) {
        ("value", Attr::Tensor(tensor)) => Some(tensor.clone()),
        ("value_int", Attr::Int(value)) => Some(Tensor::scalar(*value)),
        ("value_float", Attr::Float(value)) => Some(Tensor::scalar(*value)),
        ("value_ints", Attr::Ints(values)) => Some(Tensor::vector(values.clone())),
        ("value_floats", Attr::Floats(values)) => Some(Tensor::vector(values.clone())),
        ("value_string", Attr::String(text)) => Tensor::from_strings(vec![], vec![text.clone()]).ok(),
        ("value_strings", Attr::Strings(texts)) => {
            Tensor::from_strings(vec![texts.len()], texts.clone()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::downgraded;

    #[test]
    fn every_attribute_gives_its_tensor() {
        let value = |attrs: Attrs| run(&Constant, &attrs, &[]);
        assert_eq!(value(Attrs::new().with("value", t(&[1, 1], &[3u8]))), t(&[1, 1], &[3u8]));
        assert_eq!(value(Attrs::new().with("value_int", 7)), Tensor::scalar(7i64));
        assert_eq!(value(Attrs::new().with("value_float", 0.5f32)), Tensor::scalar(0.5f32));
        assert_eq!(value(Attrs::new().with("value_ints", vec![1, 2])), Tensor::vector(vec![1i64, 2]));
        assert_eq!(value(Attrs::new().with("value_floats", vec![1f32])), Tensor::vector(vec![1f32]));
        let text = value(Attrs::new().with("value_string", "a"));
        assert_eq!(text.strings().unwrap(), [b"a".to_vec()]);
        assert!(refusal(&Constant, &Attrs::new(), &[]).contains("\"value\""));
    }

    #[test]
    fn short_forms_become_tensors() {
        let (graph, node) = downgraded(&Constant, Attrs::new().with("value_int", 7), &[], 11).unwrap();
        assert_eq!(graph.node(node).attrs.tensor("value"), Some(&Tensor::scalar(7i64)));
    }
}
