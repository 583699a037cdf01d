//! Random numbers of the reference: the Mersenne Twister (MT19937) as NumPy seeds and reads it, the same on every
//! machine, so that a seeded operator gives what ONNX's own reference evaluation gives.
//!
//! Source: Matsumoto and Nishimura, "Mersenne Twister" (1998); `numpy.random.RandomState`.

use fusebox_ir::Attrs;

const LENGTH: usize = 624;

/// A stream of random numbers.
pub(crate) struct Source {
    state: Vec<u32>,
    next: usize,
    spare: Option<f64>,
}

impl Source {
    /// The stream of the attribute `seed`, a float or an integer; 0 when absent.
    pub(crate) fn new(attrs: &Attrs) -> Self {
        let seed = attrs.int("seed").unwrap_or_else(|| attrs.float_or("seed", 0.0) as i64);
        // NumPy refuses seeds outside u32; they are cut here.
        Self::seeded(seed as u32)
    }

    fn seeded(seed: u32) -> Self {
        let step = |(last, index): (u32, u32)| {
            let mixed = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(index + 1);
            (mixed, index + 1)
        };
        let state = std::iter::successors(Some((seed, 0)), |at| Some(step(*at))).take(LENGTH).map(|at| at.0);
        Self { state: state.collect(), next: LENGTH, spare: None }
    }

    fn refill(&mut self) {
        for index in 0..LENGTH {
            let pair = (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % LENGTH] & 0x7fff_ffff);
            let odd = if pair & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + 397) % LENGTH] ^ (pair >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn word(&mut self) -> u32 {
        if self.next >= LENGTH {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in `0..1`.
    pub(crate) fn uniform(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// Standard normal, by the polar method of Marsaglia.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(factor * x);
                return factor * y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_numpy() {
        let mut source = Source::new(&Attrs::new().with("seed", 42f32));
        let uniform = [source.uniform(), source.uniform()];
        assert_eq!(uniform, [0.374_540_118_847_362_5, 0.950_714_306_409_916_2]);
        let mut source = Source::new(&Attrs::new());
        let normal = [source.normal(), source.normal(), source.normal()];
        for (found, expected) in
            normal.iter().zip([1.764_052_345_967_664, 0.400_157_208_367_223_3, 0.978_737_984_105_739])
        {
            assert!((found - expected).abs() < 1e-14, "{found} {expected}");
        }
        // Past the first refill of the state.
        let mut source = Source::seeded(5489);
        assert_eq!((0..10_000).map(|_| source.word()).last(), Some(4_123_659_995));
    }
}
