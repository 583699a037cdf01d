//! s8 weights, symmetric, one scale per output channel: the form VNNI multiplies with u8 activations.

use super::{Narrow, Precision, Refusal, Scheme, finite};
use fusebox_ir::Tensor;

/// Fewest products per output for which int8 pays: below, quantizing the row costs more than it saves.
const LEAST_DEPTH: usize = 32;
/// Most products per output: 65,536 · 255 · 127 stays below 2³¹.
const MOST_DEPTH: usize = 65_536;

/// Dynamic int8.
pub(super) struct Int8;

impl Scheme for Int8 {
    fn precision(&self) -> Precision {
        Precision::Int8
    }

    fn narrow(&self, weight: &Tensor, channel_axis: usize, depth: usize) -> Result<Narrow, Refusal> {
        if !(LEAST_DEPTH..=MOST_DEPTH).contains(&depth) {
            return Err(Refusal::Depth { depth, least: LEAST_DEPTH, most: MOST_DEPTH });
        }
        let exact = finite(weight)?;
        let shape = weight.shape();
        let channels = shape[channel_axis];
        let inner: usize = shape[channel_axis + 1..].iter().product();
        // Walking whole rows of channels keeps the division that finds a channel out of the inner loop.
        let runs = |index: usize| (index / inner.max(1)) % channels.max(1);
        let mut largest = vec![0f32; channels];
        for (index, run) in exact.chunks(inner.max(1)).enumerate() {
            let slot = &mut largest[runs(index)];
            *slot = run.iter().fold(*slot, |m, x| m.max(x.abs()));
        }
        // A channel of zeros, or one so small that its scale would be subnormal, quantizes to zeros under scale 1.
        let scale_of = |m: &f32| if (m / 127.0).is_normal() { m / 127.0 } else { 1.0 };
        let scales: Vec<f32> = largest.iter().map(scale_of).collect();
        let mut quantized: Vec<i8> = Vec::with_capacity(exact.len());
        let (mut signal, mut noise) = (0f64, 0f64);
        for row in exact.chunks((channels * inner).max(1)) {
            for (run, scale) in row.chunks(inner.max(1)).zip(&scales) {
                for x in run {
                    let q = (x / scale).round_ties_even().clamp(-127.0, 127.0);
                    let lost = f64::from(x - q * scale);
                    signal += f64::from(*x) * f64::from(*x);
                    noise += lost * lost;
                    quantized.push(q as i8);
                }
            }
        }
        let sqnr_db = if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() };
        let weight = Tensor::from_vec(shape.to_vec(), quantized).expect("one element per weight");
        Ok(Narrow { weight, scale: Some(Tensor::vector(scales)), sqnr_db })
    }

    fn narrows_tables(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_weight_is_within_half_a_step(values in proptest::collection::vec(-4f32..4.0, 32 * 3), axis in 0usize..2) {
            let shape = if axis == 0 { vec![3, 32] } else { vec![32, 3] };
            let weight = Tensor::from_vec(shape, values.clone()).unwrap();
            let narrow = Int8.narrow(&weight, axis, 32).unwrap();
            let scale = narrow.scale.unwrap();
            let (scales, q) = (scale.elements::<f32>().unwrap(), narrow.weight.elements::<i8>().unwrap());
            for (i, x) in values.iter().enumerate() {
                let s = scales[if axis == 0 { i / 32 } else { i % 3 }];
                prop_assert!((x - f32::from(q[i]) * s).abs() <= s * 0.500_1, "{x} {} {s}", q[i]);
            }
        }
    }

    #[test]
    fn zeros_and_infinities() {
        let zeros = Tensor::from_vec(vec![32, 1], vec![0f32; 32]).unwrap();
        assert_eq!(Int8.narrow(&zeros, 1, 32).unwrap().sqnr_db, f64::INFINITY);
        let mut values = vec![1f32; 32];
        values[3] = f32::INFINITY;
        let weight = Tensor::from_vec(vec![32, 1], values).unwrap();
        assert_eq!(Int8.narrow(&weight, 1, 32), Err(Refusal::NotFinite));
        assert!(matches!(Int8.narrow(&zeros, 1, 31), Err(Refusal::Depth { .. })));
    }
}
