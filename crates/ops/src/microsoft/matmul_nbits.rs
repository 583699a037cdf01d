//! `MatMulNBits`: `A·Bᵀ + bias` with B stored in 2, 4 or 8 bits, one scale and zero point per block of a row.
//!
//! B: `[N, blocks, block_size·bits/8]` bytes, elements packed from the low end; scales: `[N·blocks]`; zero points packed
//! like B per row, or one per block in the type of A, or `2^(bits-1)`. `g_idx` says the block of each column instead of
//! its position.

use super::{Defined, per_product};
use crate::attention::rotary_embedding::cut;
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, Tensor, ValueId};

/// The operator.
pub(crate) static MATMUL_NBITS: Defined = Defined {
    schema: &super::schema("MatMulNBits", (3, 6), (1, 1)),
    flops: |shapes| per_product(shapes, 0),
    role: QuantRole::StaysFloat,
    define,
};

/// Sizes of the packed weights.
pub(super) struct Packing {
    pub(super) bits: i64,
    pub(super) rows: i64,
    pub(super) columns: i64,
    pub(super) block: i64,
}

impl Packing {
    fn new(attrs: &Attrs) -> Option<Self> {
        let positive = |name: &str| attrs.int(name).filter(|value| (1..1 << 40).contains(value));
        let bits = attrs.int_or("bits", 4);
        let (rows, columns, block) = (positive("N")?, positive("K")?, positive("block_size")?);
        let is_known = matches!(bits, 2 | 4 | 8) && block.checked_mul(bits)? % 8 == 0;
        is_known.then_some(Self { bits, rows, columns, block })
    }

    fn blocks(&self) -> i64 {
        (self.columns + self.block - 1) / self.block
    }
}

fn define(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &["A", "B", "scales", "zero_points", "g_idx", "bias"])?;
    let p = Packing::new(cx.attrs)?;
    let weights = weights(&mut e, &p)?;
    let (a, columns) = (e.input(0)?, e.transpose(weights, &[1, 0]));
    let mut y = e.op("MatMul", &[a, columns]);
    if let Some(bias) = e.input(5) {
        y = e.op("Add", &[y, bias]);
    }
    Some(e.finish(&[y]))
}

/// The weights as reals, `[N, K]`.
fn weights(e: &mut Emit<'_>, p: &Packing) -> Option<ValueId> {
    let own = e.dtype;
    let (b, scales) = (e.input(1)?, e.input(2)?);
    let values = unpacked(e, b, p.bits, &[p.rows, p.blocks() * p.block]);
    let values = e.cast(values, own);
    let scales = e.reshape(scales, &[p.rows, p.blocks()]);
    let zeros = zero_points(e, p)?;
    if let Some(groups) = e.input(4) {
        let values = narrowed(e, values, p.blocks() * p.block, p.columns);
        let along = || Attrs::new().with("axis", 1);
        let zeros = e.op_with("Gather", &[zeros, groups], along());
        let scales = e.op_with("Gather", &[scales, groups], along());
        let centred = e.op("Sub", &[values, zeros]);
        return Some(e.op("Mul", &[centred, scales]));
    }
    let values = e.reshape(values, &[p.rows, p.blocks(), p.block]);
    let (zeros, scales) = (e.unsqueeze(zeros, &[2]), e.unsqueeze(scales, &[2]));
    let centred = e.op("Sub", &[values, zeros]);
    let real = e.op("Mul", &[centred, scales]);
    let real = e.reshape(real, &[p.rows, p.blocks() * p.block]);
    Some(narrowed(e, real, p.blocks() * p.block, p.columns))
}

/// One zero point per block, `[N, blocks]`, in the type of A.
fn zero_points(e: &mut Emit<'_>, p: &Packing) -> Option<ValueId> {
    let own = e.dtype;
    let Some(zeros) = e.input(3) else {
        let middle = e.splat((1 << (p.bits - 1)) as f64, usize::try_from(p.blocks()).ok()?);
        let shape = e.b.i64s(&[p.rows, p.blocks()]);
        return Some(e.op("Expand", &[middle, shape]));
    };
    if e.ty(3)?.dtype != DType::U8 {
        let zeros = if e.ty(3)?.dtype == own { zeros } else { e.cast(zeros, own) };
        return Some(e.reshape(zeros, &[p.rows, p.blocks()]));
    }
    let per_byte = 8 / p.bits;
    let padded = (p.blocks() + per_byte - 1) / per_byte * per_byte;
    let zeros = unpacked(e, zeros, p.bits, &[p.rows, padded]);
    let zeros = e.cast(zeros, own);
    Some(narrowed(e, zeros, padded, p.blocks()))
}

/// The elements of bytes that hold several, as bytes of the given shape.
pub(super) fn unpacked(e: &mut Emit<'_>, bytes: ValueId, bits: i64, shape: &[i64]) -> ValueId {
    let flat = e.reshape(bytes, &[-1]);
    if bits == 8 {
        return e.reshape(flat, shape);
    }
    let limit = e.b.constant(Tensor::scalar(1u8 << bits));
    let parts: Vec<ValueId> = (0..8 / bits)
        .map(|part| {
            let divisor = e.b.constant(Tensor::scalar(1u8 << (bits * part)));
            let shifted = if part == 0 { flat } else { e.op("Div", &[flat, divisor]) };
            let value = e.op("Mod", &[shifted, limit]);
            e.unsqueeze(value, &[-1])
        })
        .collect();
    let together = e.op_with("Concat", &parts, Attrs::new().with("axis", -1));
    e.reshape(together, shape)
}

/// The first `wanted` of `present` columns.
fn narrowed(e: &mut Emit<'_>, x: ValueId, present: i64, wanted: i64) -> ValueId {
    if present == wanted { x } else { cut(e, x, 0, wanted, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run_all, t};

    #[test]
    fn nibbles_have_scales_and_zero_points_per_block() {
        // One row of two blocks of sixteen, of which twenty elements count.
        let mut bytes = [0x98u8; 16];
        bytes[8] = 0x2f;
        let a = t(&[1, 20], &[1f32; 20]);
        let (b, scales) = (t(&[1, 2, 8], &bytes), t(&[2], &[0.5f32, 2.0]));
        let attrs = Attrs::new().with("N", 1).with("K", 20).with("block_size", 16);
        let inputs = [Some(a.clone()), Some(b.clone()), Some(scales.clone())];
        // First block: eight times 0 and eight times 1 above 8; second: 7, -6, 0, 1.
        close(&run_all(&MATMUL_NBITS, &attrs, &inputs, 1).unwrap()[0], &[4.0 + 4.0]);
        let packed = [Some(a.clone()), Some(b.clone()), Some(scales.clone()), Some(t(&[1], &[0x08u8]))];
        close(&run_all(&MATMUL_NBITS, &attrs, &packed, 1).unwrap()[0], &[4.0 + 68.0]);
        let floats =
            [Some(a), Some(b), Some(scales), Some(t(&[2], &[8f32, 0.5])), None, Some(t(&[1], &[1f32]))];
        close(&run_all(&MATMUL_NBITS, &attrs, &floats, 1).unwrap()[0], &[4.0 + 64.0 + 1.0]);
    }

    #[test]
    fn columns_may_name_their_block() {
        let inputs = [
            Some(t(&[1, 16], &[1f32; 16])),
            Some(t(&[1, 1, 16], &[129u8; 16])),
            Some(t(&[1], &[0.5f32])),
            None,
            Some(t(&[16], &[0i32; 16])),
        ];
        let attrs = Attrs::new().with("N", 1).with("K", 16).with("block_size", 16).with("bits", 8);
        close(&run_all(&MATMUL_NBITS, &attrs, &inputs, 1).unwrap()[0], &[8.0]);
    }
}
