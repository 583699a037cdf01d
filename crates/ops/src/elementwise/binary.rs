//! What the binary arithmetic operators share: typing with symbolic sizes and evaluation over every number type.
//!
//! An operator gives its meaning twice, on elements and on symbolic sizes, so that `Shape → Mul → Reshape` chains
//! resolve while typing.

use crate::broadcast::zip_map;
use crate::inference::{NUMBERS, elementwise, first_is, map_elements};
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::Dim;

/// A binary function on every number type.
pub(super) trait Arithmetic {
    /// On elements; `None` where it has no value (integer division by zero).
    fn apply<T: Number>(a: T, b: T) -> Option<T>;
    /// On sizes; `None` where the result is not an expression over them.
    fn on_dims(a: &Dim, b: &Dim) -> Option<Dim>;
}

/// Types of the outputs.
pub(super) fn infer<A: Arithmetic>(cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    let ty = elementwise(cx, NUMBERS)?;
    let dims = map_elements(cx, &ty, |pair| A::on_dims(pair[0], pair[1]));
    Ok(first_is(cx, Inferred { ty, dims }))
}

/// Reference evaluation.
pub(super) fn eval<A: Arithmetic>(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
    dispatch!(numbers, a.dtype(), T => {
        let (a, b) = (view::<T>(a)?, view::<T>(b)?);
        let undefined = std::cell::Cell::new(false);
        let result = zip_map(&a, &b, |a, b| A::apply(*a, *b).unwrap_or_else(|| { undefined.set(true); T::ZERO }))?;
        if undefined.get() {
            return Err(EvalError::value("integer division by zero"));
        }
        one(tensor(result)?)
    })
}
