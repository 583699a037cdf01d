//! `Pow`: `base ^ exponent`, elementwise with broadcasting; the exponent may have another number type.
//!
//! Integer powers of integers are exact and wrap; all else goes through f64 and rounds once.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Pow.html>.

use super::unary;
use crate::broadcast::zip_map;
use crate::inference::{NUMBERS, broadcast_type, expect, first_is};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::old_broadcast;
use crate::versions::{input_type, refuse};
use crate::view::{dispatch, one, tensor, to_f64, view};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("Pow", &[1, 7, 12, 13, 15], (2, 2), (1, 1));

pub(crate) struct Pow;

/// `base ^ exponent` by squaring.
fn integer_power<T: Number>(mut base: T, mut exponent: u64) -> T {
    let mut product = T::ONE;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = product.times(base);
        }
        base = base.times(base);
        exponent >>= 1;
    }
    product
}

fn power<T: Number>(base: T, exponent: f64, exact: bool) -> T {
    if exact && exponent >= 0.0 {
        integer_power(base, exponent as u64)
    } else {
        T::from_f64(base.to_f64().powf(exponent))
    }
}

impl Op for Pow {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, NUMBERS)?;
        expect(cx, 1, NUMBERS)?;
        Ok(first_is(cx, broadcast_type(cx, &[0, 1], cx.dtype(0)?)?.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (base, exponent) = (cx.tensor(0)?, cx.tensor(1)?);
        let exact = base.dtype().is_integer() && exponent.dtype().is_integer();
        let exponent = to_f64(exponent)?;
        dispatch!(numbers, base.dtype(), T => {
            one(tensor(zip_map(&view::<T>(base)?, &exponent, |b, e| power(*b, *e, exact))?)?)
        })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        unary::transcendental_flops(shapes)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let (base, exponent) = (input_type(edit, 0), input_type(edit, 1));
        let (Some(base), Some(exponent)) = (base.tensor(), exponent.tensor()) else { return Ok(()) };
        let old = base.dtype == exponent.dtype && base.dtype.is_float();
        if edit.opset < 12 && !old {
            return Err(refuse(edit, "integers and mixed types came with opset 12"));
        }
        Ok(())
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        old_broadcast(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn powers_of_floats_and_of_mixed_types() {
        let base = t(&[3], &[2f32, 9.0, -2.0]);
        close(&run(&Pow, &Attrs::new(), &[base.clone(), t(&[3], &[3f32, 0.5, 2.0])]), &[8.0, 3.0, 4.0]);
        close(&run(&Pow, &Attrs::new(), &[base, t(&[], &[2i64])]), &[4.0, 81.0, 4.0]);
    }

    #[test]
    fn integer_powers_are_exact() {
        let (base, exponent) = (t(&[3], &[3i64, -2, 2]), t(&[3], &[39i64, 63, -1]));
        let expected = t(&[3], &[4_052_555_153_018_976_267i64, i64::MIN, 0]);
        assert_eq!(run(&Pow, &Attrs::new(), &[base, exponent]), expected);
    }
}
