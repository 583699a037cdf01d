//! Pooling in vector registers: over channels in NHWC, over columns in NCHW.

use super::{ImageLayout, PoolKind, PoolRow};
use pulp::Simd;

impl pulp::WithSimd for PoolRow<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.spec.kind {
            PoolKind::Max => self.each(
                f32::NEG_INFINITY,
                |acc, x| {
                    let larger = simd.select_f32s(simd.greater_than_f32s(acc, x), acc, x);
                    simd.select_f32s(simd.equal_f32s(acc, acc), larger, acc)
                },
                simd,
                |acc, x| if acc > x || acc.is_nan() { acc } else { x },
            ),
            PoolKind::Average { .. } => {
                self.each(0.0, |acc, x| simd.add_f32s(acc, x), simd, |acc, x| acc + x);
            }
        }
    }
}

impl PoolRow<'_> {
    #[inline(always)]
    fn each<S: Simd>(
        self,
        start: f32,
        fold: impl Fn(S::f32s, S::f32s) -> S::f32s,
        simd: S,
        scalar: impl Fn(f32, f32) -> f32,
    ) {
        self.output.fill(start);
        match self.spec.layout {
            ImageLayout::Nhwc => self.channels(simd, fold),
            ImageLayout::Nchw => self.columns(simd, fold, scalar),
        }
    }

    #[inline(always)]
    fn channels<S: Simd>(self, simd: S, fold: impl Fn(S::f32s, S::f32s) -> S::f32s) {
        let Self { spec, input, row, output } = self;
        let (height, width, channels) = (&spec.height, &spec.width, spec.channels);
        for (column, pixel) in output.chunks_exact_mut(channels).enumerate() {
            for tap in height.taps(row) {
                let line = height.position(row, tap) * width.input;
                for tap in width.taps(column) {
                    let values = &input[(line + width.position(column, tap)) * channels..][..channels];
                    fold_into(simd, pixel, values, &fold);
                }
            }
            if spec.kind != PoolKind::Max {
                let divisor = spec.divisor(row, column);
                pixel.iter_mut().for_each(|value| *value /= divisor);
            }
        }
    }

    #[inline(always)]
    fn columns<S: Simd>(
        self,
        simd: S,
        fold: impl Fn(S::f32s, S::f32s) -> S::f32s,
        scalar: impl Fn(f32, f32) -> f32,
    ) {
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
                    fold_into(simd, out, &line[first..][..out.len()], &fold);
                } else {
                    let values = line[first..].iter().step_by(width.stride);
                    out.iter_mut().zip(values).for_each(|(out, x)| *out = scalar(*out, *x));
                }
            }
        }
        if spec.kind != PoolKind::Max {
            output.iter_mut().enumerate().for_each(|(column, value)| *value /= spec.divisor(row, column));
        }
    }
}

#[inline(always)]
fn fold_into<S: Simd>(simd: S, out: &mut [f32], values: &[f32], fold: impl Fn(S::f32s, S::f32s) -> S::f32s) {
    let (vectors, tail) = S::as_simd_f32s(values);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    out.iter_mut().zip(vectors).for_each(|(out, v)| *out = fold(*out, *v));
    if !tail.is_empty() {
        let folded = fold(simd.partial_load_f32s(out_tail), simd.partial_load_f32s(tail));
        simd.partial_store_f32s(out_tail, folded);
    }
}
