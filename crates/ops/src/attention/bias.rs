//! What Attention adds to its scores: mask, causal frontier, sliding window, padding of the keys.
//!
//! Position `i` of a query is `offset + i`, where `offset` counts the keys before the block: those of the cache, or
//! `nonpad_kv_seqlen - queries` per batch item.

use super::scaled_dot_product::has_bool_mask;
use crate::fused::emit::Emit;
use fusebox_ir::{Attrs, Dim, Tensor, ValueId};

/// Where queries and keys are.
pub(super) struct Positions {
    /// Queries, `[B, H, S, D]`.
    pub(super) q: ValueId,
    /// All keys, `[B, H, T, D]`.
    pub(super) keys: ValueId,
    /// Cached keys.
    pub(super) past: Option<ValueId>,
}

/// Adds everything that the attributes and inputs ask for.
pub(super) fn emit_bias(e: &mut Emit<'_>, attrs: &Attrs, scores: ValueId, at: &Positions) -> Option<ValueId> {
    let mut scores = emit_mask(e, scores)?;
    let (left, right) = (attrs.int_or("left_window_size", -1), attrs.int_or("right_window_size", -1));
    let is_causal = attrs.int_or("is_causal", 0) != 0;
    if is_causal || left >= 0 || right >= 0 {
        // Distance of each key from its query: positive to the right.
        let distance = emit_distance(e, at);
        let mut bound = |e: &mut Emit<'_>, name: &str, limit: i64| {
            let limit = e.b.constant(Tensor::scalar(limit));
            let is_outside = e.op(name, &[distance, limit]);
            scores = hide(e, is_outside, scores);
        };
        if is_causal {
            bound(e, "Greater", 0);
        }
        if left >= 0 {
            bound(e, "Less", left.checked_neg()?);
        }
        if right >= 0 {
            bound(e, "Greater", right);
        }
    }
    if let Some(lengths) = e.input(6) {
        let lengths = e.unsqueeze(lengths, &[1, 2, 3]);
        let count = e.size_of(at.keys, 2);
        let columns = range(e, count);
        let is_inside = e.op("Less", &[columns, lengths]);
        let is_outside = e.op("Not", &[is_inside]);
        scores = hide(e, is_outside, scores);
    }
    Some(scores)
}

fn hide(e: &mut Emit<'_>, is_hidden: ValueId, scores: ValueId) -> ValueId {
    let hidden = e.scalar(f64::NEG_INFINITY);
    e.op("Where", &[is_hidden, hidden, scores])
}

fn range(e: &mut Emit<'_>, count: ValueId) -> ValueId {
    let (zero, one) = (e.b.constant(Tensor::scalar(0i64)), e.b.constant(Tensor::scalar(1i64)));
    e.op("Range", &[zero, count, one])
}

/// `key - query` as `[S, T]`, or `[B, 1, S, T]` where the offset differs per batch item.
fn emit_distance(e: &mut Emit<'_>, at: &Positions) -> ValueId {
    let (queries, keys) = (e.size_of(at.q, 2), e.size_of(at.keys, 2));
    let (rows, columns) = (range(e, queries), range(e, keys));
    let mut rows = e.unsqueeze(rows, &[1]);
    if let Some(past) = at.past {
        let offset = e.size_of(past, 2);
        rows = e.op("Add", &[rows, offset]);
    } else if let Some(lengths) = e.input(6) {
        let lengths = e.unsqueeze(lengths, &[1, 2, 3]);
        let offset = e.op("Sub", &[lengths, queries]);
        rows = e.op("Add", &[rows, offset]);
    }
    e.op("Sub", &[columns, rows])
}

/// The mask, where it is shorter than the keys extended by hidden ones.
fn emit_mask(e: &mut Emit<'_>, scores: ValueId) -> Option<ValueId> {
    let Some(mut mask) = e.input(3) else { return Some(scores) };
    let is_bool = has_bool_mask(e);
    if is_bool {
        let (zero, hidden) = (e.scalar(0.0), e.scalar(f64::NEG_INFINITY));
        mask = e.op("Where", &[mask, zero, hidden]);
    }
    let missing = missing_columns(e)?;
    if missing > 0 {
        let rank = e.ty(3)?.rank()?;
        let mut pads = vec![0; 2 * rank];
        pads[2 * rank - 1] = missing;
        let (pads, hidden) = (e.b.i64s(&pads), e.scalar(f64::NEG_INFINITY));
        mask = e.op("Pad", &[mask, pads, hidden]);
    }
    Some(e.op("Add", &[scores, mask]))
}

/// Keys that the mask says nothing of; `None` when the sizes are not known well enough to tell.
fn missing_columns(e: &Emit<'_>) -> Option<i64> {
    let columns = e.ty(3)?.shape.as_ref()?.last()?.clone();
    let key_axis = e.ty(1)?.rank()? - 2;
    let mut keys = e.ty(1)?.shape.as_ref()?.get(key_axis)?.clone();
    if e.input(4).is_some() {
        keys = keys.add(e.ty(4)?.shape.as_ref()?.get(2)?);
    }
    let one = Dim::known(1);
    if columns == one && keys != one {
        return Some(0);
    }
    keys.sub(&columns).value().filter(|missing| *missing >= 0)
}
