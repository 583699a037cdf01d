//! How far two tensors are apart, in f64: absolute, relative to the row, cosine, SQNR, units in the last place.
//!
//! A relative error is measured against the largest magnitude of the reference's row (its last axis), because single
//! elements near zero say nothing about the accuracy of a sum. Equal infinities and NaNs in the same place agree; any
//! other non-finite difference is infinite.

use fusebox_ir::{DType, Tensor};
use std::fmt;

/// How well a candidate agrees with its reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Largest difference relative to the largest magnitude of its row in the reference; a row of zeros is measured
    /// against the whole tensor.
    pub max_rel: f64,
    /// Cosine of the angle between the two as vectors; 1 when both are zero.
    pub cosine: f64,
    /// Signal to quantization noise ratio in dB; infinite when equal.
    pub sqnr: f64,
    /// Flat index of the element with the largest relative difference.
    pub worst: usize,
    /// Reference and candidate there.
    pub values: (f64, f64),
}

/// What agreement is asked for. The default asks for equal bits of finite numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// An absolute difference so small that the other limits are not asked.
    pub max_abs: f64,
    /// Largest relative difference allowed.
    pub max_rel: f64,
    /// Smallest cosine allowed.
    pub cosine: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_abs: 0.0, max_rel: 0.0, cosine: 1.0 - 1e-12 }
    }
}

impl Limits {
    /// What an f32 rewrite is held to: 1e-4 of the row's magnitude, cosine 0.999999.
    pub fn f32() -> Self {
        Self { max_abs: 1e-6, max_rel: 1e-4, cosine: 0.999_999 }
    }

    /// What half-width weights are held to: 2% of the row's magnitude, cosine 0.9999.
    pub fn half() -> Self {
        Self { max_abs: 1e-3, max_rel: 2e-2, cosine: 0.9999 }
    }
}

/// Why two tensors do not agree.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Disagreement {
    /// Types or shapes differ.
    #[error("expected {expected}, found {found}")]
    Type {
        /// Type of the reference.
        expected: String,
        /// Type of the candidate.
        found: String,
    },
    /// Elements of a type that is not compared as numbers differ.
    #[error("elements of {ty} differ")]
    Elements {
        /// The type.
        ty: String,
    },
    /// Beyond the limits.
    #[error("{agreement} exceeds {limits:?}")]
    Beyond {
        /// What was found.
        agreement: Agreement,
        /// What was asked for.
        limits: Limits,
    },
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_abs, max_rel, cosine, sqnr, worst, values: (reference, candidate) } = self;
        write!(
            f,
            "max abs {max_abs:.3e}, max rel {max_rel:.3e}, cosine {cosine:.9}, SQNR {sqnr:.1} dB, worst at {worst}: \
             {reference} against {candidate}"
        )
    }
}

/// Elements as f64; `None` for strings, complex and sub-byte types.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    fn wide<T: fusebox_ir::tensor::Element>(tensor: &Tensor, f: impl Fn(&T) -> f64) -> Option<Vec<f64>> {
        Some(tensor.elements::<T>().ok()?.iter().map(f).collect())
    }
    match tensor.dtype() {
        DType::I8 => wide(tensor, |v: &i8| f64::from(*v)),
        DType::I16 => wide(tensor, |v: &i16| f64::from(*v)),
        DType::I32 => wide(tensor, |v: &i32| f64::from(*v)),
        DType::I64 => wide(tensor, |v: &i64| *v as f64),
        DType::U8 => wide(tensor, |v: &u8| f64::from(*v)),
        DType::U16 => wide(tensor, |v: &u16| f64::from(*v)),
        DType::U32 => wide(tensor, |v: &u32| f64::from(*v)),
        DType::U64 => wide(tensor, |v: &u64| *v as f64),
        DType::Bool => Some(tensor.data().iter().map(|v| f64::from(u8::from(*v != 0))).collect()),
        _ => tensor.floats(),
    }
}

/// Measures a candidate against a reference of the same type.
///
/// # Errors
/// When types differ, or elements that are not numbers do.
pub fn compare(reference: &Tensor, candidate: &Tensor) -> Result<Agreement, Disagreement> {
    if reference.ty() != candidate.ty() {
        let (expected, found) = (reference.ty().to_string(), candidate.ty().to_string());
        return Err(Disagreement::Type { expected, found });
    }
    let (Some(left), Some(right)) = (numbers(reference), numbers(candidate)) else {
        let same = reference == candidate;
        return if same { Ok(measure(&[], &[], 1)) } else { Err(elements_differ(reference)) };
    };
    Ok(measure(&left, &right, reference.shape().last().copied().unwrap_or(1)))
}

fn elements_differ(tensor: &Tensor) -> Disagreement {
    Disagreement::Elements { ty: tensor.ty().to_string() }
}

fn difference(left: f64, right: f64) -> f64 {
    match () {
        () if left == right || (left.is_nan() && right.is_nan()) => 0.0,
        () if left.is_finite() && right.is_finite() => (left - right).abs(),
        () => f64::INFINITY,
    }
}

fn magnitude(row: &[f64]) -> f64 {
    row.iter().filter(|v| v.is_finite()).fold(0.0, |largest: f64, v| largest.max(v.abs()))
}

fn measure(left: &[f64], right: &[f64], row: usize) -> Agreement {
    let mut agreement = Agreement {
        max_abs: 0.0,
        max_rel: 0.0,
        cosine: 1.0,
        sqnr: f64::INFINITY,
        worst: 0,
        values: (0.0, 0.0),
    };
    let whole = magnitude(left);
    let (mut dot, mut left_square, mut right_square, mut noise) = (0.0, 0.0, 0.0, 0.0);
    for (number, (a, b)) in left.chunks(row.max(1)).zip(right.chunks(row.max(1))).enumerate() {
        let scale = match magnitude(a) {
            0.0 => whole,
            scale => scale,
        };
        for (index, (x, y)) in a.iter().zip(b).enumerate() {
            let apart = difference(*x, *y);
            agreement.max_abs = agreement.max_abs.max(apart);
            let relative = if apart == 0.0 { 0.0 } else { apart / scale };
            if relative > agreement.max_rel {
                agreement.max_rel = relative;
                (agreement.worst, agreement.values) = (number * row + index, (*x, *y));
            }
            if apart.is_infinite() || (x.is_finite() && y.is_finite()) {
                dot += x * y;
                left_square += x * x;
                right_square += y * y;
                noise += apart * apart;
            }
        }
    }
    if left_square > 0.0 || right_square > 0.0 {
        agreement.cosine = dot / (left_square * right_square).sqrt();
    }
    if noise > 0.0 {
        agreement.sqnr = 10.0 * (left_square / noise).log10();
    }
    agreement
}

impl Agreement {
    /// Whether the limits hold. NaN holds nothing.
    pub fn within(&self, limits: &Limits) -> bool {
        self.max_abs <= limits.max_abs || (self.max_rel <= limits.max_rel && self.cosine >= limits.cosine)
    }
}

/// Compares and holds the result to limits.
///
/// # Errors
/// When types differ or a limit is exceeded.
pub fn check(reference: &Tensor, candidate: &Tensor, limits: &Limits) -> Result<Agreement, Disagreement> {
    let agreement = compare(reference, candidate)?;
    if agreement.within(limits) {
        Ok(agreement)
    } else {
        Err(Disagreement::Beyond { agreement, limits: *limits })
    }
}

/// Panics with the whole comparison when a limit is exceeded.
#[track_caller]
pub fn assert_close(reference: &Tensor, candidate: &Tensor, limits: &Limits) {
    if let Err(disagreement) = check(reference, candidate, limits) {
        panic!("{disagreement}");
    }
}

/// Number of representable f32 between two; 0 for equal numbers (zeros of either sign, two NaNs), the largest number
/// for NaN against anything else.
pub fn ulp_distance(left: f32, right: f32) -> u32 {
    if left.is_nan() || right.is_nan() {
        return if left.is_nan() && right.is_nan() { 0 } else { u32::MAX };
    }
    // Maps floats to integers in their order, both zeros to 0.
    let place = |value: f32| {
        let bits = i64::from(value.to_bits() & 0x7fff_ffff);
        if value.is_sign_negative() { -bits } else { bits }
    };
    u32::try_from((place(left) - place(right)).unsigned_abs()).unwrap_or(u32::MAX)
}

/// Largest [`ulp_distance`] of two f32 slices of one length.
///
/// # Panics
/// When the lengths differ.
pub fn max_ulp(left: &[f32], right: &[f32]) -> u32 {
    assert_eq!(left.len(), right.len(), "slices of one length");
    left.iter().zip(right).map(|(a, b)| ulp_distance(*a, *b)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f32]) -> Tensor {
        Tensor::from_vec(vec![2, values.len() / 2], values.to_vec()).unwrap()
    }

    #[test]
    fn errors_are_relative_to_their_row() {
        let agreement = compare(&rows(&[1.0, 100.0, 0.01, 0.02]), &rows(&[1.5, 100.0, 0.01, 0.025])).unwrap();
        assert!((agreement.max_abs - 0.5).abs() < 1e-6 && (agreement.max_rel - 0.25).abs() < 1e-6);
        assert_eq!(agreement.worst, 3);
        assert!(agreement.cosine > 0.9999 && agreement.sqnr > 45.0 && agreement.sqnr < 47.0);
    }

    #[test]
    fn what_is_not_finite_must_be_equal() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        assert_eq!(
            compare(&rows(&[inf, nan, 1.0, 0.0]), &rows(&[inf, nan, 1.0, -0.0])).unwrap().max_abs,
            0.0
        );
        for (left, right) in [(inf, -inf), (nan, 1.0), (1.0, nan), (inf, 1.0)] {
            let agreement = compare(&rows(&[left, 1.0]), &rows(&[right, 1.0])).unwrap();
            assert!(
                !agreement.within(&Limits { max_abs: 1e30, max_rel: 1e30, cosine: -1.0 }),
                "{left} {right}"
            );
        }
    }

    #[test]
    fn limits_and_types_are_enforced() {
        let (a, b) = (rows(&[1.0, 2.0]), rows(&[1.0, 2.001]));
        assert!(check(&a, &b, &Limits::f32()).is_err() && check(&a, &b, &Limits::half()).is_ok());
        assert!(check(&a, &a, &Limits::default()).is_ok());
        assert!(matches!(compare(&a, &Tensor::scalar(1.0f32)), Err(Disagreement::Type { .. })));
        assert!(matches!(compare(&a, &Tensor::vector(vec![1f64])), Err(Disagreement::Type { .. })));
        let zeros = rows(&[0.0, 0.0]);
        assert!(
            check(&zeros, &zeros, &Limits::default()).is_ok() && check(&zeros, &a, &Limits::half()).is_err()
        );
    }

    #[test]
    fn ulps_count_across_zero() {
        assert_eq!(ulp_distance(1.0, f32::from_bits(1.0f32.to_bits() + 3)), 3);
        assert_eq!(ulp_distance(-f32::from_bits(2), f32::from_bits(1)), 3);
        assert_eq!((ulp_distance(0.0, -0.0), ulp_distance(f32::NAN, 1.0)), (0, u32::MAX));
    }
}
