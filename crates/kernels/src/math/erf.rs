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

#[cfg(test)]
mod tests {
    use super::super::tests::{Lanewise, check};
    use super::*;

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
}
