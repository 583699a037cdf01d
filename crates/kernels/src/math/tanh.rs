//! The hyperbolic tangent and the logistic function.
//!
//! Coefficients of the inner piece of tanh are those of Cephes `tanhf`; everything else rests on the exponential of a
//! negative argument, so nothing overflows.

use super::{exp::exp_of_negative, keep_nan, polynomial};
use pulp::Simd;

/// Where the polynomial gives way to the exponential.
const SPLIT: f32 = 0.625;
const INNER: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];

/// `tanh(x)`, within 3 ulp.
#[inline(always)]
pub fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let t = simd.abs_f32s(x);
    let one = simd.splat_f32s(1.0);
    let square = simd.mul_f32s(x, x);
    let inner = simd.mul_f32s(polynomial(simd, square, INNER), square);
    let inner = simd.mul_add_e_f32s(inner, x, x);
    let e = exp_of_negative(simd, simd.mul_f32s(t, simd.splat_f32s(-2.0)));
    let outer = simd.div_f32s(simd.sub_f32s(one, e), simd.add_f32s(one, e));
    let outer = simd.or_f32s(outer, simd.and_f32s(x, simd.splat_f32s(-0.0)));
    keep_nan(simd, x, simd.select_f32s(simd.greater_than_f32s(t, simd.splat_f32s(SPLIT)), outer, inner))
}

/// `1 / (1 + e^−x)`, within 3 ulp; zero where the result would not be a normal number.
#[inline(always)]
pub fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let e = exp_of_negative(simd, simd.neg_f32s(simd.abs_f32s(x)));
    let above = simd.select_f32s(simd.less_than_f32s(x, simd.splat_f32s(0.0)), e, one);
    keep_nan(simd, x, simd.div_f32s(above, simd.add_f32s(one, e)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Lanewise, check};
    use super::*;

    #[derive(Clone, Copy)]
    struct Tanh;
    impl Lanewise for Tanh {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
            tanh(simd, x)
        }
    }

    #[derive(Clone, Copy)]
    struct Sigmoid;
    impl Lanewise for Sigmoid {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
            sigmoid(simd, x)
        }
    }

    #[test]
    fn tanh_matches_f64() {
        check(Tanh, f64::tanh, 3.0);
    }

    #[test]
    fn sigmoid_matches_f64() {
        check(Sigmoid, |x| if x < -87.0 { 0.0 } else { 1.0 / (1.0 + (-x).exp()) }, 3.0);
    }
}
