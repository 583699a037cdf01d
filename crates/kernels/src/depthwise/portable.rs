//! Depthwise rows in vector registers: over channels in NHWC, over columns in NCHW.
//!
//! In NHWC a block of columns shares each weight register. Columns whose window leaves the image go one at a time, with
//! the taps that exist.

use super::{DepthwiseRow, ImageLayout, ResidualOrder};
use crate::lanes::map_lanes;
use crate::math::{Activation, Lane, LaneVisitor};
use pulp::Simd;
use std::ops::Range;

/// Columns that share a weight register.
const COLUMNS: usize = 8;

impl pulp::WithSimd for DepthwiseRow<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.weights.layout {
            ImageLayout::Nchw => {
                self.plane(simd);
                let all = 0..self.output.len();
                self.finish(simd, all);
            }
            ImageLayout::Nhwc => self.pixels(simd),
        }
    }
}

/// Applies an activation in place. A kernel of its own, so that its many functions are compiled once.
struct Activate<'a> {
    values: &'a mut [f32],
    activation: Activation,
}

impl pulp::WithSimd for Activate<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.activation.visit(simd, Lanes(simd, self.values));
    }
}

struct Lanes<'a, S>(S, &'a mut [f32]);

impl<S: Simd> LaneVisitor<S> for Lanes<'_, S> {
    type Output = ();
    #[inline(always)]
    fn visit(self, f: impl Lane<S>) {
        let Self(simd, values) = self;
        map_lanes!(S, simd, values, x => f.apply(x));
    }
}

impl DepthwiseRow<'_> {
    /// Residual and activation of a part of the row, while it is in the first-level cache.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, part: Range<usize>) {
        let values = &mut self.output[part.clone()];
        let residual = self.residual.map(|(row, order)| (&row[part], order));
        if let Some((row, ResidualOrder::BeforeActivation)) = residual {
            add::<S>(simd, values, row);
        }
        if let Some(activation) = self.activation {
            simd.vectorize(Activate { values: &mut *values, activation });
        }
        if let Some((row, ResidualOrder::AfterActivation)) = residual {
            add::<S>(simd, values, row);
        }
    }

    #[inline(always)]
    fn pixels<S: Simd>(mut self, simd: S) {
        let channels = self.weights.channels;
        let columns = self.width.output;
        // Columns that see all taps.
        let last = self.width.outputs(self.width.kernel - 1);
        let inner = self.width.outputs(0).start.max(last.start)..self.width.outputs(0).end.min(last.end);
        let mut column = 0;
        while column < columns {
            let whole = inner.contains(&column) && column + COLUMNS <= inner.end;
            let count = if whole { COLUMNS } else { 1 };
            if whole {
                self.block::<S, COLUMNS>(simd, column);
            } else {
                self.block::<S, 1>(simd, column);
            }
            self.finish(simd, column * channels..(column + count) * channels);
            column += count;
        }
    }

    /// `N` columns from `column` on; one column may see only part of its taps, several see all.
    #[inline(always)]
    fn block<S: Simd, const N: usize>(&mut self, simd: S, column: usize) {
        let channels = self.weights.channels;
        let whole = channels / S::F32_LANES * S::F32_LANES;
        for channel in (0..whole).step_by(S::F32_LANES) {
            let mut acc = [S::as_simd_f32s(&self.weights.bias[channel..]).0[0]; N];
            for tap in self.height.taps(self.row) {
                let line = self.height.position(self.row, tap) * self.width.input;
                for across in self.width.taps(column) {
                    let at = (tap * self.width.kernel + across) * channels + channel;
                    let weight = S::as_simd_f32s(&self.weights.values[at..at + S::F32_LANES]).0[0];
                    let first = (line + self.width.position(column, across)) * channels + channel;
                    for (n, acc) in acc.iter_mut().enumerate() {
                        let at = first + n * self.width.stride * channels;
                        let x = S::as_simd_f32s(&self.input[at..at + S::F32_LANES]).0[0];
                        *acc = simd.mul_add_e_f32s(x, weight, *acc);
                    }
                }
            }
            for (n, acc) in acc.iter().enumerate() {
                let at = (column + n) * channels + channel;
                S::as_mut_simd_f32s(&mut self.output[at..at + S::F32_LANES]).0[0] = *acc;
            }
        }
        if whole < channels {
            for n in 0..N {
                self.tail(simd, column + n, whole);
            }
        }
    }

    /// The channels of one pixel that fill no register.
    #[inline(always)]
    fn tail<S: Simd>(&mut self, simd: S, column: usize, channel: usize) {
        let channels = self.weights.channels;
        let mut acc = simd.partial_load_f32s(&self.weights.bias[channel..]);
        for tap in self.height.taps(self.row) {
            let line = self.height.position(self.row, tap) * self.width.input;
            for across in self.width.taps(column) {
                let at = (tap * self.width.kernel + across) * channels;
                let weight = simd.partial_load_f32s(&self.weights.values[at + channel..at + channels]);
                let at = (line + self.width.position(column, across)) * channels;
                let x = simd.partial_load_f32s(&self.input[at + channel..at + channels]);
                acc = simd.mul_add_e_f32s(x, weight, acc);
            }
        }
        let at = column * channels;
        simd.partial_store_f32s(&mut self.output[at + channel..at + channels], acc);
    }

    #[inline(always)]
    fn plane<S: Simd>(&mut self, simd: S) {
        let filter = &self.weights.values[self.channel * self.weights.taps..][..self.weights.taps];
        self.output.fill(self.weights.bias[self.channel]);
        for tap in self.height.taps(self.row) {
            let line =
                &self.input[self.height.position(self.row, tap) * self.width.input..][..self.width.input];
            for across in 0..self.width.kernel {
                let columns = self.width.outputs(across);
                if columns.is_empty() {
                    continue;
                }
                let first = self.width.position(columns.start, across);
                let weight = filter[tap * self.width.kernel + across];
                let out = &mut self.output[columns];
                if self.width.stride == 1 {
                    multiply_add(simd, out, &line[first..][..out.len()], weight);
                } else {
                    for (out, x) in out.iter_mut().zip(line[first..].iter().step_by(self.width.stride)) {
                        *out += x * weight;
                    }
                }
            }
        }
    }
}

/// `out += x·weight`.
#[inline(always)]
fn multiply_add<S: Simd>(simd: S, out: &mut [f32], x: &[f32], weight: f32) {
    let factor = simd.splat_f32s(weight);
    let (x, x_tail) = S::as_simd_f32s(x);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for (out, x) in out.iter_mut().zip(x) {
        *out = simd.mul_add_e_f32s(*x, factor, *out);
    }
    if !x_tail.is_empty() {
        let (old, x) = (simd.partial_load_f32s(out_tail), simd.partial_load_f32s(x_tail));
        simd.partial_store_f32s(out_tail, simd.mul_add_e_f32s(x, factor, old));
    }
}

#[inline(always)]
fn add<S: Simd>(simd: S, values: &mut [f32], other: &[f32]) {
    let (values, values_tail) = S::as_mut_simd_f32s(values);
    let (other, other_tail) = S::as_simd_f32s(other);
    for (value, other) in values.iter_mut().zip(other) {
        *value = simd.add_f32s(*value, *other);
    }
    if !other_tail.is_empty() {
        let sum = simd.add_f32s(simd.partial_load_f32s(values_tail), simd.partial_load_f32s(other_tail));
        simd.partial_store_f32s(values_tail, sum);
    }
}
