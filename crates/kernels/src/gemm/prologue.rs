//! What happens to a row of A before it is multiplied: normalised, quantized, or rounded to bf16.
//!
//! Rows are prepared once into scratch, in a phase of their own, so that tiles which share rows do not repeat it.
//! Int8 follows ONNX DynamicQuantizeLinear, per row, or over all rows when the range is given.

use super::epilogue::RowQuant;
use super::packed::Precision;
use crate::math;
use crate::moments::{Moments, mean_square, moments, narrow};
use half::bf16;
use pulp::Simd;
use std::sync::Arc;

/// A normalisation over each row of A, fused into the GEMM that consumes it.
#[derive(Clone, Debug, Default)]
pub enum Prologue {
    /// Rows are taken as they are.
    #[default]
    None,
    /// `(x − mean)/√(variance + epsilon)·gamma + beta`. Absent gamma is 1 (folded into the weights), absent beta 0.
    LayerNorm {
        /// Factor per column of A.
        gamma: Option<Arc<[f32]>>,
        /// Offset per column of A.
        beta: Option<Arc<[f32]>>,
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x/√(mean(x²) + epsilon)·gamma`.
    RmsNorm {
        /// Factor per column of A.
        gamma: Option<Arc<[f32]>>,
        /// Added to the mean square.
        epsilon: f32,
    },
}

impl Prologue {
    /// The parameter vectors with their names, for the length check.
    pub(crate) fn vectors(&self) -> [(&'static str, Option<&Arc<[f32]>>); 2] {
        match self {
            Self::None => [("gamma", None), ("beta", None)],
            Self::LayerNorm { gamma, beta, .. } => [("gamma", gamma.as_ref()), ("beta", beta.as_ref())],
            Self::RmsNorm { gamma, .. } => [("gamma", gamma.as_ref()), ("beta", None)],
        }
    }

    /// Whether rows change.
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Prepares one row: `input` normalised into `values` (without a prologue and an input, `values` holds the row already), which is then left as it is (f32 precisions) or converted into
/// `output`, the row of scratch as bytes, padded with zeros. Returns how an int8 row maps back.
pub(crate) struct PrepareRow<'a> {
    pub(crate) prologue: &'a Prologue,
    pub(crate) precision: Precision,
    pub(crate) input: &'a [f32],
    pub(crate) values: &'a mut [f32],
    pub(crate) output: &'a mut [u8],
    /// Range to quantize by, instead of the row's own.
    pub(crate) range: Option<(f32, f32)>,
    /// Levels to quantize to, instead of those that a range gives.
    pub(crate) levels: Option<math::Levels>,
}

/// The range that holds two, NaN where either is.
pub(crate) fn wider(a: (f32, f32), b: (f32, f32)) -> (f32, f32) {
    if a.0.is_nan() || b.0.is_nan() { (f32::NAN, f32::NAN) } else { (a.0.min(b.0), a.1.max(b.1)) }
}

/// Smallest and largest value of a row, zero included, both NaN where some value is not finite.
pub(crate) struct RowRange<'a>(pub(crate) &'a [f32]);

impl pulp::WithSimd for RowRange<'_> {
    type Output = (f32, f32);
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f32, f32) {
        range(simd, self.0)
    }
}

impl pulp::WithSimd for PrepareRow<'_> {
    type Output = RowQuant;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> RowQuant {
        match self.prologue {
            Prologue::None if self.input.is_empty() => {}
            Prologue::None => self.values.copy_from_slice(self.input),
            Prologue::LayerNorm { gamma, beta, epsilon } => {
                layer_norm(simd, self.input, gamma.as_deref(), beta.as_deref(), *epsilon, self.values);
            }
            Prologue::RmsNorm { gamma, epsilon } => {
                rms_norm(simd, self.input, gamma.as_deref(), *epsilon, self.values);
            }
        }
        match self.precision {
            Precision::F32 | Precision::F16 | Precision::Bf16 => {}
            Precision::Int8 => {
                return match self.levels {
                    Some(levels) => to_levels(simd, levels, self.values, self.output),
                    None => quantize(simd, self.values, self.output, self.range),
                };
            }
            Precision::Bf16Dot => round_to_bf16(self.values, self.output),
        }
        RowQuant { scale: 1.0, zero_point: 0 }
    }
}

#[inline(always)]
fn layer_norm<S: Simd>(
    simd: S,
    input: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    epsilon: f32,
    out: &mut [f32],
) {
    let Moments { centre, rest, variance } = moments(simd, input);
    let factor = narrow(1.0 / (variance + f64::from(epsilon)).sqrt());
    // Plain loops: they run inside the features of S and vectorise.
    match gamma {
        Some(gamma) => {
            for ((y, x), g) in out.iter_mut().zip(input).zip(gamma) {
                *y = (x - centre - rest) * factor * g;
            }
        }
        None => {
            for (y, x) in out.iter_mut().zip(input) {
                *y = (x - centre - rest) * factor;
            }
        }
    }
    for (y, b) in out.iter_mut().zip(beta.unwrap_or_default()) {
        *y += b;
    }
}

#[inline(always)]
fn rms_norm<S: Simd>(simd: S, input: &[f32], gamma: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
    let factor = narrow(1.0 / (mean_square(simd, input) + f64::from(epsilon)).sqrt());
    match gamma {
        Some(gamma) => {
            for ((y, x), g) in out.iter_mut().zip(input).zip(gamma) {
                *y = x * factor * g;
            }
        }
        None => {
            for (y, x) in out.iter_mut().zip(input) {
                *y = x * factor;
            }
        }
    }
}

/// Smallest and largest value so far, zero included, and NaN from the first value on that is not finite: min and max
/// drop NaN on some instruction sets.
#[derive(Clone, Copy)]
struct Extremes<S: Simd> {
    low: S::f32s,
    high: S::f32s,
    poison: S::f32s,
}

impl<S: Simd> Extremes<S> {
    #[inline(always)]
    fn with(self, simd: S, v: S::f32s) -> Self {
        let zero = simd.splat_f32s(0.0);
        Self {
            low: simd.min_f32s(v, self.low),
            high: simd.max_f32s(v, self.high),
            poison: simd.mul_add_e_f32s(v, zero, self.poison),
        }
    }

    #[inline(always)]
    fn join(self, simd: S, other: Self) -> Self {
        Self {
            low: simd.min_f32s(self.low, other.low),
            high: simd.max_f32s(self.high, other.high),
            poison: simd.add_f32s(self.poison, other.poison),
        }
    }
}

/// Smallest and largest value of a row, zero included, both NaN where some value is not finite.
#[inline(always)]
fn range<S: Simd>(simd: S, row: &[f32]) -> (f32, f32) {
    let (vectors, tail) = S::as_simd_f32s(row);
    let zero = simd.splat_f32s(0.0);
    let mut chains = [Extremes { low: zero, high: zero, poison: zero }; 4];
    let (fours, rest) = vectors.as_chunks::<4>();
    for four in fours {
        for (chain, v) in chains.iter_mut().zip(four) {
            *chain = chain.with(simd, *v);
        }
    }
    for v in rest {
        chains[0] = chains[0].with(simd, *v);
    }
    let [a, b, c, d] = chains;
    let b = b.with(simd, simd.partial_load_f32s(tail));
    let all = a.join(simd, b).join(simd, c.join(simd, d));
    if simd.reduce_sum_f32s(all.poison) == 0.0 {
        (simd.reduce_min_f32s(all.low), simd.reduce_max_f32s(all.high))
    } else {
        (f32::NAN, f32::NAN)
    }
}

/// ONNX DynamicQuantizeLinear of one row: u8, range stretched to hold zero. A row of zeros gets scale 1. Where a value
/// or the range is not finite, the operator's arithmetic leaves no level standing, and the row becomes NaN throughout.
/// `row` is used up.
#[inline(always)]
fn quantize<S: Simd>(simd: S, row: &mut [f32], out: &mut [u8], given: Option<(f32, f32)>) -> RowQuant {
    let (low, high) = given.unwrap_or_else(|| range(simd, row));
    let scale = (high - low) / 255.0;
    if !scale.is_finite() {
        out.fill(0);
        return RowQuant { scale: f32::NAN, zero_point: 0 };
    }
    let scale = if scale == 0.0 { 1.0 } else { scale };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    if (1.0 / scale).is_infinite() {
        quantize_tiny(row, scale, zero, out);
        return RowQuant { scale, zero_point: zero as i32 };
    }
    let levels = Levels { simd, scale: simd.splat_f32s(scale), inverse: simd.splat_f32s(1.0 / scale), zero };
    let (vectors, tail) = S::as_mut_simd_f32s(row);
    for v in vectors {
        *v = levels.of(*v);
    }
    if !tail.is_empty() {
        let v = levels.of(simd.partial_load_f32s(tail));
        simd.partial_store_f32s(tail, v);
    }
    for (q, level) in out.iter_mut().zip(&*row) {
        *q = level.to_bits() as u8;
    }
    out[row.len()..].fill(0);
    RowQuant { scale, zero_point: zero as i32 }
}

/// QuantizeLinear of one row to u8. `row` is used up.
#[inline(always)]
fn to_levels<S: Simd>(simd: S, levels: math::Levels, row: &mut [f32], out: &mut [u8]) -> RowQuant {
    let round = simd.splat_f32s(ROUND);
    math::map_in_place(simd, row, |x| simd.add_f32s(levels.of(simd, x), round));
    for (q, level) in out.iter_mut().zip(&*row) {
        *q = level.to_bits() as u8;
    }
    out[row.len()..].fill(0);
    RowQuant { scale: levels.scale(), zero_point: levels.zero() as i32 }
}

/// Levels of a row whose scale is too small for its inverse to be a float.
#[cold]
#[inline(never)]
fn quantize_tiny(row: &[f32], scale: f32, zero: f32, out: &mut [u8]) {
    for (q, x) in out.iter_mut().zip(row) {
        *q = ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) as u8;
    }
    out[row.len()..].fill(0);
}

/// 1.5·2²³: adding it rounds half to even and leaves the integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Turns values into quantized levels, plus [`ROUND`] so that the level is their lowest byte.
#[derive(Clone, Copy)]
struct Levels<S: Simd> {
    simd: S,
    scale: S::f32s,
    inverse: S::f32s,
    zero: f32,
}

impl<S: Simd> Levels<S> {
    #[inline(always)]
    fn of(self, x: S::f32s) -> S::f32s {
        let Self { simd, scale, inverse, zero } = self;
        let (round, zero) = (simd.splat_f32s(ROUND), simd.splat_f32s(zero));
        let steps = if S::F32_LANES == 1 {
            simd.div_f32s(x, scale)
        } else {
            // One correction makes the product the correctly rounded quotient, at a fraction of a division.
            let product = simd.mul_f32s(x, inverse);
            let rest = simd.negate_mul_add_e_f32s(product, scale, x);
            simd.mul_add_e_f32s(rest, inverse, product)
        };
        // Within this bound the trick of `ROUND` holds; beyond it the level saturates anyway.
        let bound = simd.splat_f32s(1024.0);
        let steps = simd.max_f32s(simd.min_f32s(steps, bound), simd.neg_f32s(bound));
        let rounded = simd.sub_f32s(simd.add_f32s(steps, round), round);
        let level = simd.add_f32s(rounded, zero);
        let level = simd.max_f32s(simd.min_f32s(level, simd.splat_f32s(255.0)), simd.splat_f32s(0.0));
        simd.add_f32s(level, round)
    }
}

/// Rounds half to even; NaN stays NaN.
#[inline(always)]
fn round_to_bf16(row: &[f32], out: &mut [u8]) {
    let out: &mut [u16] = bytemuck::cast_slice_mut(out);
    for (y, x) in out.iter_mut().zip(row) {
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        *y = if x.is_nan() { bf16::NAN.to_bits() } else { rounded };
    }
    out[row.len()..].fill(0);
}
