//! What comparisons share: broadcasting, every ordered type, and the answer on symbolic sizes where it is decided.
//!
//! Sizes are never negative, so `n == -1` and `n >= 0` are decided though `n` is not known: exporters compare shapes
//! with -1 to find the dims that Expand keeps.

use crate::broadcast::zip_map;
use crate::inference::{Kinds, comparison, first_is, map_elements, truth};
use crate::op::{Eval, Infer, Inferred};
use crate::view::{dispatch, one, tensor_bools, view};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::Dim;

/// A relation between two elements.
pub(super) trait Relation {
    /// On elements; comparisons with NaN are IEEE's.
    fn holds<T: PartialOrd>(a: &T, b: &T) -> bool;
    /// On sizes; `None` where it depends on the symbols.
    fn on_sizes(a: &Dim, b: &Dim) -> Option<bool>;
}

/// Whether `a >= b`, where decided.
pub(super) fn at_least(a: &Dim, b: &Dim) -> Option<bool> {
    if a.sub(b).is_size() {
        return Some(true);
    }
    b.sub(a).sub(&Dim::known(1)).is_size().then_some(false)
}

/// Types of the outputs.
pub(super) fn infer<R: Relation>(cx: &Infer<'_>, kinds: Kinds) -> Result<Vec<Inferred>, InferError> {
    let ty = comparison(cx, kinds)?;
    let dims = map_elements(cx, &ty, |pair| R::on_sizes(pair[0], pair[1]).map(truth));
    Ok(first_is(cx, Inferred { ty, dims }))
}

/// Reference evaluation over numbers.
pub(super) fn eval<R: Relation>(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
    dispatch!(numbers, a.dtype(), T => {
        one(tensor_bools(zip_map(&view::<T>(a)?, &view::<T>(b)?, R::holds)?)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_never_negative() {
        let (n, m) = (Dim::symbol("n"), Dim::symbol("m"));
        assert_eq!(at_least(&n, &Dim::known(-1)), Some(true));
        assert_eq!(at_least(&Dim::known(-1), &n), Some(false));
        assert_eq!(at_least(&n.add(&m), &n), Some(true));
        assert_eq!(at_least(&n, &n.add(&Dim::known(1))), Some(false));
        assert_eq!(at_least(&n, &m), None);
    }
}
