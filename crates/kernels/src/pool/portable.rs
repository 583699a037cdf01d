//! Pooling in vector registers: over channels in NHWC, over columns in NCHW.
//!
//! The output row is the accumulator; taps are folded into it one after the other, each clipped to where it meets the
//! input, so no padding is ever read.

use super::{ImageLayout, PoolKind, PoolRow};
use crate::lanes::{Fold, Largest, Sum};
use pulp::Simd;

impl pulp::WithSimd for PoolRow<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.spec.kind {
            PoolKind::Max => self.each(simd, Largest(simd)),
            PoolKind::Average { .. } => self.each(simd, Sum(simd)),
        }
    }
}

impl PoolRow<'_> {
    #[inline(always)]
    fn each<S: Simd, F: Fold<S>>(self, simd: S, fold: F) {
        self.output.fill(F::START);
        match self.spec.layout {
            ImageLayout::Nhwc => self.channels(simd, fold),
            ImageLayout::Nchw => self.columns(simd, fold),
        }
    }

    #[inline(always)]
    fn channels<S: Simd>(self, simd: S, fold: impl Fold<S>) {
        let Self { spec, input, row, output } = self;
        let (height, width, channels) = (&spec.height, &spec.width, spec.channels);
        for (column, pixel) in output.chunks_exact_mut(channels).enumerate() {
            for tap in height.taps(row) {
                let line = height.position(row, tap) * width.input;
                for tap in width.taps(column) {
                    let values = &input[(line + width.position(column, tap)) * channels..][..channels];
                    fold_into(simd, pixel, values, fold);
                }
            }
            if spec.kind != PoolKind::Max {
                let divisor = spec.divisor(row, column);
                pixel.iter_mut().for_each(|value| *value /= divisor);
            }
        }
    }

    #[inline(always)]
    fn columns<S: Simd>(self, simd: S, fold: impl Fold<S>) {
        let Self { spec, input, row, output } = self;
        let (height, width) = (&spec.height, &spec.width);
        for tap in height.taps(row) {
            let line = &input[height.position(row, tap) * width.input..][..width.input];
            for tap in 0..width.kernel {
                let columns = width.outputs(tap);
                if columns.is_empty() {
                    continue;
                }
                let first = width.position(columns.start, tap);
                let out = &mut output[columns];
                if width.stride == 1 {
                    fold_into(simd, out, &line[first..][..out.len()], fold);
                } else {
                    let values = line[first..].iter().step_by(width.stride);
                    for (out, x) in out.iter_mut().zip(values) {
                        *out = fold.scalar(*out, *x);
                    }
                }
            }
        }
        if spec.kind != PoolKind::Max {
            output.iter_mut().enumerate().for_each(|(column, value)| *value /= spec.divisor(row, column));
        }
    }
}

#[inline(always)]
fn fold_into<S: Simd>(simd: S, out: &mut [f32], values: &[f32], fold: impl Fold<S>) {
    let (vectors, tail) = S::as_simd_f32s(values);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for (out, v) in out.iter_mut().zip(vectors) {
        *out = fold.lanes(*out, *v);
    }
    if !tail.is_empty() {
        let folded = fold.lanes(simd.partial_load_f32s(out_tail), simd.partial_load_f32s(tail));
        simd.partial_store_f32s(out_tail, folded);
    }
}
