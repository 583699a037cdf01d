//! Transposes of 16×16 squares of 32-bit elements in registers, for packing and for copies.
//!
//! Bits are moved, never interpreted: floats here may be any 32-bit elements.

use crate::isa::{Isa, Kernel};

/// Side of the square.
pub(crate) const SIDE: usize = 16;

/// Transposes a square: `target[j·target_row + i] = source[i·source_row + j]`.
///
/// # Safety
/// All elements of both squares are in bounds, the squares do not overlap, nothing else accesses the target.
pub(crate) type Transpose = unsafe fn(*const f32, isize, *mut f32, isize);

/// Best first.
pub(crate) static KERNELS: &[Kernel<Transpose>] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { isa: Isa::Avx512, get: x86_avx512::get },
    Kernel { isa: Isa::Portable, get: || Some(portable) },
    Kernel { isa: Isa::Reference, get: || Some(reference) },
];

/// # Safety
/// As for [`Transpose`].
unsafe fn reference(source: *const f32, source_row: isize, target: *mut f32, target_row: isize) {
    for i in 0..SIDE.cast_signed() {
        for j in 0..SIDE.cast_signed() {
            // SAFETY: the caller's promise.
            unsafe { *target.offset(j * target_row + i) = *source.offset(i * source_row + j) };
        }
    }
}

/// # Safety
/// As for [`Transpose`].
unsafe fn portable(source: *const f32, source_row: isize, target: *mut f32, target_row: isize) {
    const STEP: usize = 4;
    for i in (0..SIDE).step_by(STEP) {
        for j in (0..SIDE).step_by(STEP) {
            // SAFETY: the small square lies in the large one; arrays of floats may be read unaligned.
            let rows: [[f32; STEP]; STEP] = std::array::from_fn(|r| unsafe {
                let row = source.offset((i + r).cast_signed() * source_row + j.cast_signed());
                row.cast::<[f32; STEP]>().read_unaligned()
            });
            let columns: [[f32; STEP]; STEP] = std::array::from_fn(|c| std::array::from_fn(|r| rows[r][c]));
            for (c, column) in columns.into_iter().enumerate() {
                // SAFETY: as above, mirrored.
                unsafe {
                    let place = target.offset((j + c).cast_signed() * target_row + i.cast_signed());
                    place.cast::<[f32; STEP]>().write_unaligned(column);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_avx512 {
    //! Sixteen registers: pairs, quads, then 128-bit lanes.
    #![allow(
        clippy::needless_range_loop,
        reason = "registers: closures of iterators would not inherit the target features"
    )]

    use super::{SIDE, Transpose};
    use std::arch::x86_64::*;

    /// Holding the pointer proves that the CPU has AVX-512 F.
    pub(super) fn get() -> Option<Transpose> {
        is_x86_feature_detected!("avx512f").then_some(entry as Transpose)
    }

    /// # Safety
    /// As for [`Transpose`].
    unsafe fn entry(source: *const f32, source_row: isize, target: *mut f32, target_row: isize) {
        // SAFETY: private, reachable only through `get`, which detected the feature; operands are the caller's promise.
        unsafe { body(source, source_row, target, target_row) }
    }

    /// # Safety
    /// As for [`Transpose`], on a CPU with AVX-512 F.
    #[target_feature(enable = "avx512f")]
    unsafe fn body(source: *const f32, source_row: isize, target: *mut f32, target_row: isize) {
        let mut rows = [_mm512_setzero_ps(); SIDE];
        for i in 0..SIDE {
            // SAFETY: row i of the source is in bounds.
            rows[i] = unsafe { _mm512_loadu_ps(source.offset(i.cast_signed() * source_row)) };
        }
        // quads[4g + c], 128-bit lane l: column 4l + c of rows 4g..4g + 4.
        let mut quads = [_mm512_setzero_pd(); SIDE];
        for g in 0..4 {
            let low = |a, b| _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
            let high = |a, b| _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
            let (a, b) = (low(rows[4 * g], rows[4 * g + 1]), low(rows[4 * g + 2], rows[4 * g + 3]));
            let (c, d) = (high(rows[4 * g], rows[4 * g + 1]), high(rows[4 * g + 2], rows[4 * g + 3]));
            quads[4 * g] = _mm512_unpacklo_pd(a, b);
            quads[4 * g + 1] = _mm512_unpackhi_pd(a, b);
            quads[4 * g + 2] = _mm512_unpacklo_pd(c, d);
            quads[4 * g + 3] = _mm512_unpackhi_pd(c, d);
        }
        for c in 0..4 {
            let [p, q, r, s] = [quads[c], quads[4 + c], quads[8 + c], quads[12 + c]];
            let (p, q) = (_mm512_shuffle_f64x2::<0x44>(p, q), _mm512_shuffle_f64x2::<0xEE>(p, q));
            let (r, s) = (_mm512_shuffle_f64x2::<0x44>(r, s), _mm512_shuffle_f64x2::<0xEE>(r, s));
            let columns = [
                _mm512_shuffle_f64x2::<0x88>(p, r),
                _mm512_shuffle_f64x2::<0xDD>(p, r),
                _mm512_shuffle_f64x2::<0x88>(q, s),
                _mm512_shuffle_f64x2::<0xDD>(q, s),
            ];
            for l in 0..4 {
                // SAFETY: row 4l + c of the target is in bounds.
                unsafe {
                    let place = target.offset((4 * l + c).cast_signed() * target_row);
                    _mm512_storeu_ps(place, _mm512_castpd_ps(columns[l]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_transposes() {
        let source: Vec<f32> = (0..400_u16).map(f32::from).collect();
        for kernel in KERNELS {
            let Some(transpose) = (kernel.get)() else { continue };
            let mut target = vec![0.0_f32; 18 * 16];
            // SAFETY: rows of 16 elements, 20 and 18 apart, lie in the buffers.
            unsafe { transpose(source.as_ptr(), 20, target.as_mut_ptr(), 18) };
            for i in 0..SIDE {
                for j in 0..SIDE {
                    assert_eq!(target[j * 18 + i], source[i * 20 + j], "{} {i} {j}", kernel.isa);
                }
            }
        }
    }
}
