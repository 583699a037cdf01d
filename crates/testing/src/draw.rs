//! Numbers drawn from a seed, the same on every machine.
//!
//! SplitMix64; the bell is a sum of four uniform draws, so no libm is involved and the bits do not depend on one.

use fusebox_ir::Tensor;

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % (bound.max(1) as u64)) as usize
    }

    /// A number in `0.0..1.0`.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// A number of mean 0 and standard deviation 1, within ±3.47.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let lanes: i32 = (0..4).map(|lane| (bits >> (16 * lane)) as u16).map(i32::from).sum();
        (lanes - 131_070) as f32 * (1.0 / 37_837.23)
    }

    /// True with probability `chance`.
    pub fn chance(&mut self, chance: f32) -> bool {
        self.uniform() < chance
    }

    /// One of the items, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An f32 tensor of a bell around `mean`.
    pub fn tensor(&mut self, shape: &[usize], mean: f32, deviation: f32) -> Tensor {
        let count = shape.iter().product();
        let elements: Vec<f32> = (0..count).map(|_| mean + deviation * self.normal()).collect();
        Tensor::from_vec(shape.to_vec(), elements).expect("as many elements as the shape has")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bell_has_mean_zero_and_deviation_one() {
        let mut draw = Draw::new(7);
        let values: Vec<f64> = (0..20_000).map(|_| f64::from(draw.normal())).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        assert_eq!(Draw::new(7).bits(), Draw::new(7).bits());
    }
}
