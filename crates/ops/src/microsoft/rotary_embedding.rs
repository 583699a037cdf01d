//! `RotaryEmbedding` of com.microsoft: rotates pairs of elements of each head by the angles of its position.
//!
//! x: `[B, S, H·D]` or `[B, H, S, D]`; positions: `[B, S]`, or `[1]`, the position of the first element; caches:
//! `[positions, D/2]`. Packed batches have no definition here.

use super::heads::{range, size};
use super::{Defined, per_element};
use crate::attention::rotary_embedding::{cut, rotate};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, ValueId};

/// The operator.
pub(crate) static ROTARY_EMBEDDING: Defined = Defined {
    schema: &super::schema("RotaryEmbedding", (4, 4), (1, 1)),
    flops: |shapes| 3.0 * per_element(shapes),
    role: QuantRole::StaysFloat,
    define,
};

fn define(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &["input", "position_ids", "cos_cache", "sin_cache"])?;
    if cx.attrs.int_or("is_packed_batching", 0) != 0 {
        return None;
    }
    let (mut x, rank) = (e.input(0)?, e.ty(0)?.rank()?);
    let rotated = cx.attrs.int_or("rotary_embedding_dim", 0);
    if rank == 3 {
        let heads = cx.attrs.int_or("num_heads", 0);
        let shape = if heads > 0 { [0, 0, heads, -1] } else { [0, 0, -1, 2 * size(&e, 2, 1)?] };
        x = e.reshape(x, &shape);
        x = e.transpose(x, &[0, 2, 1, 3]);
    }
    let mut positions = e.input(1)?;
    if e.ty(1)?.rank()? == 1 {
        let count = e.size_of(x, 2);
        let steps = range(&mut e, count);
        positions = e.cast(positions, DType::I64);
        positions = e.op("Add", &[steps, positions]);
        positions = e.unsqueeze(positions, &[0]);
    }
    let (cos, sin) = (e.input(2)?, e.input(3)?);
    let mut y = turned(&mut e, x, [cos, sin], positions, rotated, cx.attrs);
    if rank == 3 {
        y = e.transpose(y, &[0, 2, 1, 3]);
        y = e.reshape(y, &[0, 0, -1]);
    }
    Some(e.finish(&[y]))
}

/// `x` `[B, H, S, D]` turned by the angles of positions `[B or 1, S]`; only the first `width` elements of each head when
/// that is not 0.
pub(super) fn turned(
    e: &mut Emit<'_>,
    x: ValueId,
    caches: [ValueId; 2],
    positions: ValueId,
    width: i64,
    attrs: &Attrs,
) -> ValueId {
    let [cos, sin] = caches.map(|cache| {
        let rows = e.op("Gather", &[cache, positions]);
        e.unsqueeze(rows, &[1])
    });
    if width == 0 {
        return rotate(e, x, cos, sin, attrs);
    }
    let (front, back) = (cut(e, x, 0, width, 1), cut(e, x, width, i64::MAX, 1));
    let front = rotate(e, front, cos, sin, attrs);
    e.op_with("Concat", &[front, back], Attrs::new().with("axis", -1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};

    #[test]
    fn positions_are_given_or_counted() {
        let x = t(&[1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
        let (cos, sin) = (t(&[3, 1], &[1f32, 0.0, -1.0]), t(&[3, 1], &[0f32, 1.0, 0.0]));
        let counted = [x.clone(), t(&[1], &[1i64]), cos.clone(), sin.clone()];
        close(&run(&ROTARY_EMBEDDING, &Attrs::new(), &counted), &[-2.0, 1.0, -3.0, -4.0]);
        let given = [x, t(&[1, 2], &[2i64, 0]), cos, sin];
        close(&run(&ROTARY_EMBEDDING, &Attrs::new(), &given), &[-1.0, -2.0, 3.0, 4.0]);
    }
}
