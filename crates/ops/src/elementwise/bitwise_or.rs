//! `BitwiseOr`: the or of the bits of two integers, elementwise with broadcasting.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__BitwiseOr.html>.

use crate::broadcast::zip_map;
use crate::inference::{INTEGERS, elementwise, first_is};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("BitwiseOr", &[18], (2, 2), (1, 1));

pub(crate) struct BitwiseOr;

impl Op for BitwiseOr {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(first_is(cx, elementwise(cx, INTEGERS)?.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        dispatch!(integers, a.dtype(), T => one(tensor(zip_map(&view::<T>(a)?, &view::<T>(b)?, |a, b| a | b)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn combines_bits() {
        let (a, b) = (t(&[2], &[12u8, 0]), t(&[1], &[10u8]));
        assert_eq!(run(&BitwiseOr, &Attrs::new(), &[a, b]), t(&[2], &[14u8, 10]));
    }
}
