//! Activation functions as data, applied to registers.
//!
//! One enum serves every fused epilogue. [`Activation::visit`] picks the function once and hands it over as a type, so
//! that the loop around it has no branch on the kind; [`Activation::apply_exact`] is the f64 oracle.

use super::{erf, erf_quotient, sigmoid, tanh};
use pulp::Simd;

/// An elementwise function that a kernel may apply to its result before storing it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x·Φ(x) = x/2·(1 + erf(x/√2))`.
    Gelu,
    /// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
    GeluTanh,
    /// `x·sigmoid(alpha·x)`.
    QuickGelu {
        /// Steepness; 1.702 in CLIP.
        alpha: f32,
    },
    /// `x·sigmoid(x)`.
    Silu,
    /// `1/(1 + e^−x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x·clip(x/6 + 1/2, 0, 1)`.
    HardSwish,
    /// `clip(alpha·x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x` above zero, `alpha·x` below.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `min(max(x, lo), hi)`.
    Clip {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// Error function.
    Erf,
}

/// A function over one register. A type and not a closure: a closure that the compiler declines to inline runs
/// without the caller's target features, tens of times slower.
pub trait Lane<S: Simd>: Copy {
    /// The function; implementations are `inline(always)`.
    fn apply(self, x: S::f32s) -> S::f32s;
}

/// What [`Activation::visit`] calls with the chosen function.
pub trait LaneVisitor<S: Simd> {
    /// Result of the visit.
    type Output;
    /// Runs with `f` in place of the activation.
    fn visit(self, f: impl Lane<S>) -> Self::Output;
}

/// The function that changes nothing.
#[derive(Clone, Copy)]
pub struct Identity;

impl<S: Simd> Lane<S> for Identity {
    #[inline(always)]
    fn apply(self, x: S::f32s) -> S::f32s {
        x
    }
}

/// Names a function of a register `x` with two parameters.
macro_rules! lane {
    ($name:ident, |$simd:ident, $x:ident, $alpha:ident, $beta:ident| $body:expr) => {
        #[derive(Clone, Copy)]
        struct $name<S>(S, f32, f32);

        impl<S: Simd> Lane<S> for $name<S> {
            #[inline(always)]
            fn apply(self, $x: S::f32s) -> S::f32s {
                let Self($simd, $alpha, $beta) = self;
                $body
            }
        }
    };
}

lane!(Relu, |simd, x, _a, _b| {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
});
lane!(Gelu, |simd, x, _a, _b| {
    let scaled = simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    half_of_one_plus(simd, x, erf_quotient(simd, scaled))
});
lane!(GeluTanh, |simd, x, _a, _b| gelu_tanh(simd, x));
lane!(Swish, |simd, x, alpha, _b| simd.mul_f32s(x, sigmoid(simd, simd.mul_f32s(x, simd.splat_f32s(alpha)))));
lane!(Silu, |simd, x, _a, _b| simd.mul_f32s(x, sigmoid(simd, x)));
lane!(Sigmoid, |simd, x, _a, _b| sigmoid(simd, x));
lane!(Tanh, |simd, x, _a, _b| tanh(simd, x));
lane!(HardSwish, |simd, x, _a, _b| simd.mul_f32s(x, clip(simd, affine(simd, x, 1.0 / 6.0, 0.5), 0.0, 1.0)));
lane!(HardSigmoid, |simd, x, alpha, beta| clip(simd, affine(simd, x, alpha, beta), 0.0, 1.0));
lane!(LeakyRelu, |simd, x, alpha, _b| {
    let below = simd.mul_f32s(x, simd.splat_f32s(alpha));
    simd.select_f32s(simd.less_than_f32s(x, simd.splat_f32s(0.0)), below, x)
});
lane!(Clip, |simd, x, lo, hi| clip(simd, x, lo, hi));
lane!(Erf, |simd, x, _a, _b| erf(simd, x));

/// Bounds that let NaN through.
#[inline(always)]
fn clip<S: Simd>(simd: S, x: S::f32s, lo: f32, hi: f32) -> S::f32s {
    let (lo, hi) = (simd.splat_f32s(lo), simd.splat_f32s(hi));
    let x = simd.select_f32s(simd.less_than_f32s(x, lo), lo, x);
    simd.select_f32s(simd.greater_than_f32s(x, hi), hi, x)
}

#[inline(always)]
fn half_of_one_plus<S: Simd>(simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
    // Not `half·y + half`: where y is −1 the result is the zero of x's sign, and −∞ becomes NaN, as the formula says.
    let half = simd.mul_f32s(x, simd.splat_f32s(0.5));
    simd.mul_f32s(half, simd.add_f32s(y, simd.splat_f32s(1.0)))
}

#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let cubic = simd.mul_f32s(simd.mul_f32s(x, x), simd.splat_f32s(0.044_715 * SQRT_2_OVER_PI));
    let inner = simd.mul_f32s(x, simd.add_f32s(cubic, simd.splat_f32s(SQRT_2_OVER_PI)));
    half_of_one_plus(simd, x, tanh(simd, inner))
}

#[inline(always)]
fn affine<S: Simd>(simd: S, x: S::f32s, alpha: f32, beta: f32) -> S::f32s {
    simd.mul_add_e_f32s(x, simd.splat_f32s(alpha), simd.splat_f32s(beta))
}

impl Activation {
    /// Hands the function over as a type.
    #[inline(always)]
    pub fn visit<S: Simd, V: LaneVisitor<S>>(self, simd: S, visitor: V) -> V::Output {
        match self {
            Self::Relu => visitor.visit(Relu(simd, 0.0, 0.0)),
            Self::Gelu => visitor.visit(Gelu(simd, 0.0, 0.0)),
            Self::GeluTanh => visitor.visit(GeluTanh(simd, 0.0, 0.0)),
            Self::QuickGelu { alpha } => visitor.visit(Swish(simd, alpha, 0.0)),
            Self::Silu => visitor.visit(Silu(simd, 0.0, 0.0)),
            Self::Sigmoid => visitor.visit(Sigmoid(simd, 0.0, 0.0)),
            Self::Tanh => visitor.visit(Tanh(simd, 0.0, 0.0)),
            Self::HardSwish => visitor.visit(HardSwish(simd, 0.0, 0.0)),
            Self::HardSigmoid { alpha, beta } => visitor.visit(HardSigmoid(simd, alpha, beta)),
            Self::LeakyRelu { alpha } => visitor.visit(LeakyRelu(simd, alpha, 0.0)),
            Self::Clip { lo, hi } => visitor.visit(Clip(simd, lo, hi)),
            Self::Erf => visitor.visit(Erf(simd, 0.0, 0.0)),
        }
    }

    /// One example of every kind, for tests and benches to walk.
    pub const EXAMPLES: [Self; 12] = [
        Self::Relu,
        Self::Gelu,
        Self::GeluTanh,
        Self::QuickGelu { alpha: 1.702 },
        Self::Silu,
        Self::Sigmoid,
        Self::Tanh,
        Self::HardSwish,
        Self::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Self::LeakyRelu { alpha: 0.01 },
        Self::Clip { lo: -0.5, hi: 6.0 },
        Self::Erf,
    ];
}

/// The defining formulas in f64: the oracle.
impl Activation {
    pub(crate) fn apply_exact(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            _ if x.is_nan() => x,
            Self::Relu => x.max(0.0),
            Self::Gelu => x * 0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                x * 0.5 * (1.0 + inner.tanh())
            }
            Self::QuickGelu { alpha } => x * sigmoid(f64::from(alpha) * x),
            Self::Silu => x * sigmoid(x),
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
            Self::LeakyRelu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x
                } else {
                    x
                }
            }
            // Not `clamp`, which wants lo ≤ hi.
            Self::Clip { lo, hi } => x.max(f64::from(lo)).min(f64::from(hi)),
            Self::Erf => libm::erf(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    struct Apply<'a>(&'a mut [f32], Activation);
    struct Lanes<'a, S>(S, &'a mut [f32]);

    impl<S: Simd> LaneVisitor<S> for Lanes<'_, S> {
        type Output = ();
        #[inline(always)]
        fn visit(self, f: impl Lane<S>) {
            crate::math::map_in_place(self.0, self.1, |x| f.apply(x));
        }
    }

    impl pulp::WithSimd for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.1.visit(simd, Lanes(simd, self.0));
        }
    }

    /// Error against the input's magnitude, which is what a row of activations is judged by.
    #[test]
    fn activations_match_their_formulas() {
        let mut inputs: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 / 4000.0).collect();
        inputs.extend([0.0, -0.0, 1e-30, -1e-30, 87.0, -87.0, 1e4, -1e4, f32::NAN]);
        for isa in Isa::available() {
            for activation in Activation::EXAMPLES {
                let mut outputs = inputs.clone();
                isa.level().expect("listed as available").dispatch(Apply(&mut outputs, activation));
                for (&x, &y) in inputs.iter().zip(&outputs) {
                    let exact = activation.apply_exact(f64::from(x));
                    let error = (f64::from(y) - exact).abs();
                    assert!(
                        if x.is_nan() {
                            y.is_nan()
                        } else {
                            error <= 3e-7 * exact.abs().max(f64::from(x.abs())).max(1e-30)
                                || error <= 2e-7 * exact.abs()
                        },
                        "{isa} {activation:?}({x}) = {y}, expected {exact}"
                    );
                }
            }
        }
    }

    /// Where a factor saturates, the product must: not `x` times what a factor misses its end by.
    #[test]
    fn activations_saturate() {
        let big = (0..=60).map(|i| 8.0 * 1.9_f32.powi(i)).chain([f32::MAX]);
        let mut inputs: Vec<f32> = big.flat_map(|x| [x, -x]).collect();
        inputs.extend((550..900).map(|i| i as f32 / -100.0));
        inputs.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        for isa in Isa::available() {
            for activation in Activation::EXAMPLES {
                let mut outputs = inputs.clone();
                isa.level().expect("listed as available").dispatch(Apply(&mut outputs, activation));
                for (&x, &y) in inputs.iter().zip(&outputs) {
                    let exact = activation.apply_exact(f64::from(x));
                    let same = y.is_nan() && exact.is_nan() || y == exact as f32;
                    let error = (f64::from(y) - exact).abs();
                    let what = format!("{isa} {activation:?}({x}) = {y}, expected {exact}");
                    let tail = if x > -9.0 { 1e-6 } else { 1e-9 };
                    assert!(same || error <= 3e-7 * exact.abs() + tail, "{what}");
                    let signed = y.is_sign_negative() == exact.is_sign_negative();
                    assert!(exact.is_nan() || x == 0.0 || signed, "{what}");
                }
            }
        }
    }
}
