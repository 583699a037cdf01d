//! Softmax down columns, for an axis that is not the last.
//!
//! Works on a strip of columns, a few hundred wide: three passes over its rows, each staged in working memory, so the
//! output may take the place of the input.

use crate::math::exp_of_negative;
use crate::moments::narrow;
use crate::scratch::Slot;
use pulp::Simd;

/// Slots a [`Strip`] works in.
pub(super) const SLOTS: usize = 3;

/// Softmax down `extent` rows of `width` columns, `stride` apart.
pub(super) struct Strip<'a> {
    /// Readable for the whole strip.
    pub(super) input: *const f32,
    /// Writable for the whole strip, by this thread alone; may be the input.
    pub(super) output: *mut f32,
    pub(super) extent: usize,
    pub(super) stride: usize,
    pub(super) width: usize,
    pub(super) scale: f32,
    pub(super) log: bool,
    /// Maxima, sums, one staged row.
    pub(super) slots: &'a mut [Slot],
}

impl pulp::WithSimd for Strip<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = self.width.next_multiple_of(S::F32_LANES);
        let slots = std::mem::take(&mut self.slots);
        let [most, total, row] = slots else { unreachable!("SoftmaxStep lends SLOTS slots") };
        let most = S::as_mut_simd_f32s(&mut most.floats_mut()[..lanes]).0;
        let total = S::as_mut_simd_f32s(&mut total.floats_mut()[..lanes]).0;
        let row = &mut row.floats_mut()[..lanes];
        most.fill(simd.splat_f32s(f32::NEG_INFINITY));
        total.fill(simd.splat_f32s(0.0));
        row.fill(0.0);
        self.maxima(simd, most, row);
        self.weigh(simd, most, total, row);
        self.finish(bytemuck::cast_slice(most), bytemuck::cast_slice_mut(total));
    }
}

impl Strip<'_> {
    /// Copies one row of the input.
    #[inline(always)]
    fn stage(&self, row: &mut [f32], index: usize) {
        // SAFETY: SoftmaxStep::strip passes pointers good for the whole strip; the borrow ends here.
        let source = unsafe { std::slice::from_raw_parts(self.input.add(index * self.stride), self.width) };
        row[..self.width].copy_from_slice(source);
    }

    /// One row of the output.
    #[inline(always)]
    fn target(&mut self, index: usize) -> &mut [f32] {
        // SAFETY: as for stage, and this thread alone accesses the strip.
        unsafe { std::slice::from_raw_parts_mut(self.output.add(index * self.stride), self.width) }
    }

    /// Largest value per column, NaN where there is a NaN or none that is finite.
    #[inline(always)]
    fn maxima<S: Simd>(&self, simd: S, most: &mut [S::f32s], row: &mut [f32]) {
        let factor = simd.splat_f32s(self.scale);
        for index in 0..self.extent {
            self.stage(row, index);
            for (most, v) in most.iter_mut().zip(S::as_simd_f32s(row).0) {
                let v = simd.mul_f32s(*v, factor);
                // NaN sticks: it is neither at most the maximum nor replaced by what is not above it.
                let keep = simd.select_f32s(simd.less_than_or_equal_f32s(v, *most), *most, v);
                *most = simd.select_f32s(simd.equal_f32s(*most, *most), keep, *most);
            }
        }
        for most in most {
            // ∞ − ∞: such columns are NaN throughout.
            *most = simd.add_f32s(*most, simd.sub_f32s(*most, *most));
        }
    }

    /// Writes exponentials (shifted values for the logarithm) and sums them per column.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, most: &[S::f32s], total: &mut [S::f32s], row: &mut [f32]) {
        let factor = simd.splat_f32s(self.scale);
        for index in 0..self.extent {
            self.stage(row, index);
            let columns = S::as_mut_simd_f32s(row).0.iter_mut().zip(most).zip(total.iter_mut());
            for ((v, most), total) in columns {
                let shifted = simd.sub_f32s(simd.mul_f32s(*v, factor), *most);
                let e = exp_of_negative(simd, shifted);
                *total = simd.add_f32s(*total, e);
                *v = if self.log { shifted } else { e };
            }
            let width = self.width;
            self.target(index).copy_from_slice(&row[..width]);
        }
    }

    /// Normalises what [`Strip::weigh`] wrote.
    #[inline(always)]
    fn finish(&mut self, most: &[f32], sums: &mut [f32]) {
        for (sum, most) in sums.iter_mut().zip(most) {
            let exact = f64::from(*sum);
            *sum = narrow(if self.log { exact.ln() } else { 1.0 / exact });
            if most.is_nan() {
                *sum = f32::NAN;
            }
        }
        let log = self.log;
        for index in 0..self.extent {
            for (out, sum) in self.target(index).iter_mut().zip(&*sums) {
                *out = if log { *out - sum } else { *out * sum };
            }
        }
    }
}
