//! `PRelu`: `x` above zero, `slope · x` below, with a slope tensor that broadcasts to `x`.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__PRelu.html>.

use crate::broadcast::broadcast_to;
use crate::inference::{NUMBERS, elementwise, expect_same, same_as_first};
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};
use ndarray::Zip;

static SCHEMA: Schema = Schema::onnx("PRelu", &[1, 6, 7, 9, 16], (2, 2), (1, 1));

pub(crate) struct PRelu;

fn leak<T: Number>(x: T, slope: T) -> T {
    if x < T::ZERO { x.times(slope) } else { x }
}

impl Op for PRelu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect_same(cx, 0, 1)?;
        // Only for its check: the slope broadcasts to `x`, never the other way round.
        elementwise(cx, NUMBERS)?;
        same_as_first(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, slope) = (cx.tensor(0)?, cx.tensor(1)?);
        dispatch!(numbers, x.dtype(), T => {
            let mut result = view::<T>(x)?.into_owned();
            let slope = view::<T>(slope)?;
            Zip::from(&mut result).and(broadcast_to(&slope, x.shape())?).for_each(|x, slope| *x = leak(*x, *slope));
            one(tensor(result)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn slopes_broadcast_to_the_input_only() {
        let x = t(&[2, 2], &[-1f32, 2.0, -3.0, -4.0]);
        let result = run(&PRelu, &Attrs::new(), &[x.clone(), t(&[2, 1], &[0.5f32, 0.1])]);
        crate::check::close(&result, &[-0.5, 2.0, -0.3, -0.4]);
        let message = refusal(&PRelu, &Attrs::new(), &[x, t(&[3, 1, 1], &[0f32; 3])]);
        assert_eq!(message, "shape [3, 1, 1] does not broadcast to [2, 2]");
    }
}
