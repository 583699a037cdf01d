//! Arithmetic that is defined for every number type of ONNX.
//!
//! Floats follow IEEE 754, half types are computed in f32 and rounded once; integers wrap as on every runtime.
//! Nothing here knows of tensors.

use fusebox_ir::tensor::Element;
use half::{bf16, f16};

/// A number type of ONNX.
pub trait Number: Element + PartialOrd + std::fmt::Display {
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Sum; integers wrap.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// Difference; integers wrap.
    #[must_use]
    fn minus(self, other: Self) -> Self;
    /// Product; integers wrap.
    #[must_use]
    fn times(self, other: Self) -> Self;
    /// Quotient; integers round towards zero and have none by zero.
    fn over(self, other: Self) -> Option<Self>;
    /// Whether it is not a number.
    fn nan(self) -> bool;
    /// As f64, exact but for 64-bit integers.
    fn to_f64(self) -> f64;
    /// From f64: floats round once, integers truncate and saturate.
    fn from_f64(value: f64) -> Self;

    /// Larger of two; NaN if either is.
    #[must_use]
    fn larger(self, other: Self) -> Self {
        if self.nan() || self > other { self } else { other }
    }

    /// Smaller of two; NaN if either is.
    #[must_use]
    fn smaller(self, other: Self) -> Self {
        if self.nan() || self < other { self } else { other }
    }
}

macro_rules! floats {
    ($($t:ty),*) => { $(impl Number for $t {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        fn plus(self, other: Self) -> Self { self + other }
        fn minus(self, other: Self) -> Self { self - other }
        fn times(self, other: Self) -> Self { self * other }
        fn over(self, other: Self) -> Option<Self> { Some(self / other) }
        fn nan(self) -> bool { self.is_nan() }
        fn to_f64(self) -> f64 { self.into() }
        fn from_f64(value: f64) -> Self { value as Self }
    })* };
}
floats! { f32, f64 }

macro_rules! halves {
    ($($t:ty),*) => { $(impl Number for $t {
        const ZERO: Self = <$t>::ZERO;
        const ONE: Self = <$t>::ONE;
        fn plus(self, other: Self) -> Self { Self::from_f32(self.to_f32() + other.to_f32()) }
        fn minus(self, other: Self) -> Self { Self::from_f32(self.to_f32() - other.to_f32()) }
        fn times(self, other: Self) -> Self { Self::from_f32(self.to_f32() * other.to_f32()) }
        fn over(self, other: Self) -> Option<Self> { Some(Self::from_f32(self.to_f32() / other.to_f32())) }
        fn nan(self) -> bool { self.is_nan() }
        fn to_f64(self) -> f64 { self.to_f64() }
        fn from_f64(value: f64) -> Self { Self::from_f64(value) }
    })* };
}
halves! { f16, bf16 }

macro_rules! integers {
    ($($t:ty),*) => { $(impl Number for $t {
        const ZERO: Self = 0;
        const ONE: Self = 1;
        fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
        fn minus(self, other: Self) -> Self { self.wrapping_sub(other) }
        fn times(self, other: Self) -> Self { self.wrapping_mul(other) }
        fn over(self, other: Self) -> Option<Self> { (other != 0).then(|| self.wrapping_div(other)) }
        fn nan(self) -> bool { false }
        fn to_f64(self) -> f64 { self as f64 }
        fn from_f64(value: f64) -> Self { value as Self }
    })* };
}
integers! { i8, i16, i32, i64, u8, u16, u32, u64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_and_refuse_division_by_zero() {
        assert_eq!(200u8.plus(100), 44);
        assert_eq!(i64::MIN.over(-1), Some(i64::MIN));
        assert_eq!((-7i32).over(2), Some(-3));
        assert_eq!(5i32.over(0), None);
        assert_eq!(i8::from_f64(300.0), 127);
    }

    #[test]
    fn nan_wins_comparisons_from_either_side() {
        assert!(f32::NAN.larger(1.0).is_nan() && 1f32.larger(f32::NAN).is_nan());
        assert!(f32::NAN.smaller(1.0).is_nan() && 1f32.smaller(f32::NAN).is_nan());
        assert_eq!(2f32.larger(1.0), 2.0);
        assert_eq!(f16::from_f32(1.0).plus(f16::from_f32(0.5)).to_f32(), 1.5);
    }
}
