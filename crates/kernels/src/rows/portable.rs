//! Row bodies in vector registers, for any instruction set pulp knows.
//!
//! The statistics of a row are those of [`crate::moments`].

use super::norm::{NormKind, NormRow};
use crate::lanes::{Sum, map_lanes, zip_lanes};
use crate::math::exp_of_negative;
use crate::moments::{Moments, mean_square, moments, narrow, sum};
use pulp::Simd;

impl pulp::WithSimd for NormRow<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Moments { centre, rest, variance } = match self.kind {
            NormKind::Layer => moments(simd, self.row),
            NormKind::Rms => Moments { centre: 0.0, rest: 0.0, variance: mean_square(simd, self.row) },
        };
        let factor = narrow(1.0 / (variance + f64::from(self.epsilon)).sqrt());
        scale_row(simd, self, (centre, rest), factor);
    }
}

/// `output = (row − mean)·factor·gamma + beta`, the mean in two parts.
#[inline(always)]
fn scale_row<S: Simd>(simd: S, norm: NormRow<'_>, mean: (f32, f32), factor: f32) {
    let NormRow { row, gamma, beta, output, .. } = norm;
    let (centre, rest) = (simd.splat_f32s(mean.0), simd.splat_f32s(mean.1));
    let scale = simd.splat_f32s(factor);
    let (vectors, tail) = S::as_simd_f32s(row);
    let (out, out_tail) = S::as_mut_simd_f32s(output);
    let gammas = gamma.map(S::as_simd_f32s);
    let betas = beta.map(S::as_simd_f32s);
    for (i, (out, v)) in out.iter_mut().zip(vectors).enumerate() {
        let y = simd.mul_f32s(simd.sub_f32s(simd.sub_f32s(*v, centre), rest), scale);
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
        *out = (v - mean.0 - mean.1) * factor * gamma + beta;
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
            // Two subtractions: the sum of both would round at the magnitude of the maximum.
            let shift = simd.splat_f32s(narrow(total.ln()));
            map_lanes!(S, simd, output, v => simd.sub_f32s(simd.sub_f32s(v, center), shift));
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
