//! The oracle: every output by its definition, in f64.
//!
//! Reads the packed weights of either layout; shares only the window arithmetic with the fast kernel.

use super::{DepthwiseRow, ImageLayout, ResidualOrder};
use crate::element::convert;

pub(super) fn convolve(depthwise: DepthwiseRow<'_>) {
    let DepthwiseRow { height, width, weights, input, row, channel, residual, activation, output } =
        depthwise;
    let inner = if weights.layout == ImageLayout::Nhwc { weights.channels } else { 1 };
    for (index, out) in output.iter_mut().enumerate() {
        let (column, channel) = (index / inner, channel + index % inner);
        let mut sum = f64::from(weights.bias[channel]);
        for vertical in height.taps(row) {
            for horizontal in width.taps(column) {
                let tap = vertical * width.kernel + horizontal;
                let weight = match weights.layout {
                    ImageLayout::Nhwc => weights.values[tap * weights.channels + channel],
                    ImageLayout::Nchw => weights.values[channel * weights.taps + tap],
                };
                let (y, x) = (height.position(row, vertical), width.position(column, horizontal));
                let x = input[(y * width.input + x) * inner + index % inner];
                sum += f64::from(x) * f64::from(weight);
            }
        }
        let other = residual.map_or(0.0, |(row, _)| f64::from(row[index]));
        let early = residual.is_some_and(|(_, order)| order == ResidualOrder::BeforeActivation);
        let sum = if early { sum + other } else { sum };
        let active = activation.map_or(sum, |activation| activation.apply_exact(sum));
        *out = convert(if early { active } else { active + other });
    }
}
