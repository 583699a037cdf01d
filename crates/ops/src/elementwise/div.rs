//! `Div`: the quotient `a / b`, with broadcasting.
//!
//! Integers round towards zero; division by an integer zero is an error. Also computes on symbolic sizes while typing.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Div.html>.

use super::binary::{self, Arithmetic};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Div", &[1, 6, 7, 13, 14], (2, 2), (1, 1));

pub(crate) struct Div;

impl Arithmetic for Div {
    fn apply<T: Number>(a: T, b: T) -> Option<T> {
        a.over(b)
    }

    fn on_dims(a: &Dim, b: &Dim) -> Option<Dim> {
        // Truncation and floor agree on sizes only; a quotient of something that may be negative stays unknown.
        match (a.value(), b.value()) {
            (Some(a), Some(b)) => a.checked_div(b).map(Dim::known),
            _ => a.exact_div(b).or_else(|| (a.is_size() && b.is_size()).then(|| a.floor_div(b))),
        }
    }
}

impl Op for Div {
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
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn integers_round_towards_zero_and_refuse_zero() {
        let (a, b) = (t(&[3], &[7i32, -7, 6]), t(&[1], &[2i32]));
        assert_eq!(run(&Div, &Attrs::new(), &[a.clone(), b]), t(&[3], &[3i32, -3, 3]));
        assert_eq!(refusal(&Div, &Attrs::new(), &[a, t(&[1], &[0i32])]), "integer division by zero");
    }

    #[test]
    fn floats_follow_ieee() {
        let (a, b) = (t(&[3], &[1f32, 0.0, 1.0]), t(&[3], &[0f32, 0.0, 4.0]));
        close(&run(&Div, &Attrs::new(), &[a, b]), &[f64::INFINITY, f64::NAN, 0.25]);
    }
}
