//! Vector mathematics: exp, erf, tanh, sigmoid over the registers of any [`pulp::Simd`].
//!
//! Each function is generic over the register width and has no branches, so a kernel calls it inside its own
//! `with_simd` and it inlines there. NaN in gives NaN out on every instruction set. Accuracy is stated per function
//! and tested against f64 over the whole range, infinities and denormals included. Lanes are independent: a value's
//! result does not depend on its neighbours, but it may differ by an ulp between instruction sets (fused
//! multiply-add or not).

mod activation;
mod convert;
mod erf;
mod exp;
mod level;
mod tanh;

pub use activation::{Activation, Identity, Lane, LaneVisitor};
pub use convert::i32_to_f32;
pub use erf::{erf, erf_quotient};
pub use exp::{exp, exp_of_negative};
pub use level::Levels;
pub use tanh::{sigmoid, tanh};

use pulp::Simd;

/// `a·x + b` with constant `b`, fused where the instruction set fuses.
#[inline(always)]
pub(crate) fn step<S: Simd>(simd: S, acc: S::f32s, x: S::f32s, coefficient: f32) -> S::f32s {
    simd.mul_add_e_f32s(acc, x, simd.splat_f32s(coefficient))
}

/// Polynomial in `x` by Horner's rule, highest power first.
#[inline(always)]
pub fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut acc = simd.splat_f32s(coefficients[0]);
    for coefficient in &coefficients[1..] {
        acc = step(simd, acc, x, *coefficient);
    }
    acc
}

/// `y` where `x` is a number, NaN where it is not: x86 and Arm disagree on NaN in min and max.
#[inline(always)]
pub(crate) fn keep_nan<S: Simd>(simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
    simd.select_f32s(simd.equal_f32s(x, x), y, x)
}

/// Applies a lane-wise function to a slice in place; the tail goes through the same code, padded with zeros.
#[inline(always)]
pub fn map_in_place<S: Simd>(simd: S, values: &mut [f32], f: impl Fn(S::f32s) -> S::f32s) {
    let (vectors, tail) = S::as_mut_simd_f32s(values);
    for v in vectors {
        *v = f(*v);
    }
    if !tail.is_empty() {
        let v = f(simd.partial_load_f32s(tail));
        simd.partial_store_f32s(tail, v);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Isa;

    struct Map<'a, F>(&'a mut [f32], F);

    /// A function over registers, as a type, so that it can be generic over the width.
    pub(crate) trait Lanewise: Copy {
        fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s;
    }

    impl<F: Lanewise> pulp::WithSimd for Map<'_, F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            map_in_place(simd, self.0, |x| self.1.apply(simd, x));
        }
    }

    /// Every exponent and sign with a spread of mantissas, and the special values.
    pub(crate) fn dense() -> Vec<f32> {
        let mut inputs: Vec<f32> = (0..=u32::MAX / 4099).map(|i| f32::from_bits(i * 4099)).collect();
        inputs.extend((-200_000..=200_000).map(|i| i as f32 / 1500.0));
        inputs.extend([0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        inputs.extend([f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(1), f32::MAX, f32::MIN]);
        inputs
    }

    /// Distance in units of the last place of the exact result (at least the smallest denormal).
    fn ulps(got: f32, exact: f64) -> f64 {
        let rounded = exact as f32;
        if got.is_nan() && exact.is_nan() || got == rounded {
            return 0.0;
        }
        if got.is_nan() != exact.is_nan() || got.is_infinite() || rounded.is_infinite() {
            return f64::INFINITY;
        }
        let magnitude = (rounded.abs().max(f32::MIN_POSITIVE)).to_bits();
        let ulp = f64::from(f32::from_bits(magnitude + 1)) - f64::from(f32::from_bits(magnitude));
        (f64::from(got) - exact).abs() / ulp
    }

    /// `f` of every input on one instruction set.
    pub(crate) fn evaluate(isa: Isa, f: impl Lanewise, inputs: &[f32]) -> Vec<f32> {
        let mut outputs = inputs.to_vec();
        isa.level().expect("listed as available").dispatch(Map(&mut outputs, f));
        outputs
    }

    /// Checks `f` against `exact` on every instruction set; `limit` in ulps.
    pub(crate) fn check(f: impl Lanewise, exact: impl Fn(f64) -> f64, limit: f64) {
        let inputs = dense();
        for isa in Isa::available() {
            let outputs = evaluate(isa, f, &inputs);
            let mut worst = (0.0, 0.0, 0.0);
            for (&x, &y) in inputs.iter().zip(&outputs) {
                let error = ulps(y, exact(f64::from(x)));
                if error > worst.0 {
                    worst = (error, x, y);
                }
            }
            assert!(worst.0 <= limit, "{isa}: {} ulp at x = {:e}, got {:e}", worst.0, worst.1, worst.2);
        }
    }

    #[test]
    fn tails_equal_whole_registers() {
        #[derive(Clone, Copy)]
        struct Exp;
        impl Lanewise for Exp {
            #[inline(always)]
            fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
                exp(simd, x)
            }
        }
        for isa in Isa::available() {
            let mut whole: Vec<f32> = (0..64).map(|i| i as f32 / 7.0 - 4.0).collect();
            let inputs = whole.clone();
            isa.level().expect("listed as available").dispatch(Map(&mut whole, Exp));
            for len in 0..64 {
                let mut part = inputs[..len].to_vec();
                isa.level().expect("listed as available").dispatch(Map(&mut part, Exp));
                assert_eq!(part, whole[..len], "{isa}, {len} elements");
            }
        }
    }
}
