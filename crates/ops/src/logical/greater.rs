//! `Greater`: whether `a > b`, elementwise with broadcasting.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Greater.html>.

use super::relation::{self, Relation, at_least};
use crate::inference::NUMBERS;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Greater", &[1, 7, 9, 13], (2, 2), (1, 1));

pub(crate) struct Greater;

impl Relation for Greater {
    fn holds<T: PartialOrd>(a: &T, b: &T) -> bool {
        a > b
    }

    fn on_sizes(a: &Dim, b: &Dim) -> Option<bool> {
        at_least(b, a).map(|holds| !holds)
    }
}

impl Op for Greater {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        relation::infer::<Self>(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        relation::eval::<Self>(cx)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        old_broadcast(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn compares() {
        let inputs = [t(&[4], &[1f32, 2.0, 3.0, f32::NAN]), t(&[1], &[2f32])];
        let expected = Tensor::from_bools(vec![4], [false, false, true, false]).unwrap();
        assert_eq!(run(&Greater, &Attrs::new(), &inputs), expected);
        let inputs = [t(&[3], &[1i64, 2, 3]), t(&[], &[2i64])];
        assert_eq!(
            run(&Greater, &Attrs::new(), &inputs),
            Tensor::from_bools(vec![3], [false, false, true]).unwrap()
        );
    }
}
