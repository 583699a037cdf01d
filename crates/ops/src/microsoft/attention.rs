//! `Attention` and `QAttention`: one product gives queries, keys and values; the second takes it in 8-bit integers.
//!
//! Inputs beside the product's: `mask_index` in all of its forms, `past` `[2, B, H, P, D]`, `attention_bias`. Rotary
//! embedding inside and caches that are written in place have no definition here.

use super::Defined;
use super::affine::dtype_of;
use super::heads::{Heads, after, attend, causal, key_mask, lowest, scale_of, size};
use super::quantized_products::{Operands, product};
use crate::Shapes;
use crate::fused::attention::split_heads;
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attr, Attrs, Graph, OpName, Tensor, ValueId};

/// Of floats.
pub(crate) static ATTENTION: Defined = Defined {
    schema: &super::schema("Attention", (2, 7), (1, 2)),
    flops,
    role: QuantRole::StaysFloat,
    define: floats,
};

/// Of 8-bit integers.
pub(crate) static QUANTIZED: Defined = Defined {
    schema: &super::schema("QAttention", (2, 9), (1, 2)),
    flops,
    role: QuantRole::StaysFloat,
    define: quantized,
};

fn flops(shapes: &Shapes<'_>) -> f64 {
    let (x, w) = (shapes.input(0), shapes.input(1));
    let projection = shapes.input_elements(0) * w.and_then(|w| w.last().copied()).unwrap_or(0.0);
    let keys = x.and_then(|x| x.get(1).copied()).unwrap_or(0.0);
    2.0 * projection + 4.0 * keys * shapes.output_elements(0)
}

/// Input positions that the two forms have at different places.
struct Slots {
    mask: usize,
    past: usize,
    bias: usize,
}

fn floats(cx: &Body<'_>) -> Option<Graph> {
    let names = ["input", "weights", "bias", "mask_index", "past", "attention_bias"];
    let mut e = super::emit(cx, &names)?;
    let (x, w) = (e.input(0)?, e.input(1)?);
    let mut rows = e.op("MatMul", &[x, w]);
    if let Some(bias) = e.input(2) {
        rows = e.op("Add", &[rows, bias]);
    }
    heads(e, cx, rows, &Slots { mask: 3, past: 4, bias: 5 })
}

fn quantized(cx: &Body<'_>) -> Option<Graph> {
    let names = [
        "input",
        "weight",
        "bias",
        "input_scale",
        "weight_scale",
        "mask_index",
        "input_zero",
        "weight_zero",
        "past",
    ];
    let mut e = super::emit_as(cx, &names, dtype_of(cx, 3)?)?;
    let (a, b, a_scale, b_scale) = (e.input(0)?, e.input(1)?, e.input(3)?, e.input(4)?);
    let operands = Operands { a, b, a_scale, b_scale, a_zero: e.input(6), b_zero: e.input(7) };
    let bias = e.input(2);
    let rows = product(&mut e, &operands, bias);
    heads(e, cx, rows, &Slots { mask: 5, past: 8, bias: usize::MAX })
}

/// Widths of queries, keys and values.
fn widths(e: &Emit<'_>, attrs: &Attrs) -> Option<[i64; 3]> {
    match attrs.get("qkv_hidden_sizes") {
        Some(Attr::Ints(sizes)) if !sizes.is_empty() => sizes.as_slice().try_into().ok(),
        _ => size(e, 1, 1).map(|width| [width / 3; 3]),
    }
}

fn heads(mut e: Emit<'_>, cx: &Body<'_>, rows: ValueId, at: &Slots) -> Option<Graph> {
    let flag = |name: &str| cx.attrs.int_or(name, 0) != 0;
    if flag("do_rotary") || flag("past_present_share_buffer") {
        return None;
    }
    let count = cx.attrs.int("num_heads").filter(|heads| *heads > 0)?;
    let widths = widths(&e, cx.attrs)?;
    let sizes = e.b.i64s(&widths);
    let parts = e.b.node(OpName::onnx("Split"), &[Some(rows), Some(sizes)], 3, Attrs::new().with("axis", -1));
    let [q, mut k, mut v] = [parts[0], parts[1], parts[2]].map(|part| split_heads(&mut e, part, count));
    let mut before = None;
    if let Some(past) = e.input(at.past) {
        let mut half = |index: i64| {
            let index = e.b.constant(Tensor::scalar(index));
            e.op_with("Gather", &[past, index], Attrs::new().with("axis", 0))
        };
        let (past_k, past_v) = (half(0), half(1));
        before = Some(e.size_of(past_k, 2));
        (k, v) = (after(&mut e, Some(past_k), k), after(&mut e, Some(past_v), v));
    }
    let mut added = Vec::new();
    if e.input(at.mask).is_some() {
        let batch = e.ty(0)?.shape.as_ref()?.first()?.clone();
        added.push(key_mask(&mut e, cx, at.mask, &batch, k)?);
    }
    if flag("unidirectional") {
        let hidden = lowest(&e);
        added.push(causal(&mut e, q, k, before, hidden));
    }
    added.extend(e.input(at.bias));
    let scale = scale_of(cx.attrs, Some(widths[0] / count))?;
    let y = attend(&mut e, &Heads { q, k, v, scale, softcap: 0.0, group: 1 }, &added, None);
    if cx.outputs < 2 {
        return Some(e.finish(&[y]));
    }
    let (k, v) = (e.unsqueeze(k, &[0]), e.unsqueeze(v, &[0]));
    let present = e.op_with("Concat", &[k, v], Attrs::new().with("axis", 0));
    Some(e.finish(&[y, present]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run_all, t};

    #[test]
    fn masks_hide_keys_in_every_form() {
        // Equal scores: the result is the mean of the values of the visible keys.
        let x = t(&[1, 3, 1], &[1f32, 2.0, 6.0]);
        let w = t(&[1, 3], &[0f32, 0.0, 1.0]);
        let attrs = Attrs::new().with("num_heads", 1);
        let attend = |attrs: &Attrs, mask: Option<Tensor>| {
            let inputs = [Some(x.clone()), Some(w.clone()), None, mask];
            run_all(&ATTENTION, attrs, &inputs, 1).unwrap().remove(0)
        };
        close(&attend(&attrs, None), &[3.0, 3.0, 3.0]);
        close(&attend(&attrs, Some(t(&[1, 3], &[1i32, 0, 1]))), &[3.5, 3.5, 3.5]);
        close(&attend(&attrs, Some(t(&[1], &[2i32]))), &[1.5, 1.5, 1.5]);
        close(&attend(&attrs, Some(t(&[2], &[3i32, 1]))), &[4.0, 4.0, 4.0]);
        let rows = t(&[1, 3, 3], &[1i32, 0, 0, 0, 1, 0, 0, 0, 1]);
        close(&attend(&attrs, Some(rows)), &[1.0, 2.0, 6.0]);
        close(&attend(&attrs.with("unidirectional", 1), None), &[1.0, 1.5, 3.0]);
    }

    #[test]
    fn the_past_comes_first_and_is_handed_on() {
        let inputs = [
            Some(t(&[1, 1, 1], &[2f32])),
            Some(t(&[1, 3], &[0f32, 0.0, 1.0])),
            None,
            None,
            Some(t(&[2, 1, 1, 1, 1], &[0f32, 8.0])),
        ];
        let attrs = Attrs::new().with("num_heads", 1).with("unidirectional", 1);
        let outputs = run_all(&ATTENTION, &attrs, &inputs, 2).unwrap();
        close(&outputs[0], &[5.0]);
        close(&outputs[1], &[0.0, 0.0, 8.0, 2.0]);
    }
}
