//! The oracle: the definitions in f64.
//!
//! One row or column at a time, nothing shared with the fast kernels but their operands.

use super::norm::{NormKind, NormRow};
use super::strip::Strip;
use crate::element::convert;

pub(super) fn norm(norm: NormRow<'_>) {
    let NormRow { kind, row, gamma, beta, epsilon, output } = norm;
    let n = row.iter().map(|_| 1.0).sum::<f64>();
    let values = || row.iter().map(|&v| f64::from(v));
    let mean = if kind == NormKind::Layer { values().sum::<f64>() / n } else { 0.0 };
    let variance = values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    let root = (variance + f64::from(epsilon)).sqrt();
    for (i, (out, v)) in output.iter_mut().zip(values()).enumerate() {
        let gamma = gamma.map_or(1.0, |g| f64::from(g[i]));
        let beta = beta.map_or(0.0, |b| f64::from(b[i]));
        *out = convert((v - mean) / root * gamma + beta);
    }
}

pub(super) fn softmax(row: &[f32], output: &mut [f32], log: bool) {
    let values = || row.iter().map(|&v| f64::from(v));
    let most = values().fold(f64::NEG_INFINITY, |m, v| if m.is_nan() || v <= m { m } else { v });
    let total: f64 = values().map(|v| (v - most).exp()).sum();
    for (out, v) in output.iter_mut().zip(values()) {
        *out = convert(if log { v - most - total.ln() } else { (v - most).exp() / total });
    }
}

/// # Safety
/// The strip's pointers are good for what it describes.
pub(super) unsafe fn softmax_strip(strip: &Strip<'_>) {
    let &Strip { input, output, extent, stride, width, scale, log, .. } = strip;
    for column in 0..width {
        let at = |index: usize| index * stride + column;
        // SAFETY: index < extent and column < width.
        let row: Vec<f32> = (0..extent).map(|i| unsafe { *input.add(at(i)) } * scale).collect();
        let mut result = vec![0.0; extent];
        softmax(&row, &mut result, log);
        for (index, value) in result.iter().enumerate() {
            // SAFETY: as above; this thread alone accesses the strip.
            unsafe { *output.add(at(index)) = *value };
        }
    }
}
