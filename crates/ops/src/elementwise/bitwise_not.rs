//! `BitwiseNot`: the complement of the bits of an integer, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__BitwiseNot.html>.

use crate::inference::{INTEGERS, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("BitwiseNot", &[18], (1, 1), (1, 1));

pub(crate) struct BitwiseNot;

impl Op for BitwiseNot {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, INTEGERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        dispatch!(integers, x.dtype(), T => one(tensor(view::<T>(x)?.mapv(|x| !x))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn complements() {
        assert_eq!(run(&BitwiseNot, &Attrs::new(), &[t(&[2], &[0u8, 15])]), t(&[2], &[255u8, 240]));
        assert_eq!(run(&BitwiseNot, &Attrs::new(), &[t(&[1], &[0i64])]), t(&[1], &[-1i64]));
    }
}
