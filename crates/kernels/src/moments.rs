//! Sums, mean and variance of a row, which row kernels and GEMM prologues share.
//!
//! Sums run in four registers of lanes and are joined in f64. A mean is kept as two numbers: at 10⁶ the nearest f32 to
//! it may be 0.03 away, which is much for values that spread by 1. Knows no kernel.

use crate::lanes::{Fold, Sum, SumOfSquares};
use pulp::Simd;

/// Where a row lies and how far it spreads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    /// The mean, rounded.
    pub(crate) centre: f32,
    /// What rounding took from the mean: subtract it after `centre`.
    pub(crate) rest: f32,
    /// Mean of the squared distances from the mean.
    pub(crate) variance: f64,
}

/// Rounds a statistic that was joined in f64.
#[allow(clippy::cast_possible_truncation, reason = "statistics are joined in f64 and applied in f32")]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

#[allow(clippy::cast_precision_loss, reason = "a row has fewer than 2^52 elements")]
fn wide(count: usize) -> f64 {
    count as f64
}

/// Sum of a register's lanes, by halves: a chain of additions would cost as much as the rest of a short row.
#[inline(always)]
fn across<S: Simd>(lanes: S::f32s) -> f64 {
    let mut wide = [0.0_f64; 32];
    let values: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&lanes));
    for (wide, value) in wide.iter_mut().zip(values) {
        *wide = f64::from(*value);
    }
    let mut half = S::F32_LANES;
    while half > 1 {
        half /= 2;
        let (low, high) = wide.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
    }
    wide[0]
}

#[inline(always)]
fn joined<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> f64 {
    across::<S>(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

/// Sum of a fold of `x − centre` over a row.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, row: &[f32], centre: f32, fold: impl Fold<S>) -> f64 {
    let (vectors, tail) = S::as_simd_f32s(row);
    let shift = simd.splat_f32s(centre);
    let mut lanes = [simd.splat_f32s(0.0); 4];
    let (quads, rest) = vectors.as_chunks::<4>();
    for quad in quads {
        for (lane, v) in lanes.iter_mut().zip(quad) {
            *lane = fold.lanes(*lane, simd.sub_f32s(*v, shift));
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane = fold.lanes(*lane, simd.sub_f32s(*v, shift));
    }
    let mut total = joined(simd, lanes);
    for value in tail {
        total += f64::from(fold.scalar(0.0, value - centre));
    }
    total
}

/// Sums of `x − centre` and of its square over a row.
#[inline(always)]
fn sums<S: Simd>(simd: S, row: &[f32], centre: f32) -> (f64, f64) {
    let (vectors, tail) = S::as_simd_f32s(row);
    let shift = simd.splat_f32s(centre);
    let mut first = [simd.splat_f32s(0.0); 4];
    let mut second = first;
    let (quads, rest) = vectors.as_chunks::<4>();
    for quad in quads {
        for ((first, second), v) in first.iter_mut().zip(&mut second).zip(quad) {
            let d = simd.sub_f32s(*v, shift);
            *first = simd.add_f32s(*first, d);
            *second = simd.mul_add_e_f32s(d, d, *second);
        }
    }
    for ((first, second), v) in first.iter_mut().zip(&mut second).zip(rest) {
        let d = simd.sub_f32s(*v, shift);
        *first = simd.add_f32s(*first, d);
        *second = simd.mul_add_e_f32s(d, d, *second);
    }
    let mut totals = (joined(simd, first), joined(simd, second));
    for value in tail {
        let d = f64::from(value - centre);
        totals = (totals.0 + d, totals.1 + d * d);
    }
    totals
}

/// Mean and variance of a row. The first pass sums distances from the row's first element, which is as far from the
/// mean as values are from each other, wherever the row lies; the second sums what is left, and its square.
#[inline(always)]
pub(crate) fn moments<S: Simd>(simd: S, row: &[f32]) -> Moments {
    let count = wide(row.len());
    let start = row.first().copied().unwrap_or(0.0);
    let centre = narrow(f64::from(start) + sum(simd, row, start, Sum(simd)) / count);
    let (first, second) = sums(simd, row, centre);
    let rest = first / count;
    Moments { centre, rest: narrow(rest), variance: (second / count - rest * rest).max(0.0) }
}

/// Mean of the squares of a row.
#[inline(always)]
pub(crate) fn mean_square<S: Simd>(simd: S, row: &[f32]) -> f64 {
    sum(simd, row, 0.0, SumOfSquares(simd)) / wide(row.len())
}
