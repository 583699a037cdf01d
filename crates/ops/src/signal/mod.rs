//! Signals: Fourier transforms, window functions, mel filters.

mod dft;
mod fourier;
mod mel_weight_matrix;
mod stft;
mod window_functions;

use crate::op::Eval;
use crate::{EvalError, Op};

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &dft::Dft,
    &mel_weight_matrix::MelWeightMatrix,
    &stft::Stft,
    &window_functions::BLACKMAN,
    &window_functions::HAMMING,
    &window_functions::HANN,
];

/// The one integer of an optional input.
fn integer(cx: &Eval<'_>, index: usize) -> Result<Option<i64>, EvalError> {
    match cx.integers(index)?.as_deref() {
        None => Ok(None),
        Some([value]) => Ok(Some(*value)),
        Some(values) => Err(EvalError::value(format!("input {index} must be one integer, it is {values:?}"))),
    }
}

/// The one size of a required input.
fn size(cx: &Eval<'_>, index: usize, name: &str, least: i64) -> Result<usize, EvalError> {
    let value = integer(cx, index)?.ok_or(crate::InferError::MissingInput { index })?;
    let size = usize::try_from(value).ok().filter(|_| value >= least);
    size.ok_or_else(|| EvalError::value(format!("{name} must be at least {least}, it is {value}")))
}
