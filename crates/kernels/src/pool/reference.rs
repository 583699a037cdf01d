//! The oracle: every window by its definition, in f64.
//!
//! Shares the window arithmetic with the fast kernel; the tests check that against counting.

use super::{ImageLayout, PoolKind, PoolRow};
use crate::element::convert;

pub(super) fn pool(pool: PoolRow<'_>) {
    let PoolRow { spec, input, row, output } = pool;
    let inner = if spec.layout == ImageLayout::Nhwc { spec.channels } else { 1 };
    for (index, out) in output.iter_mut().enumerate() {
        let (column, channel) = (index / inner, index % inner);
        let mut window = Vec::new();
        for vertical in spec.height.taps(row) {
            for horizontal in spec.width.taps(column) {
                let (y, x) = (spec.height.position(row, vertical), spec.width.position(column, horizontal));
                window.push(f64::from(input[(y * spec.width.input + x) * inner + channel]));
            }
        }
        *out = convert(match spec.kind {
            PoolKind::Max => {
                window.iter().fold(f64::NEG_INFINITY, |m, &v| if m > v || m.is_nan() { m } else { v })
            }
            PoolKind::Average { .. } => window.iter().sum::<f64>() / f64::from(spec.divisor(row, column)),
        });
    }
}
