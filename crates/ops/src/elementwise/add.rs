//! `Add`: the sum `a + b`, with broadcasting.
//!
//! Integers wrap. Also computes on symbolic sizes while typing.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Add.html>.

use super::binary::{self, Arithmetic};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Add", &[1, 6, 7, 13, 14], (2, 2), (1, 1));

pub(crate) struct Add;

impl Arithmetic for Add {
    fn apply<T: Number>(a: T, b: T) -> Option<T> {
        Some(a.plus(b))
    }

    fn on_dims(a: &Dim, b: &Dim) -> Option<Dim> {
        Some(a.add(b))
    }
}

impl Op for Add {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        binary::infer::<Self>(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        binary::eval::<Self>(cx)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        old_broadcast(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::op::Arg;
    use fusebox_ir::{Attrs, DType, Tensor, TensorType};

    #[test]
    fn broadcasts_and_wraps() {
        let (a, b) = (t(&[2, 1], &[1f32, 2.0]), t(&[2], &[10f32, 20.0]));
        assert_eq!(run(&Add, &Attrs::new(), &[a, b]), t(&[2, 2], &[11f32, 21.0, 12.0, 22.0]));
        let (a, b) = (t(&[1], &[250u8]), t(&[1], &[10u8]));
        assert_eq!(run(&Add, &Attrs::new(), &[a, b]), t(&[1], &[4u8]));
    }

    #[test]
    fn clashing_shapes_are_named() {
        let message = refusal(&Add, &Attrs::new(), &[t(&[2], &[1f32; 2]), t(&[3], &[1f32; 3])]);
        assert!(message.contains("[2] and [3]"), "{message}");
    }

    #[test]
    fn sizes_flow_through() {
        let (ty, n) = (TensorType::known(DType::I64, &[1]).into(), [Dim::symbol("n")]);
        let one = Tensor::vector(vec![1i64]);
        let arg = Arg { ty: &ty, constant: None, dims: Some(&n) };
        let constant = Arg { ty: &ty, constant: Some(&one), dims: None };
        let (attrs, inputs) = (Attrs::new(), [Some(arg), Some(constant)]);
        let cx =
            Infer { attrs: &attrs, inputs: &inputs, outputs: 1, regions: &[], fresh: &|| Dim::symbol("f") };
        assert_eq!(Add.infer(&cx).unwrap()[0].dims.as_ref().unwrap()[0].to_string(), "n + 1");
    }
}
