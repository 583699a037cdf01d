//! `Mul`: the product `a · b`, with broadcasting.
//!
//! Integers wrap. Also computes on symbolic sizes while typing.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Mul.html>.

use super::binary::{self, Arithmetic};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Mul", &[1, 6, 7, 13, 14], (2, 2), (1, 1));

pub(crate) struct Mul;

impl Arithmetic for Mul {
    fn apply<T: Number>(a: T, b: T) -> Option<T> {
        Some(a.times(b))
    }

    fn on_dims(a: &Dim, b: &Dim) -> Option<Dim> {
        Some(a.mul(b))
    }
}

impl Op for Mul {
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
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn multiplies_halves_with_one_rounding() {
        let half = |x: f32| half::f16::from_f32(x);
        let (a, b) = (t(&[1], &[half(1.0009766)]), t(&[1], &[half(3.0)]));
        assert_eq!(run(&Mul, &Attrs::new(), &[a, b]), t(&[1], &[half(3.0029297)]));
    }
}
