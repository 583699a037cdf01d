//! `Neg`: `-x`, elementwise.
//!
//! The smallest integer of a type wraps to itself.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Neg.html>.

use crate::inference::{SIGNED, map_elements, same_as_first};
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Neg", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Neg;

fn negative<T: Number>(x: T) -> T {
    // Zero minus zero would lose the sign of a float zero.
    T::ZERO.minus(T::ONE).times(x)
}

impl Op for Neg {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let mut outputs = same_as_first(cx, SIGNED)?;
        let ty = outputs[0].ty.clone();
        outputs[0].dims = map_elements(cx, &ty, |x| Some(Dim::known(0).sub(x[0])));
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        dispatch!(signed, x.dtype(), T => one(tensor(view::<T>(x)?.mapv(negative))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn negates_and_keeps_the_sign_of_zero() {
        let result = run(&Neg, &Attrs::new(), &[t(&[3], &[1f32, -2.0, 0.0])]);
        assert_eq!(result, t(&[3], &[-1f32, 2.0, -0.0]));
        assert_eq!(run(&Neg, &Attrs::new(), &[t(&[2], &[3i64, i64::MIN])]), t(&[2], &[-3i64, i64::MIN]));
    }
}
