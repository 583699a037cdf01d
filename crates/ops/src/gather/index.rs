//! Index tensors: resolving negative indices, and the reductions of the scatter operators.
//!
//! Refuses to know operators.

use crate::number::Number;
use crate::op::Infer;
use crate::view::dispatch;
use crate::{EvalError, InferError};
use fusebox_ir::tensor::Element;
use fusebox_ir::{Attrs, DType, Tensor};

/// Position of an index that may count from the end.
pub(super) fn to_index(index: i64, size: usize) -> Option<usize> {
    let signed = i64::try_from(size).ok()?;
    let index = if index < 0 { index.checked_add(signed)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < size)
}

/// Positions of all indices along an axis.
///
/// # Errors
/// When one is out of range or they are no integers.
pub(super) fn resolve(indices: &Tensor, size: usize) -> Result<Vec<usize>, EvalError> {
    let resolve = |index: &i64| {
        let outside =
            || EvalError::value(format!("index {index} is out of range for an axis of size {size}"));
        to_index(*index, size).ok_or_else(outside)
    };
    integers(indices, 1)?.iter().map(resolve).collect()
}

/// Integers of an index tensor.
///
/// # Errors
/// When they are neither i32 nor i64.
pub(super) fn integers(indices: &Tensor, index: usize) -> Result<Vec<i64>, EvalError> {
    let wrong = || InferError::DType { index, expected: "i64 or i32".into(), found: indices.dtype() };
    Ok(indices.integers().ok_or_else(wrong)?)
}

/// Checks that an input holds indices.
///
/// # Errors
/// When it is neither i32 nor i64.
pub(super) fn expect_indices(cx: &Infer<'_>, index: usize) -> Result<(), InferError> {
    match cx.tensor(index) {
        Some(ty) if !matches!(ty.dtype, DType::I32 | DType::I64) => {
            Err(InferError::DType { index, expected: "i64 or i32".into(), found: ty.dtype })
        }
        _ => Ok(()),
    }
}

/// What a scatter does where an element is already there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reduction {
    None,
    Add,
    Mul,
    Max,
    Min,
}

impl Reduction {
    /// Reads the attribute `reduction`.
    pub(super) fn from_attrs(attrs: &Attrs) -> Result<Self, InferError> {
        match attrs.str("reduction").unwrap_or("none") {
            "none" => Ok(Self::None),
            "add" => Ok(Self::Add),
            "mul" => Ok(Self::Mul),
            "max" => Ok(Self::Max),
            "min" => Ok(Self::Min),
            _ => {
                let expected = "none, add, mul, max or min".into();
                Err(InferError::Attribute { name: "reduction".into(), expected })
            }
        }
    }

    /// Opset in which it came to the scatter operators.
    pub(super) fn since(self) -> i64 {
        match self {
            Self::None => 1,
            Self::Add | Self::Mul => 16,
            Self::Max | Self::Min => 18,
        }
    }

    fn apply<T: Number>(self, old: T, new: T) -> T {
        match self {
            Self::None => new,
            Self::Add => old.plus(new),
            Self::Mul => old.times(new),
            Self::Max => old.larger(new),
            Self::Min => old.smaller(new),
        }
    }
}

/// `data` with each update written to its position, in order; pairs are (position in data, position in updates).
///
/// # Errors
/// When types differ or a reduction is asked of elements that are no numbers.
pub(super) fn scatter(
    data: &Tensor,
    updates: &Tensor,
    writes: impl Iterator<Item = (usize, usize)>,
    reduction: Reduction,
) -> Result<Tensor, EvalError> {
    if reduction == Reduction::None {
        let mut sources: Vec<(usize, usize)> = (0..data.len()).map(|at| (0, at)).collect();
        writes.for_each(|(to, from)| sources[to] = (1, from));
        return crate::select::pick(&[data, updates], data.shape().to_vec(), sources);
    }
    if data.dtype() == DType::Bool {
        // Truths are 0 and 1; whatever a sum of truths is, if not 0, is true.
        let number = |tensor: &Tensor| crate::movement::cast(tensor, DType::I64);
        let result = scatter(&number(data)?, &number(updates)?, writes, reduction)?;
        return crate::movement::cast(&result, DType::Bool);
    }
    dispatch!(numbers, data.dtype(), T => {
        let mut values = data.elements::<T>()?.into_owned();
        let updates = updates.elements::<T>()?;
        writes.for_each(|(to, from)| values[to] = reduction.apply(values[to], updates[from]));
        reduced(data, values)
    })
}

fn reduced<T: Element>(data: &Tensor, values: Vec<T>) -> Result<Tensor, EvalError> {
    Ok(Tensor::from_vec(data.shape().to_vec(), values)?)
}
