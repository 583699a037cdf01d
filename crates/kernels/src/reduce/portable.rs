//! Folds in vector registers, for any instruction set pulp knows.
//!
//! Runs fold along the registers, columns side by side. Pieces are folded in f32 and joined in f64.

use super::Reduction;
use super::plan::{Plan, STRIP};
use crate::lanes::{Fold, Largest, Product, Smallest, Sum, SumOfMagnitudes, SumOfSquares};
use pulp::Simd;
use std::ops::Range;

/// Elements (or rows of columns) folded in f32 before they join the f64 total.
const PIECE: usize = 4096;
const ROWS: usize = 128;

/// One tile of a float reduction.
pub(super) struct FoldTile<'a> {
    pub(super) plan: &'a Plan,
    pub(super) reduction: Reduction,
    pub(super) input: &'a [f32],
    /// Outputs of the tile.
    pub(super) range: Range<usize>,
    /// Their place.
    pub(super) output: &'a mut [f32],
}

/// Neutral element of a fold and the joining of two partial results.
#[derive(Clone, Copy)]
pub(super) struct Join {
    pub(super) start: f32,
    pub(super) join: fn(f64, f64) -> f64,
}

impl Reduction {
    pub(super) fn join(self) -> Join {
        match self {
            Self::Max => {
                Join { start: f32::NEG_INFINITY, join: |a, b| if a > b || a.is_nan() { a } else { b } }
            }
            Self::Min => Join { start: f32::INFINITY, join: |a, b| if a < b || a.is_nan() { a } else { b } },
            Self::Prod => Join { start: 1.0, join: |a, b| a * b },
            _ => Join { start: 0.0, join: |a, b| a + b },
        }
    }

    /// Turns the folded total of `depth` elements into the result.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "totals are kept in f64")]
    pub(super) fn finish(self, total: f64, depth: usize) -> f32 {
        match self {
            Self::Mean => (total / depth as f64) as f32,
            Self::L2 => total.sqrt() as f32,
            _ => total as f32,
        }
    }
}

impl pulp::WithSimd for FoldTile<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.reduction {
            Reduction::Sum | Reduction::Mean => self.each(simd, Sum(simd)),
            Reduction::L1 => self.each(simd, SumOfMagnitudes(simd)),
            Reduction::L2 | Reduction::SumSquare => self.each(simd, SumOfSquares(simd)),
            Reduction::Prod => self.each(simd, Product(simd)),
            Reduction::Max => self.each(simd, Largest(simd)),
            Reduction::Min => self.each(simd, Smallest(simd)),
        }
    }
}

impl FoldTile<'_> {
    #[inline(always)]
    fn each<S: Simd>(self, simd: S, fold: impl Fold<S>) {
        if self.plan.columns == 1 { self.runs(simd, fold) } else { self.columns(simd, fold) }
    }

    #[inline(always)]
    fn runs<S: Simd>(self, simd: S, fold: impl Fold<S>) {
        let Self { plan, reduction, input, range, output } = self;
        let Join { start, join } = reduction.join();
        let identity = simd.splat_f32s(start);
        let kept = plan.kept.offsets(range.start);
        for (out, base) in output.iter_mut().zip(kept) {
            let mut total = f64::from(start);
            for offset in plan.folded.offsets(0).take(plan.folded.count()) {
                for piece in input[base + offset..][..plan.run].chunks(PIECE) {
                    let (vectors, tail) = S::as_simd_f32s(piece);
                    let mut lanes = [identity; 4];
                    let (quads, rest) = vectors.as_chunks::<4>();
                    for quad in quads {
                        for (lane, v) in lanes.iter_mut().zip(quad) {
                            *lane = fold.lanes(*lane, *v);
                        }
                    }
                    for (lane, v) in lanes.iter_mut().zip(rest) {
                        *lane = fold.lanes(*lane, *v);
                    }
                    if !tail.is_empty() {
                        let mut padded = [identity];
                        bytemuck::cast_slice_mut(&mut padded)[..tail.len()].copy_from_slice(tail);
                        lanes[0] = fold.lanes(lanes[0], padded[0]);
                    }
                    let folded = bytemuck::cast_slice::<S::f32s, f32>(&lanes);
                    total = folded.iter().fold(total, |total, &v| join(total, f64::from(v)));
                }
            }
            *out = reduction.finish(total, plan.depth);
        }
    }

    #[inline(always)]
    fn columns<S: Simd>(self, simd: S, fold: impl Fold<S>) {
        let Self { plan, reduction, input, range, output } = self;
        let Join { start, join } = reduction.join();
        let width = range.len();
        let (row, column) = (range.start / plan.columns, range.start % plan.columns);
        let base = plan.kept.offsets(row).next().unwrap_or(0) + column;
        let mut totals = [f64::from(start); STRIP];
        let mut partial = [0.0_f32; STRIP];
        let mut offsets = plan.folded.offsets(0);
        let mut left = plan.folded.count();
        while left > 0 {
            let rows = left.min(ROWS);
            partial.fill(start);
            for offset in offsets.by_ref().take(rows) {
                let values = &input[base + offset..][..width];
                let (vectors, tail) = S::as_simd_f32s(values);
                let (accumulators, rest) = S::as_mut_simd_f32s(&mut partial[..width]);
                for (acc, v) in accumulators.iter_mut().zip(vectors) {
                    *acc = fold.lanes(*acc, *v);
                }
                if !tail.is_empty() {
                    let folded = fold.lanes(simd.partial_load_f32s(rest), simd.partial_load_f32s(tail));
                    simd.partial_store_f32s(rest, folded);
                }
            }
            for (total, value) in totals.iter_mut().zip(&partial[..width]) {
                *total = join(*total, f64::from(*value));
            }
            left -= rows;
        }
        for (out, total) in output.iter_mut().zip(totals) {
            *out = reduction.finish(total, plan.depth);
        }
    }
}
