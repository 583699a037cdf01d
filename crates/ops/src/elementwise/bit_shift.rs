//! `BitShift`: shifts the bits of an integer left or right, elementwise with broadcasting.
//!
//! A shift by the width of the type or more (or by a negative count) leaves what filling alone leaves: 0, or -1 for a
//! right shift of a negative number. Signed types came with opset 28.
//! Spec: <https://onnx.ai/onnx/operators/onnx__BitShift.html>.

use crate::attributes::TEXT;
use crate::broadcast::zip_map;
use crate::inference::{INTEGERS, elementwise, first_is};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{exists, input_type, refuse};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Attrs;
use num_traits::{CheckedShl, CheckedShr, PrimInt};

static SCHEMA: Schema = Schema::onnx("BitShift", &[11, 28], (2, 2), (1, 1)).with(&[("direction", TEXT)]);

pub(crate) struct BitShift;

fn is_left(attrs: &Attrs) -> Result<bool, InferError> {
    match attrs.str("direction") {
        Some("LEFT") => Ok(true),
        Some("RIGHT") => Ok(false),
        _ => Err(InferError::Attribute { name: "direction".into(), expected: "LEFT or RIGHT".into() }),
    }
}

fn shift<T: Number + PrimInt + CheckedShl + CheckedShr>(x: T, by: T, left: bool) -> T {
    let count = by.to_u32();
    let shifted = count.and_then(|n| if left { x.checked_shl(n) } else { x.checked_shr(n) });
    let fill = if !left && x < T::ZERO { T::ZERO.minus(T::ONE) } else { T::ZERO };
    shifted.unwrap_or(fill)
}

impl Op for BitShift {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        is_left(cx.attrs)?;
        Ok(first_is(cx, elementwise(cx, INTEGERS)?.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let left = is_left(cx.attrs)?;
        let (x, by) = (cx.tensor(0)?, cx.tensor(1)?);
        dispatch!(integers, x.dtype(), T => {
            one(tensor(zip_map(&view::<T>(x)?, &view::<T>(by)?, |x, by| shift(*x, *by, left))?)?)
        })
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        exists(self, edit)?;
        let signed = input_type(edit, 0).tensor().is_some_and(|ty| ty.dtype.name().starts_with('i'));
        if edit.opset < 28 && signed {
            return Err(refuse(edit, "signed types came with opset 28"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn shifts_both_ways_and_past_the_end() {
        let left = Attrs::new().with("direction", "LEFT");
        let right = Attrs::new().with("direction", "RIGHT");
        let x = t(&[3], &[1u8, 4, 255]);
        assert_eq!(run(&BitShift, &left, &[x.clone(), t(&[3], &[1u8, 2, 9])]), t(&[3], &[2u8, 16, 0]));
        assert_eq!(run(&BitShift, &right, &[x, t(&[1], &[1u8])]), t(&[3], &[0u8, 2, 127]));
        let x = t(&[2], &[-8i32, -8]);
        assert_eq!(run(&BitShift, &right, &[x, t(&[2], &[1i32, 40])]), t(&[2], &[-4i32, -1]));
    }

    #[test]
    fn the_direction_is_required() {
        let message = refusal(&BitShift, &Attrs::new(), &[t(&[1], &[1u8]), t(&[1], &[1u8])]);
        assert_eq!(message, "attribute \"direction\" must be LEFT or RIGHT");
    }
}
