//! The exponential function: reduction by powers of two, a degree-7 polynomial, two-step scaling.
//!
//! Coefficients are those of Cephes `expf`. The scale is applied in two factors so that results run smoothly through
//! the denormals to zero and up to infinity.

use super::{keep_nan, polynomial, step};
use pulp::Simd;

/// 1.5·2²³: adding it rounds to an integer and leaves that integer in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
const TAYLOR: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// `(e^r, n)` with `x = r + n·ln 2`, `n` as the bits of a rounded sum.
#[inline(always)]
fn reduce<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::u32s) {
    let magic = simd.splat_f32s(ROUND);
    let rounded = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), magic);
    let n = simd.sub_f32s(rounded, magic);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN2_LOW), r);
    let p = polynomial(simd, r, TAYLOR);
    let p = step(simd, simd.mul_add_e_f32s(p, simd.mul_f32s(r, r), r), simd.splat_f32s(1.0), 1.0);
    (p, simd.sub_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(ROUND.to_bits())))
}

/// `e^x`, within 1.5 ulp; denormal results included, overflow gives infinity.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let clamped = simd.max_f32s(simd.min_f32s(x, simd.splat_f32s(89.0)), simd.splat_f32s(-104.0));
    let (p, n) = reduce(simd, clamped);
    // n lies in -151..=129; two factors 2^(n/2) stay normal where 2^n would not.
    let biased = simd.add_u32s(n, simd.splat_u32s(256));
    let half = simd.wrapping_dyn_shr_u32s(biased, simd.splat_u32s(1));
    let rest = simd.sub_u32s(biased, half);
    let scaled = simd.mul_f32s(p, power_of_two(simd, half));
    keep_nan(simd, x, simd.mul_f32s(scaled, power_of_two(simd, rest)))
}

/// `2^(n − 128)` of an integer within the normal range.
#[inline(always)]
fn power_of_two<S: Simd>(simd: S, n: S::u32s) -> S::f32s {
    let exponent = simd.sub_u32s(n, simd.splat_u32s(1));
    simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23)))
}

/// `e^x` for `x ≤ 0`, cheaper: results below the smallest normal number become zero. NaN is not kept.
/// For softmax, sigmoid and erf, where the argument's sign is known.
#[inline(always)]
pub fn exp_of_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let floor = simd.splat_f32s(-87.0);
    let (p, n) = reduce(simd, simd.max_f32s(x, floor));
    let exponent = simd.add_u32s(n, simd.splat_u32s(127));
    let scale = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23)));
    let y = simd.mul_f32s(p, scale);
    simd.select_f32s(simd.less_than_f32s(x, floor), simd.splat_f32s(0.0), y)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Lanewise, check};
    use super::*;

    #[derive(Clone, Copy)]
    struct Exp;
    impl Lanewise for Exp {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
            exp(simd, x)
        }
    }

    #[derive(Clone, Copy)]
    struct ExpOfNegative;
    impl Lanewise for ExpOfNegative {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
            let y = exp_of_negative(simd, x);
            // The contract covers x ≤ 0 only: elsewhere (NaN too) the full function stands in.
            simd.select_f32s(simd.less_than_or_equal_f32s(x, simd.splat_f32s(0.0)), y, exp(simd, x))
        }
    }

    #[test]
    fn exp_matches_f64() {
        check(Exp, f64::exp, 1.5);
    }

    #[test]
    fn exp_of_negative_matches_f64() {
        check(ExpOfNegative, |x| if x < -87.0 { 0.0 } else { x.exp() }, 1.5);
    }
}
