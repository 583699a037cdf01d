//! `And`: logical and, elementwise with broadcasting.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__And.html>.

use super::connective;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::{Datum, EvalError, InferError, VersionError};

static SCHEMA: Schema = Schema::onnx("And", &[1, 7], (2, 2), (1, 1));

pub(crate) struct And;

impl Op for And {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        connective::infer(cx, |a, b| a && b)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        connective::eval(cx, |a, b| a && b)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        old_broadcast(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::run;
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn has_its_truth_table() {
        let a = Tensor::from_bools(vec![2, 1], [false, true]).unwrap();
        let b = Tensor::from_bools(vec![2], [false, true]).unwrap();
        let expected = Tensor::from_bools(vec![2, 2], [false, false, false, true]).unwrap();
        assert_eq!(run(&And, &Attrs::new(), &[a, b]), expected);
    }
}
