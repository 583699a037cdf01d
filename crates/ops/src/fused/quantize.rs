//! The int8 arithmetic of Linear, NormLinear and Conv: u8 activations with scale and zero point per row (per image for
//! Conv), s8 symmetric weights per output channel, exact i32 accumulation.
//!
//! Over the values `x` that share a scale, all in f32: `lo = min(min x, 0)`, `hi = max(max x, 0)`,
//! `scale = (hi - lo)/255`, and 1 where that is 0; `zero_point = clamp(round(-lo/scale), 0, 255)`;
//! `q = clamp(round(x/scale) + zero_point, 0, 255)`. `round` is half to even; divisions are true divisions. It is the
//! arithmetic of ONNX DynamicQuantizeLinear, row by row. With `acc = Σ (q - zero_point)·w` in i32 the product is
//! `f32(acc)·scale·w_scale`.

use super::emit::Emit;
use fusebox_ir::{Attrs, DType, OpName, Tensor, ValueId};

/// Scale and zero point of values that are quantized together (see the module's formula). A NaN among them makes the
/// scale NaN, as it does ReduceMin and ReduceMax.
pub fn row_params(row: &[f32]) -> (f32, u8) {
    let lo = row.iter().fold(0f32, |lo, x| if lo.is_nan() || *x >= lo { lo } else { *x });
    let hi = row.iter().fold(0f32, |hi, x| if hi.is_nan() || *x <= hi { hi } else { *x });
    let range = (hi - lo) / 255.0;
    let scale = if range == 0.0 { 1.0 } else { range };
    (scale, (-lo / scale).round_ties_even().clamp(0.0, 255.0) as u8)
}

/// One value under a scale and a zero point.
pub fn quantize(x: f32, scale: f32, zero_point: u8) -> u8 {
    ((x / scale).round_ties_even() + f32::from(zero_point)).clamp(0.0, 255.0) as u8
}

/// Quantized activations in a body.
pub(super) struct Quantized {
    /// u8 values.
    pub(super) q: ValueId,
    /// Scale, reduced axes kept.
    pub(super) scale: ValueId,
    /// Zero point as i32, reduced axes kept.
    pub(super) zero_point: ValueId,
}

/// Quantizes `x` with one scale per slice over `axes`.
pub(super) fn emit_quantize(e: &mut Emit<'_>, x: ValueId, axes: &[i64]) -> Quantized {
    let (zero, one, top) = (e.b.f32(0.0), e.b.f32(1.0), e.b.f32(255.0));
    let lo = e.reduce("ReduceMin", x, axes);
    let lo = e.op("Min", &[lo, zero]);
    let hi = e.reduce("ReduceMax", x, axes);
    let hi = e.op("Max", &[hi, zero]);
    let range = e.op("Sub", &[hi, lo]);
    let range = e.op("Div", &[range, top]);
    let is_zero = e.op("Equal", &[range, zero]);
    let scale = e.op("Where", &[is_zero, one, range]);
    let below = e.op("Neg", &[lo]);
    let zero_point = e.op("Div", &[below, scale]);
    let zero_point = e.op("Round", &[zero_point]);
    let zero_point = e.op("Clip", &[zero_point, zero, top]);
    let q = e.op("Div", &[x, scale]);
    let q = e.op("Round", &[q]);
    let q = e.op("Add", &[q, zero_point]);
    let q = e.op("Clip", &[q, zero, top]);
    let q = e.cast(q, DType::U8);
    let zero_point = e.cast(zero_point, DType::I32);
    Quantized { q, scale, zero_point }
}

/// `x·w` for x: f32 [..., K], w: i8 [K, N], w_scale: f32 [N].
pub(super) fn emit_matmul(e: &mut Emit<'_>, x: ValueId, w: ValueId, w_scale: ValueId) -> ValueId {
    let rows = emit_quantize(e, x, &[-1]);
    let product = e.op("MatMulInteger", &[rows.q, w]);
    // Σ (q - zp)·w = Σ q·w - zp·Σ w: the operator's own zero points cannot differ per row of a batched operand.
    let wide = e.cast(w, DType::I32);
    let column_sums = e.reduce("ReduceSum", wide, &[0]);
    let correction = e.op("Mul", &[rows.zero_point, column_sums]);
    let accumulated = e.op("Sub", &[product, correction]);
    let real = e.cast(accumulated, DType::F32);
    let scaled = e.op("Mul", &[real, rows.scale]);
    e.op("Mul", &[scaled, w_scale])
}

/// `x·w` for operands as [`emit_matmul`] takes them, x quantized by one range for the whole tensor.
pub(super) fn emit_matmul_by_tensor(e: &mut Emit<'_>, x: ValueId, w: ValueId, w_scale: ValueId) -> ValueId {
    let rows = e.b.node(OpName::onnx("DynamicQuantizeLinear"), &[Some(x)], 3, Attrs::new());
    let product =
        e.b.node(OpName::onnx("MatMulInteger"), &[Some(rows[0]), Some(w), Some(rows[2])], 1, Attrs::new());
    let real = e.cast(product[0], DType::F32);
    let scale = e.op("Mul", &[rows[1], w_scale]);
    e.op("Mul", &[real, scale])
}

/// `x·w` for operands as [`emit_matmul`] takes them, x quantized by a given scale and zero point.
pub(super) fn emit_matmul_by_levels(
    e: &mut Emit<'_>,
    x: ValueId,
    (scale, zero): (f32, u8),
    w: ValueId,
    w_scale: ValueId,
) -> ValueId {
    let (scale, zero) = (e.b.f32(scale), e.b.constant(Tensor::scalar(zero)));
    let q = e.op("QuantizeLinear", &[x, scale, zero]);
    let product =
        e.b.node(OpName::onnx("MatMulInteger"), &[Some(q), Some(w), Some(zero)], 1, Attrs::new())[0];
    let real = e.cast(product, DType::F32);
    let scale = e.op("Mul", &[scale, w_scale]);
    e.op("Mul", &[real, scale])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_the_ends_are_reached() {
        let row = [-1.0f32, 0.0, 3.0, 1.5];
        let (scale, zero_point) = row_params(&row);
        assert_eq!((scale, zero_point), (4.0 / 255.0, 64));
        let q: Vec<u8> = row.iter().map(|x| quantize(*x, scale, zero_point)).collect();
        assert_eq!(q, [0, 64, 255, 160]);
        assert_eq!(row_params(&[0.0, 0.0]), (1.0, 0));
        assert_eq!(row_params(&[2.0, 4.0]).1, 0);
        assert_eq!(row_params(&[-2.0, -4.0]).1, 255);
        assert!(row_params(&[1.0, f32::NAN, 2.0]).0.is_nan());
        assert_eq!(row_params(&[1.0, f32::NEG_INFINITY]).0, f32::INFINITY);
    }
}
