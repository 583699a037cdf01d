//! The naive micro-kernels: one product at a time, sums in f64 or i64, one row and one panel.
//!
//! The oracle is [`exact`] below, which reads neither panels nor blocks; these kernels only let the whole driver run
//! without any vector code.

use super::micro::{Block, Micros, instances};
use half::{bf16, f16};

macro_rules! table {
    ($body:ident) => {
        Micros { shapes: &[(1, 1)], get: instances!($body; 1: 1;), panel_registers: 4 }
    };
}

static F32: Micros = table!(f32_tile);
static F16: Micros = table!(f16_tile);
static BF16: Micros = table!(bf16_tile);
static BF16_DOT: Micros = table!(bf16_dot_tile);
static INT8: Micros = table!(int8_tile);

pub(super) fn f32() -> Option<&'static Micros> {
    Some(&F32)
}

pub(super) fn f16() -> Option<&'static Micros> {
    Some(&F16)
}

pub(super) fn bf16() -> Option<&'static Micros> {
    Some(&BF16)
}

pub(super) fn bf16_dot() -> Option<&'static Micros> {
    Some(&BF16_DOT)
}

pub(super) fn int8() -> Option<&'static Micros> {
    Some(&INT8)
}

/// Sum of the products of one column, in f64.
///
/// # Safety
/// As for `Micro`.
unsafe fn column<A: Copy + Into<f64>, W: Copy + Into<f64>>(t: &Block, group: usize, column: usize) -> f64 {
    let mut sum = 0.0;
    for k in 0..t.groups * group {
        // SAFETY: k lies within the row of A and the panel of B that the caller vouches for.
        let (x, w) = unsafe {
            let weight = (k / group * 16 + column) * group + k % group;
            (*t.a.cast::<A>().add(k), *t.b.cast::<W>().add(weight))
        };
        sum += x.into() * w.into();
    }
    sum
}

macro_rules! float_tile {
    ($name:ident, $a:ty, $weight:ty, $group:literal) => {
        /// # Safety
        /// As for `Micro`. MR and NV are 1.
        unsafe fn $name<const MR: usize, const NV: usize>(t: &Block) {
            for j in 0..16 {
                // SAFETY: the caller vouches for the row, the panel and 16 elements of C.
                unsafe {
                    let before = if t.accumulate { *t.c.add(j) } else { 0.0 };
                    *t.c.add(j) = (f64::from(before) + column::<$a, $weight>(t, $group, j)) as f32;
                }
            }
        }
    };
}

float_tile!(f32_tile, f32, f32, 1);
float_tile!(f16_tile, f32, f16, 1);
float_tile!(bf16_tile, f32, bf16, 1);
float_tile!(bf16_dot_tile, bf16, bf16, 2);

/// # Safety
/// As for `Micro`. MR and NV are 1.
unsafe fn int8_tile<const MR: usize, const NV: usize>(t: &Block) {
    for j in 0..16 {
        // SAFETY: the caller vouches for the row, the panel and 16 elements of C, which hold i32.
        unsafe {
            let c = t.c.add(j).cast::<i32>();
            // Sums of at most 65,536 products of 255·128 are exact in f64.
            let sum = column::<u8, i8>(t, 4, j) as i32;
            *c = if t.accumulate { *c + sum } else { sum };
        }
    }
}
