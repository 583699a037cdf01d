//! `GatherBlockQuantized`: rows of a table that is quantized block by block, as reals.
//!
//! Tables of bytes that hold two 4-bit elements each are unpacked first; their zero points are packed alike.

use super::affine::dtype_of;
use super::matmul_nbits::unpacked;
use super::{Defined, per_element};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, DType, Graph, OpName, ValueId};

/// The operator.
pub(crate) static GATHER_BLOCK_QUANTIZED: Defined = Defined {
    schema: &super::schema("GatherBlockQuantized", (3, 4), (1, 1)),
    flops: per_element,
    role: QuantRole::StaysFloat,
    define,
};

fn define(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit_as(cx, &["data", "indices", "scales", "zero_points"], dtype_of(cx, 2)?)?;
    let gather = cx.attrs.int_or("gather_axis", 0);
    let (axis, block) = (cx.attrs.int_or("quantize_axis", 1), cx.attrs.int_or("block_size", 128));
    let bits = cx.attrs.int_or("bits", 4);
    let is_packed = e.ty(0)?.dtype == DType::U8 && bits < 8;
    let (mut data, mut zeros) = (e.input(0)?, e.input(3));
    if is_packed {
        data = widened(&mut e, data, 0, bits)?;
        zeros = match zeros {
            Some(zeros) => Some(widened(&mut e, zeros, 3, bits)?),
            None => None,
        };
    }
    let (indices, scales) = (e.input(1)?, e.input(2)?);
    if zeros.is_none() && e.ty(0)?.dtype == DType::U8 {
        // Unsigned elements without zero points are centred at half of their range.
        let middle = e.b.constant(fusebox_ir::Tensor::scalar(1u8 << (bits - 1)));
        let shape = e.op("Shape", &[scales]);
        zeros = Some(e.op("Expand", &[middle, shape]));
    }
    let attrs = Attrs::new().with("axis", axis).with("block_size", block);
    let inputs = [Some(data), Some(scales), zeros];
    let real = e.b.node(OpName::onnx("DequantizeLinear"), &inputs, 1, attrs)[0];
    let y = e.op_with("Gather", &[real, indices], Attrs::new().with("axis", gather));
    Some(e.finish(&[y]))
}

/// Bytes with `8/bits` elements along the last axis as one byte per element.
fn widened(e: &mut Emit<'_>, x: ValueId, index: usize, bits: i64) -> Option<ValueId> {
    let mut shape: Vec<i64> =
        e.ty(index)?.shape.as_ref()?.iter().map(fusebox_ir::Dim::value).collect::<Option<_>>()?;
    *shape.last_mut()? *= 8 / bits;
    Some(unpacked(e, x, bits, &shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Tensor;

    #[test]
    fn rows_are_chosen_and_scaled() {
        let data = Tensor::from_bytes(DType::I4, vec![2, 16], vec![0x1f; 16].into()).unwrap();
        let attrs = Attrs::new().with("block_size", 16);
        let inputs = [data, t(&[1], &[1i64]), t(&[2, 1], &[1f32, 0.5])];
        let expected: Vec<f64> = (0..16).map(|i| if i % 2 == 0 { -0.5 } else { 0.5 }).collect();
        close(&run(&GATHER_BLOCK_QUANTIZED, &attrs, &inputs), &expected);
        let bytes = t(&[2, 8], &[0x79u8; 16]);
        let inputs = [bytes, t(&[1], &[0i64]), t(&[2, 1], &[1f32, 0.5])];
        let expected: Vec<f64> = (0..16).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        close(&run(&GATHER_BLOCK_QUANTIZED, &attrs, &inputs), &expected);
    }
}
