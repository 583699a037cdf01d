//! `Sub`: the difference `a - b`, with broadcasting.
//!
//! Integers wrap. Also computes on symbolic sizes while typing.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Sub.html>.

use super::binary::{self, Arithmetic};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Sub", &[1, 6, 7, 13, 14], (2, 2), (1, 1));

pub(crate) struct Sub;

impl Arithmetic for Sub {
    fn apply<T: Number>(a: T, b: T) -> Option<T> {
        Some(a.minus(b))
    }

    fn on_dims(a: &Dim, b: &Dim) -> Option<Dim> {
        Some(a.sub(b))
    }
}

impl Op for Sub {
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
    use crate::check::{from_fn, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn subtracts() {
        let (a, b) = (t(&[2], &[5i64, 1]), t(&[], &[3i64]));
        assert_eq!(run(&Sub, &Attrs::new(), &[a, b]), t(&[2], &[2i64, -2]));
    }

    #[test]
    fn broadcasts_both_ways() {
        let (a, b) = (from_fn(&[3, 1], |i| i as f32), from_fn(&[2], |i| 10.0 * i as f32));
        assert_eq!(run(&Sub, &Attrs::new(), &[a, b]), t(&[3, 2], &[0f32, -10.0, 1.0, -9.0, 2.0, -8.0]));
    }
}
