//! What And, Or and Xor share: booleans, broadcast, and decided truth values of shape computations.

use crate::broadcast::zip_map;
use crate::inference::{BOOLS, comparison, first_is, map_elements, truth};
use crate::op::{Eval, Infer, Inferred};
use crate::view::{one, tensor_bools, view_bools};
use crate::{Datum, EvalError, InferError};

/// Types of the outputs.
pub(super) fn infer(cx: &Infer<'_>, f: fn(bool, bool) -> bool) -> Result<Vec<Inferred>, InferError> {
    let ty = comparison(cx, BOOLS)?;
    let dims = map_elements(cx, &ty, |pair| Some(truth(f(pair[0].value()? != 0, pair[1].value()? != 0))));
    Ok(first_is(cx, Inferred { ty, dims }))
}

/// Reference evaluation.
pub(super) fn eval(cx: &Eval<'_>, f: fn(bool, bool) -> bool) -> Result<Vec<Datum>, EvalError> {
    let (a, b) = (view_bools(cx.tensor(0)?)?, view_bools(cx.tensor(1)?)?);
    one(tensor_bools(zip_map(&a, &b, |a, b| f(*a != 0, *b != 0))?)?)
}
