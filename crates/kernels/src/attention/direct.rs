//! The two products for a few queries, straight from the rows of k and v: a decoder that takes one token at a time would
//! spend more on packing its cache than on reading it.
//!
//! Four rows at a time, so that sums do not wait for each other. Knows neither masks nor softmax.

use pulp::Simd;

/// Most queries for which rows are read where they lie.
pub(super) const QUERIES: usize = 2;
/// Rows that are read side by side.
const BESIDE: usize = 4;

/// Rows of k or v in memory.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    first: *const f32,
    stride: usize,
    count: usize,
    width: usize,
}

impl Rows {
    /// # Safety
    /// From `first` on there are `count` rows of `width` elements, `stride` elements apart, that nothing writes while
    /// this exists.
    pub(super) unsafe fn new(first: *const f32, stride: usize, count: usize, width: usize) -> Self {
        Self { first, stride, count, width }
    }

    #[inline(always)]
    fn row(&self, index: usize) -> &[f32] {
        debug_assert!(index < self.count);
        // SAFETY: the promise of `new`; callers stay below `count`.
        unsafe { std::slice::from_raw_parts(self.first.add(index * self.stride), self.width) }
    }
}

/// `scores[j] = query·keys[j]`.
pub(super) struct Scores<'a> {
    pub(super) query: &'a [f32],
    pub(super) keys: Rows,
    pub(super) scores: &'a mut [f32],
}

impl pulp::WithSimd for Scores<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { query, keys, scores } = self;
        let (whole, tail) = S::as_simd_f32s(query);
        let end = simd.partial_load_f32s(tail);
        let (fours, rest) = scores[..keys.count].as_chunks_mut::<BESIDE>();
        let done = fours.len() * BESIDE;
        for (index, four) in fours.iter_mut().enumerate() {
            let rows: [&[f32]; BESIDE] = std::array::from_fn(|j| keys.row(index * BESIDE + j));
            let rows = rows.map(|row| S::as_simd_f32s(row));
            let mut sums = [simd.splat_f32s(0.0); BESIDE];
            for (at, q) in whole.iter().enumerate() {
                for j in 0..BESIDE {
                    sums[j] = simd.mul_add_e_f32s(*q, rows[j].0[at], sums[j]);
                }
            }
            for j in 0..BESIDE {
                sums[j] = simd.mul_add_e_f32s(end, simd.partial_load_f32s(rows[j].1), sums[j]);
                four[j] = simd.reduce_sum_f32s(sums[j]);
            }
        }
        for (index, score) in rest.iter_mut().enumerate() {
            let (row, last) = S::as_simd_f32s(keys.row(done + index));
            let mut sum = simd.mul_add_e_f32s(end, simd.partial_load_f32s(last), simd.splat_f32s(0.0));
            for (q, k) in whole.iter().zip(row) {
                sum = simd.mul_add_e_f32s(*q, *k, sum);
            }
            *score = simd.reduce_sum_f32s(sum);
        }
    }
}

/// `output (+)= Σ weights[j]·values[j]`.
pub(super) struct Values<'a> {
    pub(super) weights: &'a [f32],
    pub(super) values: Rows,
    /// As wide as the rows.
    pub(super) output: &'a mut [f32],
    pub(super) accumulate: bool,
}

impl pulp::WithSimd for Values<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weights, values, output, accumulate } = self;
        if !accumulate {
            output.fill(0.0);
        }
        let (whole, tail) = S::as_mut_simd_f32s(output);
        let mut end = simd.partial_load_f32s(tail);
        let (fours, rest) = weights[..values.count].as_chunks::<BESIDE>();
        let done = fours.len() * BESIDE;
        for (index, four) in fours.iter().enumerate() {
            let rows: [&[f32]; BESIDE] = std::array::from_fn(|j| values.row(index * BESIDE + j));
            let rows = rows.map(|row| S::as_simd_f32s(row));
            let weights = four.map(|weight| simd.splat_f32s(weight));
            for (at, sum) in whole.iter_mut().enumerate() {
                let mut total = *sum;
                for j in 0..BESIDE {
                    total = simd.mul_add_e_f32s(weights[j], rows[j].0[at], total);
                }
                *sum = total;
            }
            for j in 0..BESIDE {
                end = simd.mul_add_e_f32s(weights[j], simd.partial_load_f32s(rows[j].1), end);
            }
        }
        for (index, weight) in rest.iter().enumerate() {
            let weight = simd.splat_f32s(*weight);
            let (row, last) = S::as_simd_f32s(values.row(done + index));
            for (sum, v) in whole.iter_mut().zip(row) {
                *sum = simd.mul_add_e_f32s(weight, *v, *sum);
            }
            end = simd.mul_add_e_f32s(weight, simd.partial_load_f32s(last), end);
        }
        if !tail.is_empty() {
            simd.partial_store_f32s(tail, end);
        }
    }
}
