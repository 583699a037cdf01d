//! How far two tensors are apart: the figures, and the limits that they must keep.
//!
//! Figures are computed in f64. An error is measured against the largest magnitude in its row, the last axis: what a
//! reader of a logit or of a hidden state cares about. A row far below the rest of its tensor is measured against a
//! share of the tensor's largest magnitude: its elements are differences of larger terms, whose rounding they carry.

use fusebox_ir::{DType, Tensor};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Least magnitude that a row counts with, as a share of the tensor's largest. At a tolerance of 1e-4 it allows a small
/// row an error of 1e-6 of the tensor: the rounding of a sum of some dozen f32 terms of that size.
const LEAST_ROW: f64 = 1e-2;

/// Distance between a reference tensor and another of the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Elements compared.
    pub elements: usize,
    /// Largest difference of two elements.
    pub max_abs: f64,
    /// Largest difference of two elements as a share of the largest magnitude in the reference's row, or of a hundredth
    /// of that in the whole reference where this is more.
    pub max_rel: f64,
    /// Cosine of the angle between the two; 1 when both are zero.
    pub cosine: f64,
    /// Signal-to-noise ratio in dB, the difference being the noise; infinite (`null` in JSON) when there is none.
    pub sqnr_db: f64,
    /// Elements that are not equal.
    pub different: usize,
    /// Elements that are finite on both sides: where there are none, nothing was compared but where NaN and infinity are.
    pub finite: usize,
    /// Whether elements are counts, indices or truths, of which none may differ.
    pub discrete: bool,
}

/// Limits on [`Metrics`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// Least cosine.
    pub cosine: f64,
    /// Largest error relative to the row's magnitude.
    pub rel: f64,
    /// Largest absolute error.
    pub abs: f64,
    /// Least signal-to-noise ratio, in dB.
    pub sqnr: f64,
}

impl Tolerance {
    /// No limit at all.
    pub const NONE: Self =
        Self { cosine: f64::NEG_INFINITY, rel: f64::INFINITY, abs: f64::INFINITY, sqnr: f64::NEG_INFINITY };
    /// What f32 arithmetic in another order may change.
    pub const F32: Self = Self { cosine: 0.999_999, rel: 1e-4, ..Self::NONE };
    /// Half-width weights.
    pub const HALF: Self = Self { cosine: 0.999_9, ..Self::NONE };
    /// Int8 weights and activations.
    pub const INT8: Self = Self { cosine: 0.999, ..Self::NONE };

    /// The first limit that the figures break, as text; `None` when they keep all.
    ///
    /// Integers of 16 bits and more, and truths, are indices and counts: a limit on the relative error allows none to
    /// differ. Those of 8 bits are quantized numbers.
    pub fn broken_by(&self, metrics: &Metrics) -> Option<String> {
        if metrics.discrete && self.rel.is_finite() && metrics.different > 0 {
            return Some(format!("{} of {} elements differ", metrics.different, metrics.elements));
        }
        // Written so that NaN breaks a limit.
        let at_least = |value: f64, least: f64| value >= least;
        let at_most = |value: f64, most: f64| value <= most;
        if !at_most(metrics.max_rel, self.rel) {
            Some(format!("relative error {:.2e} is over {:.2e}", metrics.max_rel, self.rel))
        } else if !at_most(metrics.max_abs, self.abs) {
            Some(format!("absolute error {:.2e} is over {:.2e}", metrics.max_abs, self.abs))
        } else if !at_least(metrics.cosine, self.cosine) {
            Some(format!("cosine {:.7} is under {}", metrics.cosine, self.cosine))
        } else if !at_least(metrics.sqnr_db, self.sqnr) {
            Some(format!("signal to noise {:.1} dB is under {} dB", metrics.sqnr_db, self.sqnr))
        } else {
            None
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.cosine.is_finite() {
            parts.push(format!("cosine ≥ {}", self.cosine));
        }
        if self.rel.is_finite() {
            parts.push(format!("relative error ≤ {:e}", self.rel));
        }
        if self.abs.is_finite() {
            parts.push(format!("absolute error ≤ {:e}", self.abs));
        }
        if self.sqnr.is_finite() {
            parts.push(format!("signal to noise ≥ {} dB", self.sqnr));
        }
        f.write_str(if parts.is_empty() { "none" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// A tolerance that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} is no limit; write for example `rel=1e-3,cosine=0.999`, with any of abs, rel (zero or more), cosine (-1 to 1), sqnr"
)]
pub struct ToleranceError {
    /// The part that is wrong.
    pub part: String,
}

impl FromStr for Tolerance {
    type Err = ToleranceError;

    /// `rel=1e-3,cosine=0.999`: limits that are not named are lifted.
    fn from_str(text: &str) -> Result<Self, ToleranceError> {
        let mut tolerance = Self::NONE;
        for part in text.split(',') {
            let wrong = || ToleranceError { part: part.to_owned() };
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            let value: f64 = value.trim().parse().map_err(|_| wrong())?;
            // A limit that no result can keep, or that none can break, is a slip of the pen; NaN lies in no range.
            let (limit, range) = match key.trim() {
                "cosine" => (&mut tolerance.cosine, -1.0..=1.0),
                "rel" => (&mut tolerance.rel, 0.0..=f64::INFINITY),
                "abs" => (&mut tolerance.abs, 0.0..=f64::INFINITY),
                "sqnr" => (&mut tolerance.sqnr, f64::NEG_INFINITY..=f64::INFINITY),
                _ => return Err(wrong()),
            };
            if !range.contains(&value) {
                return Err(wrong());
            }
            *limit = value;
        }
        Ok(tolerance)
    }
}

/// Elements as f64; booleans are 0 and 1. `None` for strings, complex and sub-byte types.
pub fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    fn wide<T: fusebox_ir::tensor::Element + Into<f64>>(tensor: &Tensor) -> Option<Vec<f64>> {
        Some(tensor.elements::<T>().ok()?.iter().map(|x| (*x).into()).collect())
    }
    match tensor.dtype() {
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => tensor.floats(),
        DType::I64 => Some(tensor.elements::<i64>().ok()?.iter().map(|x| *x as f64).collect()),
        DType::U64 => Some(tensor.elements::<u64>().ok()?.iter().map(|x| *x as f64).collect()),
        DType::I32 => wide::<i32>(tensor),
        DType::U32 => wide::<u32>(tensor),
        DType::I16 => wide::<i16>(tensor),
        DType::U16 => wide::<u16>(tensor),
        DType::I8 => wide::<i8>(tensor),
        DType::U8 => wide::<u8>(tensor),
        DType::Bool => Some(tensor.data().iter().map(|byte| f64::from(*byte != 0)).collect()),
        _ => None,
    }
}

/// Compares a tensor with a reference. `Err` says why they cannot be compared.
///
/// # Errors
/// Another element type or shape, as text.
pub fn compare(reference: &Tensor, other: &Tensor) -> Result<Metrics, String> {
    if reference.ty() != other.ty() {
        return Err(format!("{} became {}", reference.ty(), other.ty()));
    }
    let (Some(a), Some(b)) = (numbers(reference), numbers(other)) else {
        let equal = reference == other;
        let (error, cosine) = if equal { (0.0, 1.0) } else { (f64::INFINITY, 0.0) };
        let sqnr_db = if equal { f64::INFINITY } else { 0.0 };
        let different = usize::from(!equal) * reference.len();
        return Ok(Metrics {
            elements: reference.len(),
            max_abs: error,
            max_rel: error,
            cosine,
            sqnr_db,
            different,
            finite: reference.len(),
            discrete: true,
        });
    };
    let mut metrics = measure(&a, &b, reference.shape().last().copied().unwrap_or(1));
    let width = reference.dtype().bits() / 8;
    metrics.discrete = !reference.dtype().is_float() && (width > 1 || reference.dtype() == DType::Bool);
    if width == 8 && metrics.discrete {
        // f64 does not tell neighbours past 2^53 apart.
        let pairs = reference.data().chunks(8).zip(other.data().chunks(8));
        metrics.different = pairs.filter(|(a, b)| a != b).count();
    }
    Ok(metrics)
}

/// Magnitude from which a number is taken for one that hides a position.
const ERASES: f64 = 1e9;

fn measure(a: &[f64], b: &[f64], row: usize) -> Metrics {
    // Numbers that erase a score under softmax say nothing of the scores beside them, where both sides have them.
    let erases = |x: f64, y: f64| x.is_finite() && x.abs() >= ERASES && (x - y).abs() <= 1e-6 * x.abs();
    let rows = || a.chunks(row.max(1)).zip(b.chunks(row.max(1)));
    let largest = |(x, y): (&[f64], &[f64])| {
        let counted = x.iter().zip(y).filter(|(x, y)| x.is_finite() && !erases(**x, **y));
        counted.fold(0f64, |m, (x, _)| m.max(x.abs()))
    };
    let mut magnitudes: Vec<f64> = rows().map(largest).collect();
    magnitudes.sort_by(f64::total_cmp);
    let least = magnitudes.get(magnitudes.len() / 2).copied().unwrap_or(0.0) * LEAST_ROW;
    let (mut max_abs, mut max_rel, mut different) = (0f64, 0f64, 0usize);
    let (mut aa, mut bb, mut ab, mut noise) = (0f64, 0f64, 0f64, 0f64);
    for (x, y) in rows() {
        let magnitude = largest((x, y)).max(least);
        for (x, y) in x.iter().zip(y) {
            let same = x == y || (x.is_nan() && y.is_nan());
            let error = if same { 0.0 } else { (x - y).abs() };
            // A NaN or an infinity on one side only is as wrong as can be.
            let error = if error.is_nan() { f64::INFINITY } else { error };
            different += usize::from(!same);
            if erases(*x, *y) {
                continue;
            }
            max_abs = max_abs.max(error);
            max_rel = max_rel.max(if error == 0.0 { 0.0 } else { error / magnitude.max(f64::MIN_POSITIVE) });
            noise += error * error;
            if x.is_finite() && y.is_finite() {
                (aa, bb, ab) = (aa + x * x, bb + y * y, ab + x * y);
            }
        }
    }
    let cosine = match (aa == 0.0, bb == 0.0) {
        _ if different == 0 => 1.0,
        (true, true) => f64::from(u8::from(noise == 0.0)),
        (true, false) | (false, true) => 0.0,
        (false, false) if noise.is_infinite() => 0.0,
        (false, false) => ab / (aa * bb).sqrt(),
    };
    let sqnr_db = if noise == 0.0 { f64::INFINITY } else { 10.0 * (aa / noise).log10() };
    let finite = a.iter().zip(b).filter(|(x, y)| x.is_finite() && y.is_finite()).count();
    Metrics { elements: a.len(), max_abs, max_rel, cosine, sqnr_db, different, finite, discrete: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: [f32; 4]) -> Tensor {
        Tensor::from_vec(vec![2, 2], values.to_vec()).unwrap()
    }

    #[test]
    fn errors_are_relative_to_the_largest_of_their_row() {
        let metrics = compare(&rows([1.0, 100.0, 1.0, 2.0]), &rows([2.0, 100.0, 1.0, 2.0])).unwrap();
        assert_eq!((metrics.max_abs, metrics.max_rel, metrics.different), (1.0, 0.01, 1));
        assert!(Tolerance::F32.broken_by(&metrics).unwrap().starts_with("relative error 1.00e-2"));
    }

    #[test]
    fn numbers_that_erase_scores_hide_no_errors() {
        let row =
            |x: f32, mask: f32| Tensor::from_vec(vec![3, 2], vec![1.0, mask, x, 2.0, mask, mask]).unwrap();
        for mask in [f32::MIN, -1e9, -1e30] {
            let found = compare(&row(1.0, mask), &row(1.5, mask)).unwrap();
            assert_eq!(found.max_rel, 0.25, "{mask}");
            assert!(
                Tolerance::F32.broken_by(&found).is_some() && Tolerance::INT8.broken_by(&found).is_some()
            );
            assert_eq!(Tolerance::F32.broken_by(&compare(&row(1.0, mask), &row(1.0, mask)).unwrap()), None);
            assert!(
                Tolerance::F32.broken_by(&compare(&row(1.0, mask), &row(1.0, mask / 2.0)).unwrap()).is_some()
            );
        }
    }

    #[test]
    fn rows_far_below_the_rest_are_held_to_the_rounding_of_the_rest() {
        let metrics = compare(&rows([1.0, 0.5, 1e-4, 2e-4]), &rows([1.0, 0.5, 1e-4, 2.002e-4])).unwrap();
        assert!((metrics.max_rel - 2e-5).abs() < 1e-7, "{}", metrics.max_rel);
        let metrics = compare(&rows([1.0, 0.5, 1e-4, 2e-4]), &rows([1.0, 0.5, 1e-4, 3e-4])).unwrap();
        assert!(Tolerance::F32.broken_by(&metrics).is_some());
    }

    #[test]
    fn indices_do_not_differ_at_all() {
        let tokens = |last: i64| Tensor::from_vec(vec![2], vec![50_000, last]).unwrap();
        let metrics = compare(&tokens(1 << 60), &tokens((1 << 60) + 1)).unwrap();
        assert_eq!(Tolerance::F32.broken_by(&metrics).unwrap(), "1 of 2 elements differ");
        assert_eq!(Tolerance::INT8.broken_by(&metrics), None);
        assert_eq!(Tolerance::F32.broken_by(&compare(&tokens(7), &tokens(7)).unwrap()), None);
        let bytes = |last: u8| Tensor::from_vec(vec![2], vec![200, last]).unwrap();
        assert!(!compare(&bytes(1), &bytes(2)).unwrap().discrete);
    }

    #[test]
    fn nan_matches_nan_and_nothing_else() {
        let nan = [f32::NAN, 1.0, 2.0, 3.0];
        let metrics = compare(&rows(nan), &rows(nan)).unwrap();
        assert_eq!((metrics.max_abs, metrics.cosine), (0.0, 1.0));
        let metrics = compare(&rows([0.0, 1.0, 2.0, 3.0]), &rows(nan)).unwrap();
        assert!(metrics.max_rel.is_infinite() && Tolerance::INT8.broken_by(&metrics).is_some());
    }

    #[test]
    fn equal_tensors_keep_every_limit_and_other_shapes_are_no_match() {
        let x = rows([0.0; 4]);
        let metrics = compare(&x, &x).unwrap();
        assert_eq!((metrics.cosine, metrics.sqnr_db), (1.0, f64::INFINITY));
        assert_eq!(Tolerance::F32.broken_by(&metrics), None);
        let flat = Tensor::vector(vec![0f32; 4]);
        assert_eq!(compare(&x, &flat).unwrap_err(), "f32[2, 2] became f32[4]");
    }

    #[test]
    fn tolerances_are_read_and_written() {
        let tolerance: Tolerance = "rel=1e-3,cosine=0.99".parse().unwrap();
        assert_eq!(tolerance.to_string(), "cosine ≥ 0.99, relative error ≤ 1e-3");
        assert!("rel".parse::<Tolerance>().is_err() && "speed=2".parse::<Tolerance>().is_err());
    }
}
