//! Micro-kernels without target features: plain arrays that the compiler vectorises for its target.
//!
//! The only kernels of aarch64 so far, and the fallback of old x86.

use super::micro::{Block, Micros, instances};
use half::{bf16, f16};

/// Rows that fit the register file: 32 registers of 4 lanes on aarch64, 16 on x86-64.
macro_rules! table {
    ($body:ident) => {
        Micros { shapes: &[(1, 3)], get: instances!($body; 1: 1 2 3;), panel_registers: 4 }
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

/// Sums over f32 activations; `widen` turns a stored weight into f32.
///
/// # Safety
/// As for `Micro`.
#[inline(always)]
unsafe fn float_tile<W: Copy, const MR: usize>(t: &Block, widen: impl Fn(W) -> f32) {
    let (mut a, mut b) = (t.a.cast::<f32>(), t.b.cast::<[W; 16]>());
    // SAFETY: the caller vouches for MR rows of A, one panel of B and the MR×16 tile of C.
    unsafe {
        let mut acc = [[0.0f32; 16]; MR];
        if t.accumulate {
            for (r, row) in acc.iter_mut().enumerate() {
                *row = t.c.add(r * t.c_row).cast::<[f32; 16]>().read_unaligned();
            }
        }
        for _ in 0..t.groups {
            let weights = (*b).map(&widen);
            for (r, row) in acc.iter_mut().enumerate() {
                let x = *a.add(r * t.a_row);
                for (sum, weight) in row.iter_mut().zip(weights) {
                    *sum += x * weight;
                }
            }
            a = a.add(1);
            b = b.add(1);
        }
        for (r, row) in acc.iter().enumerate() {
            t.c.add(r * t.c_row).cast::<[f32; 16]>().write_unaligned(*row);
        }
    }
}

/// # Safety
/// As for `Micro`. NV is 1.
unsafe fn f32_tile<const MR: usize, const NV: usize>(t: &Block) {
    // SAFETY: passed on to the caller.
    unsafe { float_tile::<f32, MR>(t, |w| w) }
}

/// # Safety
/// As for `Micro`. NV is 1.
unsafe fn f16_tile<const MR: usize, const NV: usize>(t: &Block) {
    // SAFETY: passed on to the caller.
    unsafe { float_tile::<f16, MR>(t, half_to_f32) }
}

/// # Safety
/// As for `Micro`. NV is 1.
unsafe fn bf16_tile<const MR: usize, const NV: usize>(t: &Block) {
    // SAFETY: passed on to the caller.
    unsafe { float_tile::<u16, MR>(t, |w| f32::from_bits(u32::from(w) << 16)) }
}

/// Half to single by arithmetic on bits, which vectorises where a conversion routine per element does not.
#[inline(always)]
fn half_to_f32(half: f16) -> f32 {
    let bits = u32::from(half.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    // A multiplication by 2¹¹² moves the exponent and normalises denormals; infinities and NaN need the rest of it.
    let scaled = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let special = if magnitude >= 0x0f80_0000 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
}

/// # Safety
/// As for `Micro`. NV is 1.
unsafe fn bf16_dot_tile<const MR: usize, const NV: usize>(t: &Block) {
    let (mut a, mut b) = (t.a.cast::<[bf16; 2]>(), t.b.cast::<[[bf16; 2]; 16]>());
    // SAFETY: the caller vouches for MR rows of A, one panel of B and the MR×16 tile of C. Rows hold whole pairs.
    unsafe {
        for r in 0..MR {
            if !t.accumulate {
                t.c.add(r * t.c_row).cast::<[f32; 16]>().write_unaligned([0.0; 16]);
            }
        }
        for _ in 0..t.groups {
            for r in 0..MR {
                let pair = a.cast::<bf16>().add(r * t.a_row).cast::<[bf16; 2]>().read_unaligned();
                let [x, y] = pair.map(bf16::to_f32);
                let c = t.c.add(r * t.c_row).cast::<[f32; 16]>();
                let mut row = c.read_unaligned();
                for (sum, pair) in row.iter_mut().zip(*b) {
                    *sum += y * pair[1].to_f32() + x * pair[0].to_f32();
                }
                c.write_unaligned(row);
            }
            a = a.add(1);
            b = b.add(1);
        }
    }
}

/// # Safety
/// As for `Micro`. NV is 1.
unsafe fn int8_tile<const MR: usize, const NV: usize>(t: &Block) {
    let (mut a, mut b) = (t.a, t.b.cast::<[[i8; 4]; 16]>());
    // SAFETY: the caller vouches for MR rows of A, one panel of B and the MR×16 tile of C, which holds i32.
    unsafe {
        let mut acc = [[0i32; 16]; MR];
        if t.accumulate {
            for (r, row) in acc.iter_mut().enumerate() {
                *row = t.c.add(r * t.c_row).cast::<[i32; 16]>().read_unaligned();
            }
        }
        for _ in 0..t.groups {
            for (r, row) in acc.iter_mut().enumerate() {
                let group = a.add(r * t.a_row).cast::<[u8; 4]>().read_unaligned();
                for (sum, weights) in row.iter_mut().zip(*b) {
                    for (x, w) in group.iter().zip(weights) {
                        *sum += i32::from(*x) * i32::from(w);
                    }
                }
            }
            a = a.add(4);
            b = b.add(1);
        }
        for (r, row) in acc.iter().enumerate() {
            t.c.add(r * t.c_row).cast::<[i32; 16]>().write_unaligned(*row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_to_f32_is_exact_for_every_half() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (got, expected) = (half_to_f32(half), half.to_f32());
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }
}
