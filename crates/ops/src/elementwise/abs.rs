//! `Abs`: `|x|`, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Abs.html>.

use crate::inference::{NUMBERS, map_elements, same_as_first};
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Abs", &[1, 6, 13], (1, 1), (1, 1));

pub(crate) struct Abs;

fn magnitude<T: Number>(x: T) -> T {
    if x > T::ZERO || x.nan() { x } else { T::ZERO.minus(x) }
}

impl Op for Abs {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let mut outputs = same_as_first(cx, NUMBERS)?;
        let ty = outputs[0].ty.clone();
        outputs[0].dims = map_elements(cx, &ty, |x| {
            x[0].value()
                .map(|v| Dim::known(v.saturating_abs()))
                .or_else(|| x[0].is_size().then(|| x[0].clone()))
        });
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        dispatch!(numbers, x.dtype(), T => one(tensor(view::<T>(x)?.mapv(magnitude))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn drops_the_sign() {
        assert_eq!(run(&Abs, &Attrs::new(), &[t(&[3], &[1f32, -2.0, -0.0])]), t(&[3], &[1f32, 2.0, 0.0]));
        assert_eq!(run(&Abs, &Attrs::new(), &[t(&[2], &[-3i32, 4])]), t(&[2], &[3i32, 4]));
        assert_eq!(run(&Abs, &Attrs::new(), &[t(&[1], &[250u8])]), t(&[1], &[250u8]));
    }
}
