//! What happens to a row of A before it is multiplied: normalised, quantized, or rounded to bf16.
//!
//! Rows are prepared once into scratch, in a phase of their own, so that tiles which share rows do not repeat it.
//! Int8 follows ONNX DynamicQuantizeLinear, per row, or over all rows when the range is given.

use super::epilogue::RowQuant;
use super::packed::Precision;
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
}

/// Smallest and largest value of a row, zero included.
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
            Precision::Int8 => return quantize(simd, self.values, self.output, self.range),
            Precision::Bf16Dot => round_to_bf16(self.values, self.output),
        }
        RowQuant { scale: 1.0, zero_point: 0 }
    }
}

/// Sum over a row of `f(x)`, in four chains of registers; the tail is padded so that `f(pad)` must be zero.
#[inline(always)]
fn sum<S: Simd>(simd: S, row: &[f32], pad: f32, f: impl Fn(S::f32s) -> S::f32s) -> f32 {
    let (vectors, tail) = S::as_simd_f32s(row);
    let mut chains = [simd.splat_f32s(0.0); 4];
    let (fours, rest) = vectors.as_chunks::<4>();
    for four in fours {
        for (chain, v) in chains.iter_mut().zip(four) {
            *chain = simd.add_f32s(*chain, f(*v));
        }
    }
    for v in rest {
        chains[0] = simd.add_f32s(chains[0], f(*v));
    }
    if !tail.is_empty() {
        let mut padded = [pad; 16];
        padded[..tail.len()].copy_from_slice(tail);
        chains[1] = simd.add_f32s(chains[1], f(S::as_simd_f32s(&padded).0[0]));
    }
    let [a, b, c, d] = chains;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
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
    let count = input.len() as f32;
    let mean = sum(simd, input, 0.0, |x| x) / count;
    let centre = simd.splat_f32s(mean);
    let variance = sum(simd, input, mean, |x| {
        let d = simd.sub_f32s(x, centre);
        simd.mul_f32s(d, d)
    }) / count;
    let factor = 1.0 / (variance + epsilon).sqrt();
    // Plain loops: they run inside the features of S and vectorise.
    match gamma {
        Some(gamma) => {
            for ((y, x), g) in out.iter_mut().zip(input).zip(gamma) {
                *y = (x - mean) * factor * g;
            }
        }
        None => {
            for (y, x) in out.iter_mut().zip(input) {
                *y = (x - mean) * factor;
            }
        }
    }
    for (y, b) in out.iter_mut().zip(beta.unwrap_or_default()) {
        *y += b;
    }
}

#[inline(always)]
fn rms_norm<S: Simd>(simd: S, input: &[f32], gamma: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
    let square = sum(simd, input, 0.0, |x| simd.mul_f32s(x, x)) / input.len() as f32;
    let factor = 1.0 / (square + epsilon).sqrt();
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

/// Smallest and largest value of a row, zero included. Where NaN enters (on some instruction sets) the row gets scale 1.
#[inline(always)]
fn range<S: Simd>(simd: S, row: &[f32]) -> (f32, f32) {
    let (vectors, tail) = S::as_simd_f32s(row);
    let (mut low, mut high) = ([simd.splat_f32s(0.0); 4], [simd.splat_f32s(0.0); 4]);
    let (fours, rest) = vectors.as_chunks::<4>();
    for four in fours {
        for (chain, v) in four.iter().enumerate() {
            low[chain] = simd.min_f32s(*v, low[chain]);
            high[chain] = simd.max_f32s(*v, high[chain]);
        }
    }
    for v in rest {
        low[0] = simd.min_f32s(*v, low[0]);
        high[0] = simd.max_f32s(*v, high[0]);
    }
    let padded = simd.partial_load_f32s(tail);
    low[1] = simd.min_f32s(padded, low[1]);
    high[1] = simd.max_f32s(padded, high[1]);
    let min = |a, b| simd.min_f32s(a, b);
    let max = |a, b| simd.max_f32s(a, b);
    let low = min(min(low[0], low[1]), min(low[2], low[3]));
    let high = max(max(high[0], high[1]), max(high[2], high[3]));
    (simd.reduce_min_f32s(low), simd.reduce_max_f32s(high))
}

/// ONNX DynamicQuantizeLinear of one row: u8, range stretched to hold zero. A row without a spread that f32 can divide
/// by gets scale 1. `row` is used up.
#[inline(always)]
fn quantize<S: Simd>(simd: S, row: &mut [f32], out: &mut [u8], given: Option<(f32, f32)>) -> RowQuant {
    let (low, high) = given.unwrap_or_else(|| range(simd, row));
    let scale = (high - low) / 255.0;
    let scale = if scale.is_finite() && (1.0 / scale).is_finite() { scale } else { 1.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
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
