//! Attention onto the tiled kernel: heads are strided views, so no head is ever split or merged by a copy.

use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{DType, NodeId};
use fusebox_kernels::attention::{
    AttentionMask, AttentionShape, AttentionSpec, AttentionStep, HeadView, HeadViewMut, MaskKind,
};
use fusebox_kernels::{Layout, SpecError};
use fusebox_ops::fused::{AttentionAttrs, Layout as HeadLayout};

pub(super) static ROWS: &[Row] = &[Row::fusebox("Attention", attention)];

fn attention(cx: &mut Lower<'_>, id: NodeId) -> Result<Lowered, SpecError> {
    let node = cx.graph.node(id);
    let Some(output) = node.output(0) else { return Ok(Lowered::Done) };
    let views = [0, 1, 2].map(|index| cx.input(id, index));
    if views.iter().any(|view| view.dtype != DType::F32 || view.is_empty()) {
        return Ok(Lowered::Declined("attention kernels take f32, and at least one element".into()));
    }
    let types = [0, 1].map(|index| cx.graph.node(id).input(index).map(|v| cx.ty(v)));
    let Ok(attrs) = AttentionAttrs::new(&node.attrs, types[0].as_ref(), types[1].as_ref()) else {
        return Ok(Lowered::Declined("its attributes do not fit its inputs".into()));
    };
    let count = |heads: Option<i64>| heads.and_then(|h| usize::try_from(h).ok());
    let (Some(heads), Some(kv_heads), Some(scale)) =
        (count(attrs.q_heads), count(attrs.kv_heads), attrs.scale)
    else {
        return Ok(Lowered::Declined("its head counts or its scale are unknown".into()));
    };
    let [q, k, v] = views;
    let (Some(q), Some(k), Some(v)) = (
        split(cx, q, heads, attrs.layout),
        split(cx, k, kv_heads, attrs.layout),
        split(cx, v, kv_heads, attrs.layout),
    ) else {
        return Ok(Lowered::Declined("heads do not divide the width".into()));
    };
    let shape = AttentionShape {
        batch: q.dims()[0],
        heads,
        kv_heads,
        queries: q.dims()[2],
        keys: k.dims()[2],
        depth: q.dims()[3],
        value_depth: v.dims()[3],
    };
    let Some(mask) = mask(cx, id, &shape) else {
        return Ok(Lowered::Declined("a mask of a type or shape without a kernel".into()));
    };
    let (_, dims) = cx.sizes(output);
    let target = cx.allocate(DType::F32, &dims);
    let merged = split_view(&target, heads, attrs.layout).expect("a fresh buffer splits into heads");
    let scratch = cx.buffer(shape.scratch_bytes()?);
    let mut reads = vec![q.clone(), k.clone(), v.clone()];
    reads.extend(mask.as_ref().map(|(_, view)| view.clone()));
    let (isa, causal) = (cx.isa, attrs.causal.then_some(0));
    let (softcap, nan_to_zero) = (attrs.softcap, attrs.nan_to_zero);
    cx.push(&reads.iter().collect::<Vec<_>>(), &[&target], Some(scratch), move |spans| {
        let head = |view: &View| {
            let [batch, head, row] = strides(view)?;
            Ok::<_, SpecError>(HeadView {
                operand: spans.operand(view),
                offset: view.layout.offset,
                batch,
                head,
                row,
            })
        };
        let [batch, step, row] = strides(&merged)?;
        let output = HeadViewMut { span: spans.tail(&merged)?, offset: 0, batch, head: step, row };
        let mask = mask.map(|(kind, view)| AttentionMask {
            kind,
            operand: spans.operand(&view),
            layout: view.layout,
        });
        let (q, k, v) = (head(&q)?, head(&k)?, head(&v)?);
        let scratch = spans.of(scratch);
        let spec =
            AttentionSpec { shape, scale, softcap, causal, nan_to_zero, mask, q, k, v, output, scratch };
        Ok(Box::new(AttentionStep::new(spec, isa)?))
    });
    cx.set(output, target);
    Ok(Lowered::Done)
}

/// A tensor as `[batch, heads, rows, depth]` with contiguous rows.
fn split(cx: &mut Lower<'_>, view: View, heads: usize, layout: HeadLayout) -> Option<View> {
    let contiguous = |view: &View| view.dims()[3] <= 1 || view.layout.strides[3] == 1;
    match split_view(&view, heads, layout).filter(|v| contiguous(v) && strides(v).is_ok()) {
        Some(split) => Some(split),
        None => {
            let dense = cx.dense(view);
            split_view(&dense, heads, layout)
        }
    }
}

fn split_view(view: &View, heads: usize, layout: HeadLayout) -> Option<View> {
    match (layout, view.dims()) {
        (HeadLayout::Bhsd, [_, h, _, _]) => (*h == heads).then(|| view.clone()),
        (HeadLayout::Bsd, [batch, rows, width]) if heads > 0 && width % heads == 0 => {
            let split = view.reshaped(&[*batch, *rows, heads, width / heads])?;
            Some(split.permuted(&[0, 2, 1, 3]))
        }
        _ => None,
    }
}

/// Steps from one batch, head and row to the next.
fn strides(view: &View) -> Result<[usize; 3], SpecError> {
    let step = |axis: usize| {
        let backwards = |_| SpecError { reason: "attention over an operand that is read backwards".into() };
        usize::try_from(view.layout.strides[axis]).map_err(backwards)
    };
    Ok([step(0)?, step(1)?, step(2)?])
}

/// The mask broadcast to all scores: `Some(None)` without a mask, `None` when there is no kernel for it.
fn mask(cx: &mut Lower<'_>, id: NodeId, shape: &AttentionShape) -> Option<Option<(MaskKind, View)>> {
    let Some(value) = cx.graph.node(id).input(3) else { return Some(None) };
    let view = cx.view(value);
    let kind = match view.dtype {
        DType::F32 => MaskKind::Additive,
        DType::Bool => MaskKind::Bool,
        _ => return None,
    };
    let view = view.broadcast(&[shape.batch, shape.heads, shape.queries, shape.keys])?;
    let layout: &Layout = &view.layout;
    let view = if layout.strides.iter().any(|s| *s < 0) { cx.dense(view) } else { view };
    Some(Some((kind, view)))
}
