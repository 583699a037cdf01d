//! What happens to a row of A before it is multiplied: normalised, quantized, or rounded to bf16.
//!
//! Rows are prepared once into scratch, in a phase of their own, so that tiles which share rows do not repeat it.
//! Int8 follows ONNX DynamicQuantizeLinear, per row instead of per tensor.

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
            Precision::Int8 => return quantize(simd, self.values, self.output),
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

/// Smallest and largest value of a row, zero included, NaN ignored.
#[inline(always)]
fn range<S: Simd>(simd: S, row: &[f32]) -> (f32, f32) {
    let zero = simd.splat_f32s(0.0);
    let (vectors, tail) = S::as_simd_f32s(row);
    let (mut low, mut high) = (zero, zero);
    for v in vectors {
        // Comparisons with NaN are false, so NaN never enters.
        low = simd.select_f32s(simd.less_than_f32s(*v, low), *v, low);
        high = simd.select_f32s(simd.greater_than_f32s(*v, high), *v, high);
    }
    let (mut low, mut high) = (simd.reduce_min_f32s(low), simd.reduce_max_f32s(high));
    for &x in tail {
        low = if x < low { x } else { low };
        high = if x > high { x } else { high };
    }
    (low, high)
}

/// ONNX DynamicQuantizeLinear of one row: u8, range stretched to hold zero. A row without finite spread gets scale 1.
#[inline(always)]
fn quantize<S: Simd>(simd: S, row: &[f32], out: &mut [u8]) -> RowQuant {
    let (low, high) = range(simd, row);
    let scale = (high - low) / 255.0;
    let scale = if scale > 0.0 && scale.is_finite() { scale } else { 1.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    /// 1.5·2²³: adding it rounds half to even and leaves the integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    for (q, x) in out.iter_mut().zip(row) {
        // The bound keeps the sum where the trick holds; it changes nothing, the result saturates far below it.
        let steps = (x / scale).clamp(-1024.0, 1024.0);
        let rounded = (steps + ROUND) - ROUND;
        let level = (rounded + zero).clamp(0.0, 255.0) + ROUND;
        *q = level.to_bits() as u8;
    }
    out[row.len()..].fill(0);
    RowQuant { scale, zero_point: zero as i32 }
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
