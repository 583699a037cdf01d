//! `Sign`: -1, 0 or 1 by the sign of `x`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Sign.html>.

use crate::inference::{NUMBERS, same_as_first};
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Sign", &[9, 13], (1, 1), (1, 1));

pub(crate) struct Sign;

fn sign<T: Number>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        T::ZERO.minus(T::ONE)
    } else {
        x
    }
}

impl Op for Sign {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        dispatch!(numbers, x.dtype(), T => one(tensor(view::<T>(x)?.mapv(sign))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn signs() {
        assert_eq!(run(&Sign, &Attrs::new(), &[t(&[3], &[1.5f32, -2.0, 0.0])]), t(&[3], &[1f32, -1.0, 0.0]));
        assert_eq!(run(&Sign, &Attrs::new(), &[t(&[3], &[-3i32, 4, 0])]), t(&[3], &[-1i32, 1, 0]));
    }
}
