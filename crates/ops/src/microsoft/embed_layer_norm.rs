//! `EmbedLayerNormalization`: the sum of word, position and segment embeddings, normalised; on the side the length of each
//! sample by its mask, and the sum itself.

use super::affine::dtype_of;
use super::{Defined, per_element};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, OpName, Tensor, ValueId};

/// The operator.
pub(crate) static EMBED_LAYER_NORM: Defined = Defined {
    schema: &super::schema("EmbedLayerNormalization", (1, 9), (1, 3)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define,
};

const NAMES: [&str; 9] = [
    "input_ids",
    "segment_ids",
    "word_embedding",
    "position_embedding",
    "segment_embedding",
    "gamma",
    "beta",
    "mask",
    "position_ids",
];

fn define(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit_as(cx, &NAMES, dtype_of(cx, 2)?)?;
    let ids = e.input(0)?;
    let words = lookup(&mut e, 2, ids)?;
    let positions = match e.input(8) {
        Some(positions) => positions,
        None => {
            let (zero, one) = (e.b.constant(Tensor::scalar(0i64)), e.b.constant(Tensor::scalar(1i64)));
            let count = e.size_of(ids, 1);
            e.op("Range", &[zero, count, one])
        }
    };
    let positions = lookup(&mut e, 3, positions)?;
    let mut sum = e.op("Add", &[words, positions]);
    if let (Some(segments), Some(_)) = (e.input(1), e.input(4)) {
        let segments = lookup(&mut e, 4, segments)?;
        sum = e.op("Add", &[sum, segments]);
    }
    let attrs = Attrs::new().with("axis", -1).with("epsilon", cx.attrs.float_or("epsilon", 1e-12));
    let inputs = [Some(sum), e.input(5), e.input(6)];
    let y = e.b.node(OpName::onnx("LayerNormalization"), &inputs, 1, attrs)[0];
    let outputs = cx.outputs.clamp(1, 3);
    if outputs == 1 {
        return Some(e.finish(&[y]));
    }
    let lengths = lengths(&mut e, ids);
    Some(e.finish(&[y, lengths, sum][..outputs]))
}

fn lookup(e: &mut Emit<'_>, table: usize, ids: ValueId) -> Option<ValueId> {
    let table = e.input(table)?;
    Some(e.op("Gather", &[table, ids]))
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
}
