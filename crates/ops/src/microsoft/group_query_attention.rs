//! `GroupQueryAttention`: causal attention with fewer key heads than query heads, a cache, and rotary embedding inside.
//!
//! `seqlens_k[b]` is the number of keys of sample `b` minus one; `total_sequence_length` the largest number of keys. New
//! keys are written behind the cached ones of their sample; a cache that is large enough keeps its length. Present:
//! `[B, KV, max(cache, total), D]`, zero where nothing was written.

use super::Defined;
use super::heads::{Heads, attend, lowest, range, scale_of, shown, size};
use super::rotary_embedding::turned;
use crate::Shapes;
use crate::fused::attention::split_heads;
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, OpName, Tensor, ValueId};

/// The operator.
pub(crate) static GROUP_QUERY_ATTENTION: Defined = Defined {
    schema: &super::schema("GroupQueryAttention", (1, 14), (1, 4)),
    flops,
    role: QuantRole::StaysFloat,
    define,
};

const NAMES: [&str; 12] = [
    "query",
    "key",
    "value",
    "past_key",
    "past_value",
    "seqlens_k",
    "total_sequence_length",
    "cos_cache",
    "sin_cache",
    "position_ids",
    "attention_bias",
    "head_sink",
];

fn flops(shapes: &Shapes<'_>) -> f64 {
    let keys = shapes.output(1).and_then(|k| k.get(2).copied()).unwrap_or(0.0);
    4.0 * keys * shapes.output_elements(0)
}

fn define(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &NAMES)?;
    let positive = |name: &str| cx.attrs.int(name).filter(|value| *value > 0);
    let (heads, kv_heads) = (positive("num_heads")?, positive("kv_num_heads")?);
    let quantized =
        ["k_quant_type", "v_quant_type"].iter().any(|n| cx.attrs.str(n).is_some_and(|t| t != "NONE"));
    if heads % kv_heads != 0 || cx.outputs > 3 || quantized {
        return None;
    }
    let ([mut q, mut k, v], depth) = operands(&mut e, heads, kv_heads)?;
    let at = Places::new(&mut e, q)?;
    if cx.attrs.int_or("do_rotary", 0) != 0 {
        let positions = match e.input(9) {
            Some(positions) => positions,
            None => at.queries,
        };
        let caches = [e.input(7)?, e.input(8)?];
        let width = size(&e, 7, 1).map_or(0, |half| 2 * half);
        let width = if Some(width) == depth { 0 } else { width };
        let attrs = Attrs::new().with("interleaved", cx.attrs.int_or("rotary_interleaved", 0));
        q = turned(&mut e, q, caches, positions, width, &attrs);
        k = turned(&mut e, k, caches, positions, width, &attrs);
    }
    let (k, v) = (at.cached(&mut e, 3, k), at.cached(&mut e, 4, v));
    let mut added = vec![at.visible(&mut e, k, cx.attrs.int_or("local_window_size", -1))];
    added.extend(e.input(10));
    let scale = scale_of(cx.attrs, depth)?;
    let softcap = cx.attrs.float_or("softcap", 0.0);
    let sink = match e.input(11) {
        Some(sink) => Some(e.reshape(sink, &[1, heads, 1, 1])),
        None if cx.attrs.int_or("smooth_softmax", 0) == 1 => Some(e.scalar(0.0)),
        None => None,
    };
    let group = heads / kv_heads;
    let y = attend(&mut e, &Heads { q, k, v, scale, softcap, group }, &added, sink);
    Some(e.finish(&[y, k, v][..cx.outputs.clamp(1, 3)]))
}

/// Queries, keys and values with heads on an axis of their own, and the depth of a head.
fn operands(e: &mut Emit<'_>, heads: i64, kv_heads: i64) -> Option<([ValueId; 3], Option<i64>)> {
    let (q, width) = (e.input(0)?, size(e, 0, 2));
    if let (Some(k), Some(v)) = (e.input(1), e.input(2)) {
        let split = [split_heads(e, q, heads), split_heads(e, k, kv_heads), split_heads(e, v, kv_heads)];
        return Some((split, width.map(|width| width / heads)));
    }
    let depth = width? / (heads + 2 * kv_heads);
    let sizes = e.b.i64s(&[heads * depth, kv_heads * depth, kv_heads * depth]);
    let attrs = Attrs::new().with("axis", -1);
    let parts = e.b.node(OpName::onnx("Split"), &[Some(q), Some(sizes)], 3, attrs);
    let split = [(parts[0], heads), (parts[1], kv_heads), (parts[2], kv_heads)];
    Some((split.map(|(part, heads)| split_heads(e, part, heads)), Some(depth)))
}

/// Where the keys of each sample are.
struct Places {
    /// Keys cached before the new ones, `[B, 1]`.
    past: ValueId,
    /// Keys of each sample, `[B, 1]`.
    ends: ValueId,
    /// New keys, a scalar.
    new: ValueId,
    /// Length of the cache that comes out, a scalar.
    total: ValueId,
    /// Position of each query, `[B, S]`.
    queries: ValueId,
}

impl Places {
    fn new(e: &mut Emit<'_>, q: ValueId) -> Option<Self> {
        let (lengths, total) = (e.input(5)?, e.input(6)?);
        let lengths = e.cast(lengths, DType::I64);
        let lengths = e.reshape(lengths, &[-1, 1]);
        let total = e.cast(total, DType::I64);
        let shape = e.b.i64s(&[]);
        let mut total = e.op("Reshape", &[total, shape]);
        let new = e.size_of(q, 2);
        let (zero, one) = (e.b.constant(Tensor::scalar(0i64)), e.b.constant(Tensor::scalar(1i64)));
        let ends = e.op("Add", &[lengths, one]);
        let past = e.op("Sub", &[ends, new]);
        // The first block may be padded: its samples end before it does and still begin at 0.
        let is_first = e.op("Equal", &[total, new]);
        let past = e.op("Where", &[is_first, zero, past]);
        if let Some(cache) = e.input(3) {
            let length = e.size_of(cache, 2);
            total = e.op("Max", &[total, length]);
        }
        let steps = range(e, new);
        let queries = e.op("Add", &[past, steps]);
        Some(Self { past, ends, new, total, queries })
    }

    /// The cache of input `index` with new keys or values `[B, KV, S, D]` written into it.
    fn cached(&self, e: &mut Emit<'_>, index: usize, new: ValueId) -> ValueId {
        let Some(old) = e.input(index) else { return new };
        let along = |axis: i64| Attrs::new().with("axis", axis);
        let shape = e.op("Shape", &[new]);
        let (first, last) = (e.b.i64s(&[0, 1]), e.b.i64s(&[3]));
        let (first, last) = (e.op("Gather", &[shape, first]), e.op("Gather", &[shape, last]));
        let sized = |e: &mut Emit<'_>, count: ValueId| e.op_with("Concat", &[first, count, last], along(0));
        let one = e.b.i64s(&[1]);
        let row = sized(e, one);
        let zero = e.scalar(0.0);
        let nothing = e.op("Expand", &[zero, row]);
        let sources = e.op_with("Concat", &[old, new, nothing], along(2));
        let index = self.sources(e, old);
        let total = e.unsqueeze(self.total, &[0]);
        let shape = sized(e, total);
        let index = e.op("Expand", &[index, shape]);
        e.op_with("GatherElements", &[sources, index], along(2))
    }

    /// For each place of the cache that comes out, where among old keys, new keys and one row of zeros it comes from:
    /// `[B, 1, T, 1]`.
    fn sources(&self, e: &mut Emit<'_>, old: ValueId) -> ValueId {
        let cache = e.size_of(old, 2);
        let places = range(e, self.total);
        let is_old = e.op("Less", &[places, self.past]);
        let ends = e.op("Add", &[self.past, self.new]);
        let is_new = e.op("Less", &[places, ends]);
        let shift = e.op("Sub", &[cache, self.past]);
        let of_new = e.op("Add", &[places, shift]);
        let nowhere = e.op("Add", &[cache, self.new]);
        let other = e.op("Where", &[is_new, of_new, nowhere]);
        let index = e.op("Where", &[is_old, places, other]);
        e.unsqueeze(index, &[1, 3])
    }

    /// What is added so that each query sees the keys up to its own, at most `window` of them: `[B, 1, S, T]`.
    fn visible(&self, e: &mut Emit<'_>, k: ValueId, window: i64) -> ValueId {
        let queries = e.unsqueeze(self.queries, &[2]);
        let count = e.size_of(k, 2);
        let keys = range(e, count);
        let is_before = e.op("LessOrEqual", &[keys, queries]);
        let ends = e.unsqueeze(self.ends, &[2]);
        let is_inside = e.op("Less", &[keys, ends]);
        let mut is_shown = e.op("And", &[is_before, is_inside]);
        if window > 0 {
            let window = e.b.constant(Tensor::scalar(window));
            let before = e.op("Sub", &[queries, window]);
            let is_near = e.op("Greater", &[keys, before]);
            is_shown = e.op("And", &[is_shown, is_near]);
        }
        let hidden = lowest(e);
        let added = shown(e, is_shown, hidden);
        e.unsqueeze(added, &[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run_all, t};

    #[test]
    fn new_keys_go_behind_those_of_their_sample() {
        let one = |x: f32, y: f32| Some(t(&[2, 1, 1], &[x, y]));
        let cache = |a: [f32; 4]| Some(t(&[2, 1, 2, 1], &a));
        let inputs = [
            one(0.0, 0.0),
            one(1.0, 2.0),
            one(10.0, 20.0),
            cache([3.0, 0.0, 4.0, 5.0]),
            cache([30.0, 0.0, 40.0, 50.0]),
            Some(t(&[2], &[1i32, 2])),
            Some(Tensor::scalar(3i32)),
        ];
        let attrs = Attrs::new().with("num_heads", 1).with("kv_num_heads", 1);
        let outputs = run_all(&GROUP_QUERY_ATTENTION, &attrs, &inputs, 3).unwrap();
        close(&outputs[1], &[3.0, 1.0, 0.0, 4.0, 5.0, 2.0]);
        close(&outputs[0], &[20.0, (40.0 + 50.0 + 20.0) / 3.0]);
    }

    #[test]
    fn the_first_block_needs_no_cache() {
        let x = t(&[1, 2, 2], &[0f32, 0.0, 0.0, 0.0]);
        let (k, v) = (t(&[1, 2, 1], &[1f32, 2.0]), t(&[1, 2, 1], &[10f32, 20.0]));
        let lengths = [Some(t(&[1], &[1i32])), Some(Tensor::scalar(2i32))];
        let inputs: Vec<Option<Tensor>> =
            [Some(x), Some(k), Some(v), None, None].into_iter().chain(lengths).collect();
        let attrs = Attrs::new().with("num_heads", 2).with("kv_num_heads", 1);
        let outputs = run_all(&GROUP_QUERY_ATTENTION, &attrs, &inputs, 3).unwrap();
        close(&outputs[0], &[10.0, 10.0, 15.0, 15.0]);
        let window =
            run_all(&GROUP_QUERY_ATTENTION, &attrs.with("local_window_size", 1), &inputs, 1).unwrap();
        close(&window[0], &[10.0, 10.0, 20.0, 20.0]);
    }
}
