//! Vector functions that only elementwise chains need: logarithm, rounding, sine and cosine, softplus, Mish, Elu.
//!
//! Without branches, generic over the register width, NaN in gives NaN out. Coefficients are those of Cephes.

use crate::math::{exp, polynomial, tanh};
use pulp::Simd;

/// 1.5·2²³: adding it rounds to an integer and leaves that integer in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;
/// Beyond this magnitude every float is an integer.
const INTEGERS: f32 = 8_388_608.0;
/// Beyond this magnitude the argument of sine and cosine is reduced in f64, lane by lane.
pub(super) const TRIGONOMETRIC_LIMIT: f32 = 8_192.0;

#[inline(always)]
fn sign_of<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    simd.and_f32s(x, simd.splat_f32s(-0.0))
}

/// Natural logarithm, within 2 ulp, denormals included.
#[inline(always)]
pub(super) fn log<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |v| simd.splat_f32s(v);
    let tiny = simd.less_than_f32s(x, splat(f32::MIN_POSITIVE));
    let scaled = simd.select_f32s(tiny, simd.mul_f32s(x, splat(INTEGERS)), x);
    let bits = simd.transmute_u32s_f32s(scaled);
    let exponent = simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(23));
    // An integer below 2^23 as the low bits of 1.5·2^23.
    let magic = simd.transmute_f32s_u32s(simd.add_u32s(exponent, simd.splat_u32s(ROUND.to_bits())));
    let e = simd.sub_f32s(magic, simd.select_f32s(tiny, splat(ROUND + 126.0 + 23.0), splat(ROUND + 126.0)));
    let mantissa = simd.and_u32s(bits, simd.splat_u32s(0x007F_FFFF));
    let m = simd.transmute_f32s_u32s(simd.or_u32s(mantissa, simd.splat_u32s(0x3F00_0000)));
    let low = simd.less_than_f32s(m, splat(std::f32::consts::FRAC_1_SQRT_2));
    let e = simd.select_f32s(low, simd.sub_f32s(e, splat(1.0)), e);
    let m = simd.sub_f32s(simd.select_f32s(low, simd.add_f32s(m, m), m), splat(1.0));
    let z = simd.mul_f32s(m, m);
    let p = polynomial(
        simd,
        m,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let y = simd.mul_f32s(simd.mul_f32s(p, m), z);
    let y = simd.mul_add_e_f32s(e, splat(-2.121_944_4e-4), y);
    let y = simd.mul_add_e_f32s(z, splat(-0.5), y);
    let y = simd.mul_add_e_f32s(e, splat(0.693_359_4), simd.add_f32s(m, y));
    let y = simd.select_f32s(simd.equal_f32s(x, splat(0.0)), splat(f32::NEG_INFINITY), y);
    let regular = simd.less_than_f32s(x, splat(f32::INFINITY));
    let y = simd.select_f32s(regular, y, x);
    simd.select_f32s(simd.less_than_f32s(x, splat(0.0)), splat(f32::NAN), y)
}

/// Nearest integer, ties to even, the sign of zero kept.
#[inline(always)]
pub(super) fn round<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let magnitude = simd.abs_f32s(x);
    let limit = simd.splat_f32s(INTEGERS);
    let rounded = simd.sub_f32s(simd.add_f32s(magnitude, limit), limit);
    let signed = simd.or_f32s(rounded, sign_of(simd, x));
    simd.select_f32s(simd.less_than_f32s(magnitude, limit), signed, x)
}

/// Largest integer not above.
#[inline(always)]
pub(super) fn floor<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let r = round(simd, x);
    simd.select_f32s(simd.greater_than_f32s(r, x), simd.sub_f32s(r, simd.splat_f32s(1.0)), r)
}

/// Smallest integer not below, the sign of zero kept.
#[inline(always)]
pub(super) fn ceil<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let r = round(simd, x);
    let up = simd.or_f32s(simd.add_f32s(r, simd.splat_f32s(1.0)), sign_of(simd, x));
    simd.select_f32s(simd.less_than_f32s(r, x), up, r)
}

/// −1, 0 or 1.
#[inline(always)]
pub(super) fn sign<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    let y = simd.select_f32s(simd.greater_than_f32s(x, zero), simd.splat_f32s(1.0), x);
    simd.select_f32s(simd.less_than_f32s(x, zero), simd.splat_f32s(-1.0), y)
}

/// Sine for `quadrants = 0`, cosine for 1, of `|x| ≤` [`TRIGONOMETRIC_LIMIT`]; absolute error below 1.5e-7.
#[inline(always)]
pub(super) fn sine<S: Simd>(simd: S, x: S::f32s, quadrants: u32) -> S::f32s {
    let splat = |v| simd.splat_f32s(v);
    let magic = splat(ROUND);
    let rounded = simd.add_f32s(simd.mul_f32s(x, splat(std::f32::consts::FRAC_2_PI)), magic);
    let q = simd.sub_f32s(rounded, magic);
    // π/2 in three parts; the first two have so few bits that their products with q are exact.
    let r = simd.sub_f32s(x, simd.mul_f32s(q, splat(1.570_312_5)));
    let r = simd.sub_f32s(r, simd.mul_f32s(q, splat(4.837_513e-4)));
    let r = simd.sub_f32s(r, simd.mul_f32s(q, splat(7.549_79e-8)));
    let z = simd.mul_f32s(r, r);
    let odd = simd.mul_f32s(polynomial(simd, z, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]), z);
    let odd = simd.mul_add_e_f32s(odd, r, r);
    let even = polynomial(simd, z, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2, -0.5, 1.0]);
    let quadrant = simd.add_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(quadrants));
    let is_odd = simd.equal_u32s(simd.and_u32s(quadrant, simd.splat_u32s(1)), simd.splat_u32s(0));
    let flip = simd.wrapping_dyn_shl_u32s(simd.and_u32s(quadrant, simd.splat_u32s(2)), simd.splat_u32s(30));
    simd.xor_f32s(simd.select_f32s(is_odd, odd, even), simd.transmute_f32s_u32s(flip))
}

/// `ln(1 + e^x)`, from the side that does not overflow.
#[inline(always)]
pub(super) fn softplus<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (one, zero) = (simd.splat_f32s(1.0), simd.splat_f32s(0.0));
    let e = exp(simd, simd.neg_f32s(simd.abs_f32s(x)));
    let u = simd.add_f32s(one, e);
    // ln(1 + e) where 1 + e was rounded to u.
    let lost = simd.sub_f32s(e, simd.sub_f32s(u, one));
    let tail = simd.add_f32s(log(simd, u), simd.div_f32s(lost, u));
    simd.add_f32s(simd.select_f32s(simd.less_than_f32s(x, zero), zero, x), tail)
}

/// `x·tanh(softplus(x))`, as a quotient of powers of `e^x`.
#[inline(always)]
pub(super) fn mish<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let limit = simd.splat_f32s(20.0);
    let above = simd.greater_than_f32s(x, limit);
    let e = exp(simd, simd.select_f32s(above, limit, x));
    let n = simd.mul_f32s(e, simd.add_f32s(e, simd.splat_f32s(2.0)));
    let y = simd.mul_f32s(x, simd.div_f32s(n, simd.add_f32s(n, simd.splat_f32s(2.0))));
    simd.select_f32s(above, x, y)
}

/// `x` above zero, `alpha·(e^x − 1)` below: with `t = tanh(x/2)`, `e^x − 1 = 2t/(1 − t)`, accurate near zero.
#[inline(always)]
pub(super) fn elu<S: Simd>(simd: S, x: S::f32s, alpha: f32) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    let t = tanh(simd, simd.mul_f32s(x, simd.splat_f32s(0.5)));
    let y = simd.div_f32s(simd.add_f32s(t, t), simd.sub_f32s(simd.splat_f32s(1.0), t));
    let below = simd.mul_f32s(y, simd.splat_f32s(alpha));
    simd.select_f32s(simd.less_than_f32s(x, zero), below, x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::{Lanewise, check};

    macro_rules! lanewise {
        ($name:ident, $x:ident, $simd:ident => $body:expr) => {
            #[derive(Clone, Copy)]
            struct $name;
            impl Lanewise for $name {
                #[inline(always)]
                fn apply<S: Simd>(self, $simd: S, $x: S::f32s) -> S::f32s {
                    $body
                }
            }
        };
    }
    lanewise!(Log, x, simd => log(simd, x));
    lanewise!(Round, x, simd => round(simd, x));
    lanewise!(Floor, x, simd => floor(simd, x));
    lanewise!(Ceil, x, simd => ceil(simd, x));
    lanewise!(Sign, x, simd => sign(simd, x));
    lanewise!(Softplus, x, simd => softplus(simd, x));
    lanewise!(Elu, x, simd => elu(simd, x, 1.0));

    #[test]
    fn functions_match_f64() {
        check(Log, f64::ln, 2.0);
        check(Round, f64::round_ties_even, 0.0);
        check(Floor, f64::floor, 0.0);
        check(Ceil, f64::ceil, 0.0);
        check(Sign, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }, 0.0);
        check(Softplus, |x| if x > 40.0 { x } else { x.exp().ln_1p() }, 4.0);
        check(Elu, |x| if x < 0.0 { x.exp_m1() } else { x }, 8.0);
    }
}
