//! Levels of affine quantization: `clamp(round(x/scale) + zero, lo, hi)`, half to even, as floats.
//!
//! Owns the arithmetic that QuantizeLinear asks for, without a division per value; refuses to know where levels are
//! stored. NaN has level 0, as in the reference.

use pulp::Simd;

/// The smallest scale whose inverse, and what it is multiplied by, are finite with room to spare.
const LEAST_SCALE: f32 = 1e-30;
/// Quotients beyond saturate whatever the type; below, adding [`ROUND`] rounds them.
const BOUND: f32 = 524_288.0;
/// 1.5·2²³: adding it rounds half to even.
const ROUND: f32 = 12_582_912.0;

/// Parameters that all values share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    scale: f32,
    zero: f32,
    lo: f32,
    hi: f32,
}

impl Levels {
    /// `None` for a scale that is not a positive number of moderate size, and for levels beyond 16 bits.
    pub fn new(scale: f32, zero: f32, (lo, hi): (f32, f32)) -> Option<Self> {
        let fits = (LEAST_SCALE..=1.0 / LEAST_SCALE).contains(&scale)
            && [zero, lo, hi].iter().all(|v| (-65_536.0..=65_536.0).contains(v) && v.fract() == 0.0)
            && lo <= hi;
        fits.then_some(Self { scale, zero, lo, hi })
    }

    /// Real value of one step.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Level of zero.
    pub fn zero(&self) -> f32 {
        self.zero
    }

    /// The levels of a register.
    #[inline(always)]
    pub(crate) fn of<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let splat = |v| simd.splat_f32s(v);
        let (scale, inverse) = (splat(self.scale), splat(1.0 / self.scale));
        let number = simd.equal_f32s(x, x);
        let limit = splat((self.scale * BOUND).min(f32::MAX));
        let x = simd.max_f32s(simd.min_f32s(x, limit), simd.neg_f32s(limit));
        let steps = if S::F32_LANES == 1 {
            simd.div_f32s(x, scale)
        } else {
            // One correction makes the product the correctly rounded quotient, at a fraction of a division.
            let product = simd.mul_f32s(x, inverse);
            let rest = simd.negate_mul_add_e_f32s(product, scale, x);
            simd.mul_add_e_f32s(rest, inverse, product)
        };
        let rounded = simd.sub_f32s(simd.add_f32s(steps, splat(ROUND)), splat(ROUND));
        let level = simd.add_f32s(rounded, splat(self.zero));
        let level = simd.max_f32s(simd.min_f32s(level, splat(self.hi)), splat(self.lo));
        simd.select_f32s(number, level, splat(0.0f32.clamp(self.lo, self.hi)))
    }

    /// The definition: the oracle.
    pub(crate) fn exact(self, x: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation, reason = "the quotient is one of f32")]
        let ratio = x as f32 / self.scale;
        let level = f64::from(ratio.round_ties_even() + self.zero);
        let level = if x.is_nan() { 0.0 } else { level };
        level.clamp(f64::from(self.lo), f64::from(self.hi))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::math::tests::{Lanewise, evaluate};

    #[derive(Clone, Copy)]
    struct Of(Levels);

    impl Lanewise for Of {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
            self.0.of(simd, x)
        }
    }

    #[test]
    fn levels_are_those_of_true_divisions() {
        let bits = |i: u32| f32::from_bits(i.wrapping_mul(2_654_435_761));
        for (scale, zero, range) in [
            (0.037_3, 128.0, (0.0, 255.0)),
            (1.0, 0.0, (-128.0, 127.0)),
            (3e-5, -7.0, (-128.0, 127.0)),
            (1e-30, 3.0, (0.0, 255.0)),
            (1e30, 3.0, (0.0, 255.0)),
            (0.1, 40_000.0, (0.0, 65_535.0)),
        ] {
            let levels = Levels::new(scale, zero, range).expect("a plain scale");
            // Everywhere, around every tie, and what is no number.
            let mut inputs: Vec<f32> = (0..60_000).map(bits).collect();
            for step in -600..=600 {
                let tie = (step as f32 + 0.5) * scale;
                inputs.extend([tie, tie.next_up(), tie.next_down(), step as f32 * scale]);
            }
            inputs.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0]);
            for isa in Isa::available() {
                for (x, level) in inputs.iter().zip(evaluate(isa, Of(levels), &inputs)) {
                    assert_eq!(f64::from(level), levels.exact(f64::from(*x)), "{isa}: {x:e} by {scale}");
                }
            }
        }
    }

    #[test]
    fn odd_parameters_are_refused() {
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-38] {
            assert_eq!(Levels::new(scale, 0.0, (0.0, 255.0)), None);
        }
        assert_eq!(Levels::new(1.0, 0.5, (0.0, 255.0)), None);
        assert_eq!(Levels::new(1.0, 0.0, (0.0, 3e9)), None);
    }
}
