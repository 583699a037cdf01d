//! The error function, for the exact form of GELU.
//!
//! Two pieces after N. Juffa: `x + x·P(x²)` around zero, `1 − e^(x·Q(x))` outside, both evaluated, one selected.

use super::{exp::exp_of_negative, keep_nan, polynomial};
use pulp::Simd;

/// Where the pieces meet.
const SPLIT: f32 = 0.927_734_4;
const INNER: [f32; 6] =
    [-5.967_617e-4, 4.991_194e-3, -2.676_813_5e-2, 1.128_199_3e-1, -3.761_253_4e-1, 1.283_791_7e-1];
const OUTER: [f32; 7] = [
    -1.728_534_7e-5,
    3.831_974_9e-4,
    -3.883_966_3e-3,
    2.425_465_8e-2,
    -1.067_778_9e-1,
    -6.348_468e-1,
    -1.287_175_1e-1,
];

/// `erf(x)`, within 2 ulp.
#[inline(always)]
pub fn erf<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let t = simd.min_f32s(simd.abs_f32s(x), simd.splat_f32s(4.0));
    let inner = polynomial(simd, simd.mul_f32s(x, x), INNER);
    let inner = simd.mul_add_e_f32s(inner, x, x);
    let q = polynomial(simd, t, OUTER);
    let exponent = simd.sub_f32s(simd.mul_f32s(q, t), t);
    let outer = simd.sub_f32s(simd.splat_f32s(1.0), exp_of_negative(simd, exponent));
    let sign = simd.and_f32s(x, simd.splat_f32s(-0.0));
    let outer = simd.or_f32s(outer, sign);
    keep_nan(simd, x, simd.select_f32s(simd.greater_than_f32s(t, simd.splat_f32s(SPLIT)), outer, inner))
}

/// Numerator and denominator of the quotient below in x², highest power first (the form that Eigen uses).
const NUMERATOR: [f32; 7] = [
    -2.726_142_3e-10,
    2.770_681_4e-8,
    -2.101_024e-6,
    -5.692_506_4e-5,
    -7.349_906_3e-4,
    -2.954_6e-3,
    -1.609_603_3e-2,
];
const DENOMINATOR: [f32; 5] =
    [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];

/// `erf(x)` as one quotient of polynomials: half the work of [`erf`], absolute error below 5e-7 and a relative one of
/// some ulp around zero; exactly ±1 where erf rounds to it. What GELU needs: there the result is added to 1.
#[inline(always)]
pub fn erf_quotient<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let bound = simd.splat_f32s(3.925);
    let one = simd.splat_f32s(1.0);
    let (above, below) = (simd.greater_than_f32s(x, bound), simd.less_than_f32s(x, simd.neg_f32s(bound)));
    // An infinity outside the bounds makes NaN here, which is not selected.
    let square = simd.mul_f32s(x, x);
    let top = simd.mul_f32s(x, polynomial(simd, square, NUMERATOR));
    let y = simd.div_f32s(top, polynomial(simd, square, DENOMINATOR));
    simd.select_f32s(above, one, simd.select_f32s(below, simd.neg_f32s(one), y))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Lanewise, check, dense, evaluate};
    use super::*;
    use crate::Isa;

    #[derive(Clone, Copy)]
    struct Erf;
    impl Lanewise for Erf {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
            erf(simd, x)
        }
    }

    #[test]
    fn erf_matches_f64() {
        check(Erf, libm::erf, 2.0);
    }

    #[derive(Clone, Copy)]
    struct Quotient;
    impl Lanewise for Quotient {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
            erf_quotient(simd, x)
        }
    }

    #[test]
    fn the_quotient_is_close_and_bounded() {
        let inputs = dense();
        for isa in Isa::available() {
            for (&x, y) in inputs.iter().zip(evaluate(isa, Quotient, &inputs)) {
                let error = (f64::from(y) - libm::erf(f64::from(x))).abs();
                assert!(x.is_nan() == y.is_nan(), "{isa}: erf({x}) = {y}");
                assert!(x.is_nan() || error <= 5e-7, "{isa}: erf({x}) = {y}, off by {error:e}");
                assert!(x.is_nan() || error <= 2e-6 * f64::from(x.abs()) + 1e-38, "{isa}: erf({x}) = {y}");
            }
        }
    }
}
