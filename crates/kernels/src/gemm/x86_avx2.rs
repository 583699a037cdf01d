//! AVX2 + FMA micro-kernels: 6×16 and 2×32 accumulators for f32, f16 and bf16 weights, 2×16 for exact int8.
//!
//! Int8 widens both sides to i16 and multiplies with `pmaddwd`: `pmaddubsw` would saturate. A panel's 16 columns are
//! then four registers of four columns with two partial sums each, added up when the tile is stored.
#![allow(
    clippy::needless_range_loop,
    reason = "const-generic tiles in registers: closures of iterators would not inherit the target features"
)]

use super::micro::{Block, Micros, instances};
use std::arch::x86_64::*;

macro_rules! table {
    ($body:ident) => {
        Micros {
            shapes: &[(2, 2), (1, 6)],
            get: instances!($body; 2: 1 2; 1: 1 2 3 4 5 6;),
            panel_registers: 2,
        }
    };
}

static F32: Micros = table!(f32_tile);
static F16: Micros = table!(f16_tile);
static BF16: Micros = table!(bf16_tile);
static INT8: Micros = Micros { shapes: &[(1, 2)], get: instances!(int8_tile; 1: 1 2;), panel_registers: 4 };

fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

pub(super) fn f32() -> Option<&'static Micros> {
    has_avx2().then_some(&F32)
}

pub(super) fn f16() -> Option<&'static Micros> {
    (has_avx2() && is_x86_feature_detected!("f16c")).then_some(&F16)
}

pub(super) fn bf16() -> Option<&'static Micros> {
    has_avx2().then_some(&BF16)
}

pub(super) fn int8() -> Option<&'static Micros> {
    has_avx2().then_some(&INT8)
}

/// How a weight format becomes f32.
///
/// # Safety
/// Callers run with the format's features enabled; `load` reads 8 weights.
trait Weights {
    const BYTES: usize;
    unsafe fn load(weights: *const u8) -> __m256;
}

struct F32Weights;
impl Weights for F32Weights {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m256 {
        // SAFETY: 32 readable bytes, promised by the caller.
        unsafe { _mm256_loadu_ps(weights.cast()) }
    }
}

struct F16Weights;
impl Weights for F16Weights {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m256 {
        // SAFETY: 16 readable bytes, promised by the caller.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(weights.cast())) }
    }
}

struct Bf16Weights;
impl Weights for Bf16Weights {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m256 {
        // SAFETY: 16 readable bytes, promised by the caller.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(weights.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
}

/// # Safety
/// As for `Micro`, within a function that enables the features of `W`.
#[inline(always)]
unsafe fn tile<W: Weights, const MR: usize, const NV: usize>(t: &Block) {
    let (mut a, mut b) = (t.a.cast::<f32>(), t.b);
    // SAFETY: the caller vouches for MR rows of A, NV panels of B, the MR×NV tile of C and the CPU's features.
    unsafe {
        let mut acc = [[[_mm256_setzero_ps(); 2]; NV]; MR];
        if t.accumulate {
            for r in 0..MR {
                for v in 0..NV {
                    for h in 0..2 {
                        acc[r][v][h] = _mm256_loadu_ps(t.c.add(r * t.c_row + v * 16 + h * 8));
                    }
                }
            }
        }
        for _ in 0..t.groups {
            let mut weights = [[_mm256_setzero_ps(); 2]; NV];
            for v in 0..NV {
                for h in 0..2 {
                    weights[v][h] = W::load(b.add((v * t.b_panel + h * 8) * W::BYTES));
                }
            }
            for r in 0..MR {
                let x = _mm256_set1_ps(*a.add(r * t.a_row));
                for v in 0..NV {
                    for h in 0..2 {
                        acc[r][v][h] = _mm256_fmadd_ps(x, weights[v][h], acc[r][v][h]);
                    }
                }
            }
            a = a.add(1);
            b = b.add(16 * W::BYTES);
        }
        for r in 0..MR {
            for v in 0..NV {
                for h in 0..2 {
                    _mm256_storeu_ps(t.c.add(r * t.c_row + v * 16 + h * 8), acc[r][v][h]);
                }
            }
        }
    }
}

/// Enters the body with a precision's features enabled.
macro_rules! entry {
    ($name:ident, $weights:ty, $features:literal) => {
        /// # Safety
        /// As for `Micro`.
        #[target_feature(enable = $features)]
        unsafe fn $name<const MR: usize, const NV: usize>(t: &Block) {
            // SAFETY: the features are enabled here; the caller vouches for the operands.
            unsafe { tile::<$weights, MR, NV>(t) }
        }
    };
}

entry!(f32_tile, F32Weights, "avx2,fma");
entry!(f16_tile, F16Weights, "avx2,fma,f16c");
entry!(bf16_tile, Bf16Weights, "avx2,fma");

/// # Safety
/// As for `Micro`. NV is 1.
#[target_feature(enable = "avx2")]
unsafe fn int8_tile<const MR: usize, const NV: usize>(t: &Block) {
    let (mut a, mut b) = (t.a, t.b);
    // SAFETY: the caller vouches for MR rows of A, one panel of B and the MR×16 tile of C.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); 4]; MR];
        for _ in 0..t.groups {
            let mut groups = [_mm256_setzero_si256(); MR];
            for r in 0..MR {
                let four = a.add(r * t.a_row).cast::<i32>().read_unaligned();
                let wide = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(four));
                groups[r] = _mm256_broadcastq_epi64(wide);
            }
            for q in 0..4 {
                let weights = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.add(q * 16).cast()));
                for r in 0..MR {
                    acc[r][q] = _mm256_add_epi32(acc[r][q], _mm256_madd_epi16(groups[r], weights));
                }
            }
            a = a.add(4);
            b = b.add(64);
        }
        for r in 0..MR {
            for h in 0..2 {
                // hadd works within 128-bit lanes: columns 0 1 4 5 | 2 3 6 7, put back in order.
                let pairs = _mm256_hadd_epi32(acc[r][2 * h], acc[r][2 * h + 1]);
                let mut sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                let c = t.c.add(r * t.c_row + h * 8).cast::<__m256i>();
                if t.accumulate {
                    sums = _mm256_add_epi32(sums, _mm256_loadu_si256(c));
                }
                _mm256_storeu_si256(c, sums);
            }
        }
    }
}
