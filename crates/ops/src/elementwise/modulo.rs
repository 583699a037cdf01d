//! `Mod`: the remainder of a division, elementwise with broadcasting.
//!
//! `fmod = 0` rounds the quotient down, so the result has the divisor's sign; `fmod = 1` truncates it, so the result
//! has the dividend's. Floats with `fmod = 0` came with opset 28. An integer divisor of zero is an error.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Mod.html>.

use crate::attributes::int;
use crate::broadcast::zip_map;
use crate::inference::{NUMBERS, elementwise, first_is, map_elements};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{exists, input_type, refuse};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Dim;

static SCHEMA: Schema = Schema::onnx("Mod", &[10, 13, 28], (2, 2), (1, 1)).with(&[("fmod", int(0))]);

pub(crate) struct Mod;

/// `a - floor(a / b) · b` with the special cases of the spec.
fn floor_mod(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    if remainder == 0.0 {
        0f64.copysign(b)
    } else if (remainder < 0.0) == (b < 0.0) {
        remainder
    } else {
        remainder + b
    }
}

fn integer_mod<T: Number>(a: T, b: T, truncate: bool) -> Option<T> {
    let remainder = a.minus(a.over(b)?.times(b));
    let adjust = !truncate && remainder != T::ZERO && (remainder < T::ZERO) != (b < T::ZERO);
    Some(if adjust { remainder.plus(b) } else { remainder })
}

impl Op for Mod {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let ty = elementwise(cx, NUMBERS)?;
        let on_sizes =
            |a: &Dim, b: &Dim| (a.is_size() && b.is_size() && b.value() != Some(0)).then(|| a.modulo(b));
        let dims = map_elements(cx, &ty, |pair| on_sizes(pair[0], pair[1]));
        Ok(first_is(cx, Inferred { ty, dims }))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let truncate = cx.attrs.int_or("fmod", 0) != 0;
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        dispatch!(numbers, a.dtype(), T => {
            let is_float = a.dtype().is_float();
            let undefined = std::cell::Cell::new(false);
            let remainder = |a: &T, b: &T| match is_float {
                true if truncate => T::from_f64(a.to_f64() % b.to_f64()),
                true => T::from_f64(floor_mod(a.to_f64(), b.to_f64())),
                false => integer_mod(*a, *b, truncate).unwrap_or_else(|| { undefined.set(true); T::ZERO }),
            };
            let result = zip_map(&view::<T>(a)?, &view::<T>(b)?, remainder)?;
            if undefined.get() {
                return Err(EvalError::value("integer remainder of a division by zero"));
            }
            one(tensor(result)?)
        })
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        exists(self, edit)?;
        let float = input_type(edit, 0).tensor().is_some_and(|ty| ty.dtype.is_float());
        if edit.opset < 28 && float && edit.node().attrs.int_or("fmod", 0) == 0 {
            return Err(refuse(edit, "floats with fmod = 0 came with opset 28"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn integers_take_the_divisor_s_sign_or_the_dividend_s() {
        let (a, b) = (t(&[4], &[-4i32, 7, 5, -5]), t(&[4], &[3i32, -3, 8, -8]));
        let inputs = [a, b];
        assert_eq!(run(&Mod, &Attrs::new(), &inputs), t(&[4], &[2i32, -2, 5, -5]));
        assert_eq!(run(&Mod, &Attrs::new().with("fmod", 1i64), &inputs), t(&[4], &[-1i32, 1, 5, -5]));
        let zero = refusal(&Mod, &Attrs::new(), &[t(&[1], &[1i64]), t(&[1], &[0i64])]);
        assert_eq!(zero, "integer remainder of a division by zero");
    }

    #[test]
    fn floats_follow_both_conventions() {
        let inputs = [t(&[4], &[-4.3f32, 7.2, 5.0, f32::INFINITY]), t(&[4], &[2.1f32, -3.4, 8.0, 1.0])];
        close(&run(&Mod, &Attrs::new().with("fmod", 1i64), &inputs), &[-0.1, 0.4, 5.0, f64::NAN]);
        close(&run(&Mod, &Attrs::new(), &inputs), &[2.0, -3.0, 5.0, f64::NAN]);
        let inputs = [t(&[2], &[-1f32, 1.0]), t(&[1], &[f32::INFINITY])];
        close(&run(&Mod, &Attrs::new(), &inputs), &[f64::INFINITY, 1.0]);
    }
}
