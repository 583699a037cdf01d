//! Row bodies in vector registers, for any instruction set pulp knows.
//!
//! Sums run in four registers of lanes and are joined in f64.

use super::norm::{NormKind, NormRow};
use crate::lanes::{Fold, Sum, SumOfSquares, map_lanes, zip_lanes};
use crate::math::exp_of_negative;
use pulp::Simd;

/// Sum of a fold of `x − center` over a row.
#[inline(always)]
fn sum<S: Simd>(simd: S, row: &[f32], center: f32, fold: impl Fold<S>) -> f64 {
    let (vectors, tail) = S::as_simd_f32s(row);
    let shift = simd.splat_f32s(center);
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
    let [a, b, c, d] = lanes;
    let total = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
    // Halving: a chain of additions would cost as much as the rest of a short row.
    let mut wide = [0.0_f64; 32];
    let values: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&total));
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
    let mut joined = wide[0];
    for value in tail {
        joined += f64::from(fold.scalar(0.0, value - center));
    }
    joined
}

#[allow(clippy::cast_possible_truncation, reason = "statistics are joined in f64 and applied in f32")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

#[allow(clippy::cast_precision_loss, reason = "a row has fewer than 2^52 elements")]
fn wide(count: usize) -> f64 {
    count as f64
}

impl pulp::WithSimd for NormRow<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = wide(self.row.len());
        let mean = match self.kind {
            NormKind::Layer => narrow(sum(simd, self.row, 0.0, Sum(simd)) / n),
            NormKind::Rms => 0.0,
        };
        let variance = sum(simd, self.row, mean, SumOfSquares(simd)) / n;
        let factor = narrow(1.0 / (variance + f64::from(self.epsilon)).sqrt());
        scale_row(simd, self, mean, factor);
    }
}

/// `output = (row − mean)·factor·gamma + beta`.
#[inline(always)]
fn scale_row<S: Simd>(simd: S, norm: NormRow<'_>, mean: f32, factor: f32) {
    let NormRow { row, gamma, beta, output, .. } = norm;
    let (center, scale) = (simd.splat_f32s(mean), simd.splat_f32s(factor));
    let (vectors, tail) = S::as_simd_f32s(row);
    let (out, out_tail) = S::as_mut_simd_f32s(output);
    let gammas = gamma.map(S::as_simd_f32s);
    let betas = beta.map(S::as_simd_f32s);
    for (i, (out, v)) in out.iter_mut().zip(vectors).enumerate() {
        let y = simd.mul_f32s(simd.sub_f32s(*v, center), scale);
        *out = match (gammas, betas) {
            (Some((gamma, _)), Some((beta, _))) => simd.mul_add_e_f32s(y, gamma[i], beta[i]),
            (Some((gamma, _)), None) => simd.mul_f32s(y, gamma[i]),
            (None, Some((beta, _))) => simd.add_f32s(y, beta[i]),
            (None, None) => y,
        };
    }
    for (i, (out, v)) in out_tail.iter_mut().zip(tail).enumerate() {
        let gamma = gammas.map_or(1.0, |(_, tail)| tail[i]);
        let beta = betas.map_or(0.0, |(_, tail)| tail[i]);
        *out = (v - mean) * factor * gamma + beta;
    }
}

/// Softmax of one staged row.
pub(super) struct Softmax<'a> {
    pub(super) row: &'a mut [f32],
    pub(super) output: &'a mut [f32],
    pub(super) log: bool,
}

impl pulp::WithSimd for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { row, output, log } = self;
        let Some(largest) = largest(simd, row) else {
            output.fill(f32::NAN);
            return;
        };
        let center = simd.splat_f32s(largest);
        if log {
            output.copy_from_slice(row);
        }
        map_lanes!(S, simd, row, v => exp_of_negative(simd, simd.sub_f32s(v, center)));
        let total = sum(simd, row, 0.0, Sum(simd));
        if log {
            let shift = simd.splat_f32s(narrow(f64::from(largest) + total.ln()));
            map_lanes!(S, simd, output, v => simd.sub_f32s(v, shift));
            return;
        }
        let scale = simd.splat_f32s(narrow(1.0 / total));
        zip_lanes!(S, simd, output, row, v => simd.mul_f32s(v, scale));
    }
}

/// The largest element, `None` where the row has none that is finite, or a NaN.
#[inline(always)]
fn largest<S: Simd>(simd: S, row: &[f32]) -> Option<f32> {
    let (vectors, tail) = S::as_simd_f32s(row);
    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
    let mut poison = simd.splat_f32s(0.0);
    for v in vectors {
        most = simd.max_f32s(most, *v);
        poison = simd.select_f32s(simd.equal_f32s(*v, *v), poison, *v);
    }
    let tail_most = tail.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let poisoned = simd.reduce_sum_f32s(poison).is_nan() || tail.iter().any(|v| v.is_nan());
    // After a NaN the running maximum is unspecified, but then the row is poisoned.
    Some(simd.reduce_max_f32s(most).max(tail_most)).filter(|most| most.is_finite() && !poisoned)
}
