//! AVX-512 micro-kernels: 8×48, 12×32 and 6×64 accumulators and every smaller row count.
//!
//! One body for all precisions: load NV registers of B, broadcast one group of A per row, multiply-add. A [`Product`]
//! says how. f32, f16 and bf16 weights multiply in f32; `Bf16Dot` needs AVX512-BF16 and `Int8` AVX512-VNNI.
#![allow(
    clippy::needless_range_loop,
    reason = "const-generic tiles in registers: closures of iterators would not inherit the target features"
)]

use super::micro::{Block, Micros, instances};
use std::arch::x86_64::*;

const SHAPES: &[(usize, usize)] = &[(4, 6), (3, 8), (2, 12), (1, 12)];

/// A micro-kernel table over one body.
macro_rules! table {
    ($body:ident) => {
        Micros {
            shapes: SHAPES,
            get: instances!($body;
                4: 1 2 3 4 5 6;
                3: 1 2 3 4 5 6 7 8;
                2: 1 2 3 4 5 6 7 8 9 10 11 12;
                1: 1 2 3 4 5 6 7 8 9 10 11 12;
            ),
            panel_registers: 1,
        }
    };
}

static F32: Micros = table!(f32_tile);
static F16: Micros = table!(f16_tile);
static BF16: Micros = table!(bf16_tile);
static BF16_DOT: Micros = table!(bf16_dot_tile);
static INT8: Micros = table!(int8_tile);

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

pub(super) fn f32() -> Option<&'static Micros> {
    has_avx512().then_some(&F32)
}

pub(super) fn f16() -> Option<&'static Micros> {
    has_avx512().then_some(&F16)
}

pub(super) fn bf16() -> Option<&'static Micros> {
    has_avx512().then_some(&BF16)
}

pub(super) fn bf16_dot() -> Option<&'static Micros> {
    (has_avx512() && is_x86_feature_detected!("avx512bf16")).then_some(&BF16_DOT)
}

pub(super) fn int8() -> Option<&'static Micros> {
    (has_avx512() && is_x86_feature_detected!("avx512vnni")).then_some(&INT8)
}

/// How one precision loads, broadcasts and multiplies.
///
/// # Safety
/// Callers run with the features of the precision enabled; `load` reads 16 groups, `broadcast` one.
trait Product {
    /// Bytes of one group of A.
    const A_BYTES: usize;
    /// Bytes of one stored weight.
    const B_BYTES: usize;
    /// Weights per group.
    const GROUP: usize;
    unsafe fn load(weights: *const u8) -> __m512;
    #[inline(always)]
    unsafe fn broadcast(group: *const u8) -> __m512 {
        // SAFETY: four readable bytes, promised by the caller.
        unsafe { _mm512_set1_ps(group.cast::<f32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn step(sum: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512f is enabled in the caller.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }
}

struct F32Product;
impl Product for F32Product {
    const A_BYTES: usize = 4;
    const B_BYTES: usize = 4;
    const GROUP: usize = 1;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m512 {
        // SAFETY: 64 readable bytes, promised by the caller.
        unsafe { _mm512_loadu_ps(weights.cast()) }
    }
}

struct F16Product;
impl Product for F16Product {
    const A_BYTES: usize = 4;
    const B_BYTES: usize = 2;
    const GROUP: usize = 1;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m512 {
        // SAFETY: 32 readable bytes, promised by the caller.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(weights.cast())) }
    }
}

struct Bf16Product;
impl Product for Bf16Product {
    const A_BYTES: usize = 4;
    const B_BYTES: usize = 2;
    const GROUP: usize = 1;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m512 {
        // SAFETY: 32 readable bytes, promised by the caller.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(weights.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
}

struct Bf16DotProduct;
impl Product for Bf16DotProduct {
    const A_BYTES: usize = 4;
    const B_BYTES: usize = 2;
    const GROUP: usize = 2;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m512 {
        // SAFETY: 64 readable bytes, promised by the caller.
        unsafe { _mm512_loadu_ps(weights.cast()) }
    }
    #[inline(always)]
    unsafe fn step(sum: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512bf16 is enabled in the caller; all three types are 64 plain bytes.
        unsafe {
            let a = std::mem::transmute::<__m512, __m512bh>(a);
            let b = std::mem::transmute::<__m512, __m512bh>(b);
            _mm512_dpbf16_ps(sum, a, b)
        }
    }
}

struct Int8Product;
impl Product for Int8Product {
    const A_BYTES: usize = 4;
    const B_BYTES: usize = 1;
    const GROUP: usize = 4;
    #[inline(always)]
    unsafe fn load(weights: *const u8) -> __m512 {
        // SAFETY: 64 readable bytes, promised by the caller.
        unsafe { _mm512_loadu_ps(weights.cast()) }
    }
    #[inline(always)]
    unsafe fn step(sum: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: avx512vnni is enabled in the caller. The sum's bits are an i32 that only travels as a float.
        unsafe {
            let sum =
                _mm512_dpbusd_epi32(_mm512_castps_si512(sum), _mm512_castps_si512(a), _mm512_castps_si512(b));
            _mm512_castsi512_ps(sum)
        }
    }
}

/// The body of every micro-kernel of this file.
///
/// # Safety
/// As for `Micro`, within a function that enables the features of `P`.
#[inline(always)]
unsafe fn tile<P: Product, const MR: usize, const NV: usize>(t: &Block) {
    let a_row = t.a_row * (P::A_BYTES / P::GROUP);
    let b_panel = t.b_panel * P::B_BYTES;
    let (mut a, mut b) = (t.a, t.b);
    // SAFETY: the caller vouches for MR rows of A, NV panels of B, the MR×NV tile of C and the CPU's features.
    // Plain index loops: closures would not inherit the features.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); NV]; MR];
        if t.accumulate {
            for r in 0..MR {
                for v in 0..NV {
                    acc[r][v] = _mm512_loadu_ps(t.c.add(r * t.c_row + v * 16));
                }
            }
        }
        for _ in 0..t.groups {
            let mut weights = [_mm512_setzero_ps(); NV];
            for v in 0..NV {
                weights[v] = P::load(b.add(v * b_panel));
            }
            for r in 0..MR {
                let group = P::broadcast(a.add(r * a_row));
                for v in 0..NV {
                    acc[r][v] = P::step(acc[r][v], group, weights[v]);
                }
            }
            a = a.add(P::A_BYTES);
            b = b.add(16 * P::GROUP * P::B_BYTES);
        }
        for r in 0..MR {
            for v in 0..NV {
                _mm512_storeu_ps(t.c.add(r * t.c_row + v * 16), acc[r][v]);
            }
        }
    }
}

/// Enters the body with a precision's features enabled.
macro_rules! entry {
    ($name:ident, $product:ty, $features:literal) => {
        /// # Safety
        /// As for `Micro`.
        #[target_feature(enable = $features)]
        unsafe fn $name<const MR: usize, const NV: usize>(t: &Block) {
            // SAFETY: the features are enabled here; the caller vouches for the operands.
            unsafe { tile::<$product, MR, NV>(t) }
        }
    };
}

entry!(f32_tile, F32Product, "avx512f");
entry!(f16_tile, F16Product, "avx512f");
entry!(bf16_tile, Bf16Product, "avx512f");
entry!(bf16_dot_tile, Bf16DotProduct, "avx512f,avx512bf16");
entry!(int8_tile, Int8Product, "avx512f,avx512vnni");
