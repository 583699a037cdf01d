//! `MultiHeadAttention`: attention over projected queries, keys and values, with projection bias, masks, attention bias
//! and caches.
//!
//! Forms: three values `[B, S, H·D]`; keys and values `[B, H, T, D]` as a cross-attention cache has them; one packed value
//! `[B, S, H, 3, D]`; packed keys and values `[B, T, H, 2, D]`.

use super::Defined;
use super::heads::{Heads, after, attend, causal, key_mask, lowest, scale_of, size};
use crate::Shapes;
use crate::fused::attention::split_heads;
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, Dim, Graph, OpName, TensorType, ValueId};

/// The operator.
pub(crate) static MULTI_HEAD_ATTENTION: Defined = Defined {
    schema: &super::schema("MultiHeadAttention", (1, 10), (1, 4)),
    flops,
    role: QuantRole::StaysFloat,
    define,
};

const NAMES: [&str; 8] =
    ["query", "key", "value", "bias", "key_padding_mask", "attention_bias", "past_key", "past_value"];

fn flops(shapes: &Shapes<'_>) -> f64 {
    let keys = shapes.input(1).and_then(|k| k.get(1).copied()).unwrap_or(0.0);
    2.0 * keys * (shapes.input_elements(0) + shapes.output_elements(0))
}

fn define(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &NAMES)?;
    let heads = cx.attrs.int("num_heads").filter(|heads| *heads > 0)?;
    if cx.outputs > 3 {
        return None;
    }
    let batch: Dim = e.ty(0)?.shape.as_ref()?.first()?.clone();
    let depth = depth(&e, heads);
    let [q, new_k, new_v] = operands(&mut e, heads)?;
    let (past_k, past_v) = (e.input(6), e.input(7));
    let (k, v) = (after(&mut e, past_k, new_k), after(&mut e, past_v, new_v));
    let mut added = Vec::new();
    if e.input(4).is_some() {
        added.push(key_mask(&mut e, cx, 4, &batch, k)?);
    }
    if cx.attrs.int_or("unidirectional", 0) != 0 {
        let before = past_k.map(|past| e.size_of(past, 2));
        let hidden = lowest(&e);
        added.push(causal(&mut e, q, k, before, hidden));
    }
    added.extend(e.input(5));
    let scale = scale_of(cx.attrs, depth)?;
    let y = attend(&mut e, &Heads { q, k, v, scale, softcap: 0.0, group: 1 }, &added, None);
    Some(e.finish(&[y, k, v][..cx.outputs.clamp(1, 3)]))
}

fn depth(e: &Emit<'_>, heads: i64) -> Option<i64> {
    match e.ty(0)?.rank()? {
        5 => size(e, 0, 4),
        _ => size(e, 0, 2).map(|width| width / heads),
    }
}

/// Queries, keys and values with their parts of the bias, heads on an axis of their own.
fn operands(e: &mut Emit<'_>, heads: i64) -> Option<[ValueId; 3]> {
    let rank = |e: &Emit<'_>, index: usize| e.ty(index).and_then(TensorType::rank);
    let (q, k) = (e.input(0)?, e.input(1));
    let flat = match (rank(e, 0)?, k, e.input(2)) {
        (5, None, None) => unpacked(e, q, 3),
        (3, Some(k), None) if rank(e, 1)? == 5 => [vec![q], unpacked(e, k, 2)].concat(),
        (3, Some(k), Some(v)) if rank(e, 1)? == 4 && rank(e, 2)? == 4 => {
            let [bias, ..] = biases(e)?;
            let q = bias.map_or(q, |bias| e.op("Add", &[q, bias]));
            return Some([split_heads(e, q, heads), k, v]);
        }
        (3, Some(k), Some(v)) if rank(e, 1)? == 3 && rank(e, 2)? == 3 => vec![q, k, v],
        _ => return None,
    };
    let mut parts = [*flat.first()?, *flat.get(1)?, *flat.get(2)?];
    for (part, bias) in parts.iter_mut().zip(biases(e)?) {
        if let Some(bias) = bias {
            *part = e.op("Add", &[*part, bias]);
        }
        *part = split_heads(e, *part, heads);
    }
    Some(parts)
}

/// `[B, S, H, count, D]` as `count` values `[B, S, H·D]`.
fn unpacked(e: &mut Emit<'_>, x: ValueId, count: usize) -> Vec<ValueId> {
    let attrs = Attrs::new().with("axis", 3);
    let attrs = if e.opset() >= 18 { attrs.with("num_outputs", count as i64) } else { attrs };
    let parts = e.b.node(OpName::onnx("Split"), &[Some(x)], count, attrs);
    parts.iter().map(|part| e.reshape(*part, &[0, 0, -1])).collect()
}

/// The three parts of the bias, which has the widths of queries, keys and values.
fn biases(e: &mut Emit<'_>) -> Option<[Option<ValueId>; 3]> {
    let Some(bias) = e.input(3) else { return Some([None; 3]) };
    let width = match e.ty(0)?.rank()? {
        5 => size(e, 0, 2)? * size(e, 0, 4)?,
        _ => size(e, 0, 2)?,
    };
    let rest = size(e, 3, 0)? - 2 * width;
    let sizes = e.b.i64s(&[width, width, rest]);
    let attrs = Attrs::new().with("axis", 0);
    let parts = e.b.node(OpName::onnx("Split"), &[Some(bias), Some(sizes)], 3, attrs);
    Some([Some(parts[0]), Some(parts[1]), Some(parts[2])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, run_all, t};

    #[test]
    fn it_is_the_fused_attention_with_a_bias_before() {
        let x = |step: f32| from_fn(&[1, 3, 4], |i| (i as f32 * step).sin());
        let (q, k, v, bias) = (x(0.7), x(1.3), x(0.9), from_fn(&[3, 3], |i| i as f32 * 0.1));
        let attrs = Attrs::new().with("num_heads", 2).with("scale", 0.5f32);
        let mask = bias.reshaped(vec![1, 1, 3, 3]).unwrap();
        let zeros = t(&[12], &[0f32; 12]);
        let inputs = [Some(q.clone()), Some(k.clone()), Some(v.clone()), Some(zeros), None, Some(mask)];
        let found = run_all(&MULTI_HEAD_ATTENTION, &attrs, &inputs, 1).unwrap().remove(0);
        let fused =
            Attrs::new().with("layout", "bsd").with("q_heads", 2).with("kv_heads", 2).with("scale", 0.5f32);
        let inputs = [Some(q), Some(k), Some(v), Some(bias)];
        let expected = run_all(&crate::fused::attention::Attention, &fused, &inputs, 1).unwrap().remove(0);
        close(&found, &expected.floats().unwrap());
    }
}
