//! The oracle: the definition in f64, straight from the operands.
//!
//! Runs the tiles of phase 1 alone; there is nothing to pack. Slow by design: one score at a time, a row's scores in a
//! list.

use super::spec::{Bound, Mask};
use super::tile::place;
use crate::arena::Memory;
use crate::element::convert;
use crate::layout::to_signed;

/// Computes one tile of phase 1.
///
/// # Safety
/// Nothing writes the inputs, and nothing else accesses the tile's rows of the output.
pub(super) unsafe fn run(bound: &Bound, index: usize, memory: &Memory<'_>) {
    let (batch, head, first, end) = place(&bound.shape, index);
    for query in first..end {
        // SAFETY: the caller's promise.
        unsafe { row(bound, batch, head, query, memory) };
    }
}

/// # Safety
/// As for [`run`].
unsafe fn row(bound: &Bound, batch: usize, head: usize, query: usize, memory: &Memory<'_>) {
    let (shape, kv_head) = (&bound.shape, bound.kv_head(head));
    let q = |element: usize| {
        let offset = bound.q.start(batch, head) + query * bound.q.row + element;
        // SAFETY: rows and elements below the checked extents.
        f64::from(unsafe { *bound.q.source.locate(memory).add(offset) })
    };
    let at = |view: &super::spec::View, key: usize, element: usize| {
        let offset = view.start(batch, kv_head) + key * view.row + element;
        // SAFETY: as above.
        f64::from(unsafe { *view.source.locate(memory).add(offset) })
    };
    let visible = bound.visible(query);
    let scores: Vec<f64> = (0..shape.keys)
        .map(|key| {
            let dot: f64 = (0..shape.depth).map(|d| q(d) * at(&bound.k, key, d)).sum();
            let mut score = dot * f64::from(bound.scale);
            if bound.softcap > 0.0 {
                let cap = f64::from(bound.softcap);
                score = cap * (score / cap).tanh();
            }
            // SAFETY: the key lies in the mask's layout.
            score = unsafe { masked(bound, score, [batch, head, query, key], memory) };
            if key < visible { score } else { f64::NEG_INFINITY }
        })
        .collect();
    let most = scores.iter().fold(f64::NEG_INFINITY, |m, &s| if m.is_nan() || s <= m { m } else { s });
    let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    let zero = bound.nan_to_zero && !(most.is_finite() && total.is_finite());
    for element in 0..shape.value_depth {
        let sum: f64 =
            weights.iter().enumerate().map(|(key, w)| w / total * at(&bound.v, key, element)).sum();
        let place = bound.output_row(batch, head, query) + element;
        // SAFETY: the element of the output is in bounds and this tile's.
        unsafe { *bound.output.locate(memory).add(place) = convert(if zero { 0.0 } else { sum }) };
    }
}

/// # Safety
/// The index lies in the mask's layout.
unsafe fn masked(bound: &Bound, score: f64, index: [usize; 4], memory: &Memory<'_>) -> f64 {
    let place = |layout: &crate::Layout| {
        let steps = index.iter().zip(&layout.strides).map(|(&i, s)| to_signed(i) * s);
        to_signed(layout.offset) + steps.sum::<isize>()
    };
    match &bound.mask {
        None => score,
        Some(Mask::Additive(source, layout)) => {
            // SAFETY: the caller's promise.
            score + f64::from(unsafe { *source.locate(memory).offset(place(layout)) })
        }
        Some(Mask::Bool(source, layout)) => {
            // SAFETY: the caller's promise.
            let shown = unsafe { *source.locate(memory).offset(place(layout)) } != 0;
            if shown { score } else { f64::NEG_INFINITY }
        }
    }
}
