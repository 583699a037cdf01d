//! Operators of the standard quantization: between reals and integers, and products of integers.

mod affine;
mod convolutions;
mod dequantize_linear;
mod dynamic_quantize_linear;
mod products;
mod quantize_linear;

use crate::Op;

pub(crate) use affine::packed;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &convolutions::ConvInteger,
    &convolutions::QLinearConv,
    &dequantize_linear::DequantizeLinear,
    &dynamic_quantize_linear::DynamicQuantizeLinear,
    &products::MatMulInteger,
    &products::QLinearMatMul,
    &quantize_linear::QuantizeLinear,
];
