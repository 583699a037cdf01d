//! What operators with one input share: a function of one real number, mapped over a tensor.
//!
//! Functions of real numbers are computed in f64 and rounded once to the element type, so that the reference stays
//! within half a unit in the last place of the true value for f16, bf16 and f32.

use crate::number::Number;
use crate::op::Eval;
use crate::view::{dispatch, one, tensor, tensor_bools, view};
use crate::{Datum, EvalError, Shapes};
use fusebox_ir::{DType, Tensor};

/// FLOPs charged for one evaluation of an exponential, logarithm, trigonometric function or the like.
const TRANSCENDENTAL_FLOPS: f64 = 8.0;

/// `f` over a float tensor.
pub(crate) fn eval(cx: &Eval<'_>, f: impl Fn(f64) -> f64) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    dispatch!(floats, x.dtype(), T => one(tensor(view::<T>(x)?.mapv(|x| T::from_f64(f(x.to_f64()))))?))
}

/// What a float of eight bits is, if it is not finite; else 0.
fn special(dtype: DType, byte: u8) -> f64 {
    let (magnitude, sign) = (byte & 0x7f, if byte & 0x80 == 0 { 1.0 } else { -1.0 });
    match (dtype, magnitude) {
        (DType::F8E4M3FN, 0x7f) | (DType::F8E5M2, 0x7d..) => f64::NAN,
        (DType::F8E5M2, 0x7c) => sign * f64::INFINITY,
        // The types without negative zero have their only NaN in its place.
        (DType::F8E4M3FNUZ | DType::F8E5M2FNUZ, 0) if byte == 0x80 => f64::NAN,
        _ => 0.0,
    }
}

/// `f` over a float tensor, giving booleans. It sees floats of eight bits as 0 where they are finite.
pub(crate) fn eval_predicate(cx: &Eval<'_>, f: impl Fn(f64) -> bool) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    if x.dtype().bits() == 8 && x.dtype().is_float() {
        let answers = x.data().iter().map(|byte| f(special(x.dtype(), *byte)));
        return one(Tensor::from_bools(x.shape().to_vec(), answers)?);
    }
    dispatch!(floats, x.dtype(), T => one(tensor_bools(view::<T>(x)?.mapv(|x| f(x.to_f64())))?))
}

/// FLOPs of an operator that takes an exponential or the like per element.
pub(crate) fn transcendental_flops(shapes: &Shapes<'_>) -> f64 {
    TRANSCENDENTAL_FLOPS * shapes.output_elements(0)
}
