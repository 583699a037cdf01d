//! `EmbedLayerNormalization` and `QEmbedLayerNormalization`: the sum of word, position and segment embeddings,
//! normalised; on the side the length of each sample by its mask, and the sum itself. The second has its tables, scale
//! and shift in 8-bit integers, each with one scale and zero point.

use super::affine::{dtype_of, real};
use super::{Defined, per_element};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, OpName, Tensor, ValueId};

/// Of floats.
pub(crate) static EMBED_LAYER_NORM: Defined = Defined {
    schema: &super::schema("EmbedLayerNormalization", (1, 9), (1, 3)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define: floats,
};

/// Of 8-bit integers.
pub(crate) static QUANTIZED: Defined = Defined {
    schema: &super::schema("QEmbedLayerNormalization", (1, 18), (1, 3)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define: quantized,
};

/// What both forms begin with.
const NAMES: [&str; 8] = [
    "input_ids",
    "segment_ids",
    "word_embedding",
    "position_embedding",
    "segment_embedding",
    "gamma",
    "beta",
    "mask",
];

/// Where the tables begin among the inputs, and how many operands are quantized from there on.
const TABLES: std::ops::Range<usize> = 2..7;

fn floats(cx: &Body<'_>) -> Option<Graph> {
    let names = [&NAMES[..], &["position_ids"]].concat();
    let e = super::emit_as(cx, &names, dtype_of(cx, 2)?)?;
    let positions = e.input(8);
    define(e, cx, positions, |e, table, ids| {
        let table = e.input(table)?;
        Some(ids.map_or(table, |ids| e.op("Gather", &[table, ids])))
    })
}

fn quantized(cx: &Body<'_>) -> Option<Graph> {
    let operands = &NAMES[TABLES];
    let of = |what: &str| operands.iter().map(|name| format!("{name}_{what}")).collect::<Vec<_>>();
    let (scales, zeros) = (of("scale"), of("zero_point"));
    let names = NAMES.iter().copied().chain(scales.iter().chain(&zeros).map(String::as_str));
    let e = super::emit_as(cx, &names.collect::<Vec<_>>(), dtype_of(cx, NAMES.len())?)?;
    define(e, cx, None, |e, table, ids| {
        let scale = NAMES.len() + table - TABLES.start;
        let zero = scale + TABLES.len();
        let Some(ids) = ids else { return real(e, table, scale, zero) };
        // Rows first: the table stays as small as it is stored.
        let (table, scale, zero) = (e.input(table)?, e.input(scale)?, e.input(zero));
        let rows = e.op("Gather", &[table, ids]);
        let inputs = [Some(rows), Some(scale), zero];
        Some(e.b.node(OpName::onnx("DequantizeLinear"), &inputs, 1, Attrs::new())[0])
    })
}

/// The definition, given how an operand is read: whole, or the rows of some ids.
fn define(
    mut e: Emit<'_>,
    cx: &Body<'_>,
    positions: Option<ValueId>,
    read: impl Fn(&mut Emit<'_>, usize, Option<ValueId>) -> Option<ValueId>,
) -> Option<Graph> {
    let ids = e.input(0)?;
    let words = read(&mut e, 2, Some(ids))?;
    let positions = positions.unwrap_or_else(|| {
        let (zero, one) = (e.b.constant(Tensor::scalar(0i64)), e.b.constant(Tensor::scalar(1i64)));
        let count = e.size_of(ids, 1);
        e.op("Range", &[zero, count, one])
    });
    let positions = read(&mut e, 3, Some(positions))?;
    let mut sum = e.op("Add", &[words, positions]);
    if let (Some(segments), Some(_)) = (e.input(1), e.input(4)) {
        let segments = read(&mut e, 4, Some(segments))?;
        sum = e.op("Add", &[sum, segments]);
    }
    let attrs = Attrs::new().with("axis", -1).with("epsilon", cx.attrs.float_or("epsilon", 1e-12));
    let inputs = [Some(sum), read(&mut e, 5, None), read(&mut e, 6, None)];
    let y = e.b.node(OpName::onnx("LayerNormalization"), &inputs, 1, attrs)[0];
    let outputs = cx.outputs.clamp(1, 3);
    if outputs == 1 {
        return Some(e.finish(&[y]));
    }
    let lengths = lengths(&mut e, ids);
    Some(e.finish(&[y, lengths, sum][..outputs]))
}

/// Number of ones in each row of the mask, zero without a mask.
fn lengths(e: &mut Emit<'_>, ids: ValueId) -> ValueId {
    let counted = match e.input(7) {
        Some(mask) => {
            let one = e.b.constant(Tensor::scalar(1i32));
            let is_one = e.op("Equal", &[mask, one]);
            e.cast(is_one, DType::I32)
        }
        None => {
            let zero = e.b.constant(Tensor::scalar(0i32));
            let shape = e.op("Shape", &[ids]);
            e.op("Expand", &[zero, shape])
        }
    };
    let axes = e.b.i64s(&[1]);
    e.op_with("ReduceSum", &[counted, axes], Attrs::new().with("keepdims", 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run_all, t};

    #[test]
    fn embeddings_are_summed_and_lengths_counted() {
        let table = |scale: f32| t(&[2, 2], &[0f32, scale, 2.0 * scale, scale]);
        let inputs = [
            Some(t(&[1, 2], &[1i32, 0])),
            None,
            Some(table(1.0)),
            Some(table(2.0)),
            None,
            Some(t(&[2], &[1f32, 1.0])),
            Some(t(&[2], &[0f32, 0.5])),
            Some(t(&[1, 2], &[1i32, 0])),
        ];
        let outputs = run_all(&EMBED_LAYER_NORM, &Attrs::new(), &inputs, 3).unwrap();
        close(&outputs[2], &[2.0, 3.0, 4.0, 3.0]);
        close(&outputs[0], &[-1.0, 1.5, 1.0, -0.5]);
        assert_eq!(outputs[1], t(&[1], &[1i32]));
    }

    #[test]
    fn quantized_tables_are_scaled_after_the_lookup() {
        let mut inputs = vec![None; 18];
        let words = t(&[2, 2], &[130u8, 132, 134, 132]);
        let places = t(&[2, 2], &[128u8, 132, 136, 132]);
        let (gamma, beta) = (t(&[2], &[129u8, 129]), t(&[2], &[128u8, 129]));
        inputs[0] = Some(t(&[1, 2], &[1i32, 0]));
        for (slot, stored) in [(2, words), (3, places), (5, gamma), (6, beta)] {
            inputs[slot] = Some(stored);
            inputs[slot + 6] = Some(Tensor::scalar(0.5f32));
            inputs[slot + 11] = Some(Tensor::scalar(128u8));
        }
        let outputs = run_all(&QUANTIZED, &Attrs::new(), &inputs, 3).unwrap();
        close(&outputs[2], &[3.0, 4.0, 5.0, 4.0]);
        close(&outputs[0], &[-0.5, 1.0, 0.5, 0.0]);
    }
}
