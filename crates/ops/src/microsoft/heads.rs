//! What the attention operators of com.microsoft share: masks as numbers that are added to the scores, caches, the
//! product itself.
//!
//! Heads have an axis of their own here: `[batch, heads, sequence, depth]`. Hidden scores get the attribute
//! `mask_filter_value` added, or the lowest number of the type where the operator says so.

use crate::fused::attention::{emit_softcap, repeat_heads};
use crate::fused::emit::Emit;
use crate::op::Body;
use fusebox_ir::{Attrs, DType, OpName, Tensor, ValueId};

/// Operands of a product of attention.
pub(super) struct Heads {
    pub(super) q: ValueId,
    pub(super) k: ValueId,
    pub(super) v: ValueId,
    /// Factor of the scores.
    pub(super) scale: f64,
    /// Bound of the scores, 0 for none.
    pub(super) softcap: f32,
    /// Query heads per key head.
    pub(super) group: i64,
}

/// `softmax(cap(scale·q·kᵀ) + Σ added)·v`, heads joined: `[batch, sequence, heads·depth]`. `sink` is one more score per
/// head, `[1, heads, 1, 1]`, that takes weight and gives nothing.
pub(super) fn attend(e: &mut Emit<'_>, at: &Heads, added: &[ValueId], sink: Option<ValueId>) -> ValueId {
    let (mut k, mut v) = (at.k, at.v);
    if at.group > 1 {
        (k, v) = (repeat_heads(e, k, at.group), repeat_heads(e, v, at.group));
    }
    let keys = e.transpose(k, &[0, 1, 3, 2]);
    let scale = e.scalar(at.scale);
    let scores = e.op("MatMul", &[at.q, keys]);
    let scores = e.op("Mul", &[scores, scale]);
    let mut scores = emit_softcap(e, scores, at.softcap);
    let total = added.iter().copied().reduce(|a, b| e.op("Add", &[a, b]));
    if let Some(total) = total {
        scores = e.op("Add", &[scores, total]);
    }
    let weights = match sink {
        None => e.op_with("Softmax", &[scores], Attrs::new().with("axis", -1)),
        Some(sink) => with_sink(e, scores, sink),
    };
    let y = e.op("MatMul", &[weights, v]);
    let rows = e.transpose(y, &[0, 2, 1, 3]);
    e.reshape(rows, &[0, 0, -1])
}

fn with_sink(e: &mut Emit<'_>, scores: ValueId, sink: ValueId) -> ValueId {
    let first = crate::attention::rotary_embedding::cut(e, scores, 0, 1, 1);
    let shape = e.op("Shape", &[first]);
    let column = e.op("Expand", &[sink, shape]);
    let along = || Attrs::new().with("axis", -1);
    let all = e.op_with("Concat", &[scores, column], along());
    let weights = e.op_with("Softmax", &[all], along());
    crate::attention::rotary_embedding::cut(e, weights, 0, -1, 1)
}

/// Factor of the scores: the attribute, or `1/√depth`.
pub(super) fn scale_of(attrs: &Attrs, depth: Option<i64>) -> Option<f64> {
    match attrs.float("scale").filter(|scale| *scale != 0.0) {
        Some(scale) => Some(f64::from(scale)),
        None => depth.filter(|depth| *depth > 0).map(|depth| 1.0 / (depth as f64).sqrt()),
    }
}

/// Size of an axis of an input, when known.
pub(super) fn size(e: &Emit<'_>, index: usize, axis: usize) -> Option<i64> {
    e.ty(index)?.shape.as_ref()?.get(axis)?.value()
}

/// `0, 1, …` up to an i64 scalar.
pub(super) fn range(e: &mut Emit<'_>, count: ValueId) -> ValueId {
    let (zero, one) = (e.b.constant(Tensor::scalar(0i64)), e.b.constant(Tensor::scalar(1i64)));
    e.op("Range", &[zero, count, one])
}

/// The lowest finite number of the activations' type.
pub(super) fn lowest(e: &Emit<'_>) -> f64 {
    match e.dtype {
        DType::F16 => half::f16::MIN.to_f64(),
        DType::BF16 => half::bf16::MIN.to_f64(),
        DType::F64 => f64::MIN,
        _ => f64::from(f32::MIN),
    }
}

/// 0 where a condition holds, `hidden` where not.
pub(super) fn shown(e: &mut Emit<'_>, condition: ValueId, hidden: f64) -> ValueId {
    let (zero, hidden) = (e.scalar(0.0), e.scalar(hidden));
    e.op("Where", &[condition, zero, hidden])
}

/// What a mask of input `index` adds to scores over `keys` (`[batch, heads, keys, depth]`), in any of its forms: `[B, T]`
/// and `[B, S, T]` of 0 and 1, `[B]` ends, `[2·B]` ends and then starts. `None` when the form is not known.
pub(super) fn key_mask(
    e: &mut Emit<'_>,
    cx: &Body<'_>,
    index: usize,
    batch: &fusebox_ir::Dim,
    keys: ValueId,
) -> Option<ValueId> {
    let (mask, ty) = (e.input(index)?, e.ty(index)?);
    let hidden = f64::from(cx.attrs.float_or("mask_filter_value", -10000.0));
    let shape = ty.shape.as_ref()?;
    let zero = e.b.constant(Tensor::scalar(0i32));
    match shape.as_slice() {
        [_, _] => {
            let is_shown = e.op("Greater", &[mask, zero]);
            let added = shown(e, is_shown, hidden);
            Some(e.unsqueeze(added, &[1, 2]))
        }
        [_, _, _] => {
            let is_shown = e.op("Greater", &[mask, zero]);
            let added = shown(e, is_shown, hidden);
            Some(e.unsqueeze(added, &[1]))
        }
        [count] => {
            let has_starts = count == &batch.mul(&fusebox_ir::Dim::known(2));
            if !has_starts && count != batch {
                return None;
            }
            let bounds = e.cast(mask, DType::I64);
            let parts = if has_starts {
                let attrs = Attrs::new().with("axis", 0).with("num_outputs", 2);
                e.b.node(OpName::onnx("Split"), &[Some(bounds)], 2, attrs).to_vec()
            } else {
                vec![bounds]
            };
            let count = e.size_of(keys, 2);
            let columns = range(e, count);
            let end = e.unsqueeze(parts[0], &[1]);
            let mut is_shown = e.op("Less", &[columns, end]);
            if let Some(start) = parts.get(1) {
                let start = e.unsqueeze(*start, &[1]);
                let is_after = e.op("GreaterOrEqual", &[columns, start]);
                is_shown = e.op("And", &[is_shown, is_after]);
            }
            let added = shown(e, is_shown, hidden);
            Some(e.unsqueeze(added, &[1, 2]))
        }
        _ => None,
    }
}

/// What a causal frontier adds: query `i` sees keys up to `past + i`, where `past` is what keys there are before those of
/// the queries. `[S, T]`.
pub(super) fn causal(
    e: &mut Emit<'_>,
    q: ValueId,
    k: ValueId,
    past: Option<ValueId>,
    hidden: f64,
) -> ValueId {
    let (rows, columns) = (e.size_of(q, 2), e.size_of(k, 2));
    let mut rows = range(e, rows);
    if let Some(past) = past {
        rows = e.op("Add", &[rows, past]);
    }
    let (rows, columns) = (e.unsqueeze(rows, &[1]), range(e, columns));
    let is_shown = e.op("LessOrEqual", &[columns, rows]);
    shown(e, is_shown, hidden)
}

/// Cached keys or values before new ones.
pub(super) fn after(e: &mut Emit<'_>, past: Option<ValueId>, new: ValueId) -> ValueId {
    match past {
        Some(past) => e.op_with("Concat", &[past, new], Attrs::new().with("axis", 2)),
        None => new,
    }
}
