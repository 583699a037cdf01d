//! The online softmax over one block of scores.
//!
//! Keeps, per row, the largest score seen, the sum of exponentials relative to it, and whether the row is beyond repair
//! (NaN or +∞ among its scores). Turns scores into weights in place and rescales what was accumulated before.

use crate::lanes::map_lanes;
use crate::math::{exp_of_negative, tanh};
use pulp::Simd;

/// Running state of the rows of a tile.
pub(super) struct State<'a> {
    /// Largest score so far, −∞ at first.
    pub(super) most: &'a mut [f32],
    /// Sum of weights so far, 0 at first.
    pub(super) total: &'a mut [f32],
    /// 0, or NaN once the row is beyond repair.
    pub(super) poison: &'a mut [f32],
}

/// One block of scores of a tile.
pub(super) struct Block<'a> {
    /// Rows of scores, `score_row` apart; room for whole registers beyond the last key.
    pub(super) scores: &'a mut [f32],
    pub(super) score_row: usize,
    /// Keys of the block.
    pub(super) keys: usize,
    /// Keys of the block that each row sees.
    pub(super) visible: &'a [usize],
    pub(super) state: State<'a>,
    /// What preceding blocks accumulated, rows `output_row` apart; `None` for the first.
    pub(super) output: Option<&'a mut [f32]>,
    pub(super) output_row: usize,
}

/// Bounds scores before a mask is added.
pub(super) struct Cap<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) softcap: f32,
}

impl pulp::WithSimd for Cap<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (cap, inverse) = (simd.splat_f32s(self.softcap), simd.splat_f32s(1.0 / self.softcap));
        map_lanes!(S, simd, self.scores, s => simd.mul_f32s(cap, tanh(simd, simd.mul_f32s(s, inverse))));
    }
}

impl pulp::WithSimd for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { scores, score_row, keys, visible, state, mut output, output_row, .. } = self;
        for (row, &visible) in visible.iter().enumerate() {
            let line = &mut scores[row * score_row..][..score_row];
            let whole = visible.next_multiple_of(S::F32_LANES);
            line[visible..whole].fill(f32::NEG_INFINITY);
            let (active, rest) = line.split_at_mut(whole);
            rest[..keys.saturating_sub(whole)].fill(0.0);
            let active = S::as_mut_simd_f32s(active).0;
            let before = state.most[row];
            let most = largest(simd, active, before, &mut state.poison[row]);
            // Relative to 0 while every key so far is hidden: −∞ − 0 still gives weight 0.
            let center = if most == f32::NEG_INFINITY { 0.0 } else { most };
            let sum = weigh(simd, active, center);
            let factor = match before {
                f32::NEG_INFINITY => 0.0,
                before if before == center => 1.0,
                before => (before - center).exp(),
            };
            state.most[row] = most;
            state.total[row] = state.total[row] * factor + sum;
            if let Some(output) = output.as_deref_mut().filter(|_| factor != 1.0) {
                let factor = simd.splat_f32s(factor);
                let line = &mut output[row * output_row..][..output_row];
                map_lanes!(S, simd, line, v => simd.mul_f32s(v, factor));
            }
        }
    }
}

/// The largest of a row's scores and of what was largest before.
#[inline(always)]
fn largest<S: Simd>(simd: S, row: &[S::f32s], before: f32, poison: &mut f32) -> f32 {
    let mut most = [simd.splat_f32s(before); 2];
    let mut spoilt = simd.splat_f32s(0.0);
    let (pairs, rest) = row.as_chunks::<2>();
    for [a, b] in pairs {
        most[0] = simd.max_f32s(most[0], *a);
        most[1] = simd.max_f32s(most[1], *b);
        // NaN in either makes the sum NaN, and so do infinities of both signs: those rows are NaN anyway.
        let sum = simd.add_f32s(*a, *b);
        spoilt = simd.select_f32s(simd.equal_f32s(sum, sum), spoilt, sum);
    }
    for a in rest {
        most[0] = simd.max_f32s(most[0], *a);
        spoilt = simd.select_f32s(simd.equal_f32s(*a, *a), spoilt, *a);
    }
    let most = simd.reduce_max_f32s(simd.max_f32s(most[0], most[1]));
    if simd.reduce_sum_f32s(spoilt).is_nan() || most == f32::INFINITY || most.is_nan() {
        *poison = f32::NAN;
    }
    most
}

/// Replaces scores by `e^(score − center)` and returns their sum.
#[inline(always)]
fn weigh<S: Simd>(simd: S, row: &mut [S::f32s], center: f32) -> f32 {
    let center = simd.splat_f32s(center);
    let mut sums = [simd.splat_f32s(0.0); 2];
    let (pairs, rest) = row.as_chunks_mut::<2>();
    for pair in pairs {
        for (v, sum) in pair.iter_mut().zip(&mut sums) {
            *v = exp_of_negative(simd, simd.sub_f32s(*v, center));
            *sum = simd.add_f32s(*sum, *v);
        }
    }
    for v in rest {
        *v = exp_of_negative(simd, simd.sub_f32s(*v, center));
        sums[0] = simd.add_f32s(sums[0], *v);
    }
    simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]))
}
