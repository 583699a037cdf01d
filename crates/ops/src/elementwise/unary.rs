//! What operators with one input share: a function of one real number, mapped over a tensor.
//!
//! Functions of real numbers are computed in f64 and rounded once to the element type, so that the reference stays
//! within half a unit in the last place of the true value for f16, bf16 and f32.

use crate::number::Number;
use crate::op::Eval;
use crate::view::{dispatch, one, tensor, tensor_bools, view};
use crate::{Datum, EvalError, Shapes};

/// FLOPs charged for one evaluation of an exponential, logarithm, trigonometric function or the like.
const TRANSCENDENTAL_FLOPS: f64 = 8.0;

/// `f` over a float tensor.
pub(crate) fn eval(cx: &Eval<'_>, f: impl Fn(f64) -> f64) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    dispatch!(floats, x.dtype(), T => one(tensor(view::<T>(x)?.mapv(|x| T::from_f64(f(x.to_f64()))))?))
}

/// `f` over a float tensor, giving booleans.
pub(crate) fn eval_predicate(cx: &Eval<'_>, f: impl Fn(f64) -> bool) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    dispatch!(floats, x.dtype(), T => one(tensor_bools(view::<T>(x)?.mapv(|x| f(x.to_f64())))?))
}

/// FLOPs of an operator that takes an exponential or the like per element.
pub(crate) fn transcendental_flops(shapes: &Shapes<'_>) -> f64 {
    TRANSCENDENTAL_FLOPS * shapes.output_elements(0)
}
