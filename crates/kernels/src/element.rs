//! Element types of tensors and the conversions between them.
//!
//! Owns sizes and scalar conversions; loops over them live in the families.

use crate::arena::Pod;
use half::{bf16, f16};

/// Type of one tensor element as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// IEEE half.
    F16,
    /// Brain float.
    Bf16,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// One byte, zero or one; any other byte reads as true.
    Bool,
}

impl Element {
    /// Every element type.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F64,
        Self::F16,
        Self::Bf16,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::Bool,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Lower-case name, e.g. `f32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::Bool => "bool",
        }
    }
}

/// A boolean in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Truth(pub u8);

/// A scalar that converts as ONNX Cast does: towards zero and saturating from floats, wrapping between integers,
/// non-zero to true.
pub(crate) trait Scalar: Pod {
    /// Whether the value must travel through a float.
    const IS_FLOAT: bool;
    fn to_float(self) -> f64;
    fn from_float(value: f64) -> Self;
    fn to_int(self) -> i64;
    fn from_int(value: i64) -> Self;
}

/// Converts one scalar.
#[inline(always)]
pub(crate) fn convert<A: Scalar, B: Scalar>(value: A) -> B {
    if A::IS_FLOAT || B::IS_FLOAT { B::from_float(value.to_float()) } else { B::from_int(value.to_int()) }
}

macro_rules! integer {
    ($($t:ty),*) => {$(
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap,
            clippy::cast_precision_loss, clippy::cast_lossless, reason = "these conversions are the contract")]
        impl Scalar for $t {
            const IS_FLOAT: bool = false;
            #[inline(always)]
            fn to_float(self) -> f64 { self as f64 }
            #[inline(always)]
            fn from_float(value: f64) -> Self { value as Self }
            #[inline(always)]
            fn to_int(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_int(value: i64) -> Self { value as Self }
        }
    )*};
}
integer!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! float {
    ($($t:ty, $to:expr, $from:expr);*) => {$(
        impl Scalar for $t {
            const IS_FLOAT: bool = true;
            #[inline(always)]
            fn to_float(self) -> f64 { ($to)(self) }
            #[inline(always)]
            fn from_float(value: f64) -> Self { ($from)(value) }
            #[inline(always)]
            #[allow(clippy::cast_possible_truncation, reason = "saturation is the contract")]
            fn to_int(self) -> i64 { self.to_float() as i64 }
            #[inline(always)]
            #[allow(clippy::cast_precision_loss, reason = "rounding is the contract")]
            fn from_int(value: i64) -> Self { Self::from_float(value as f64) }
        }
    )*};
}
float!(f32, f64::from, to_f32; f64, |x| x, |x| x; f16, f16::to_f64, f16::from_f64; bf16, bf16::to_f64, bf16::from_f64);

#[allow(clippy::cast_possible_truncation, reason = "rounding to nearest is the contract")]
#[inline(always)]
fn to_f32(value: f64) -> f32 {
    value as f32
}

impl Scalar for Truth {
    const IS_FLOAT: bool = false;
    #[inline(always)]
    fn to_float(self) -> f64 {
        f64::from(u8::from(self.0 != 0))
    }
    #[inline(always)]
    fn from_float(value: f64) -> Self {
        Self(u8::from(value != 0.0))
    }
    #[inline(always)]
    fn to_int(self) -> i64 {
        i64::from(self.0 != 0)
    }
    #[inline(always)]
    fn from_int(value: i64) -> Self {
        Self(u8::from(value != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_keep_the_contract() {
        assert_eq!(convert::<f32, i8>(-300.7), -128);
        assert_eq!(convert::<f32, i32>(-3.7), -3);
        assert_eq!(convert::<i32, u8>(-1), 255);
        assert_eq!(convert::<u64, f32>(u64::MAX), 18_446_744_073_709_551_615.0);
        assert_eq!(convert::<f32, Truth>(-0.5), Truth(1));
        assert_eq!(convert::<f32, f16>(65_504.0).to_f32(), 65_504.0);
        assert_eq!(convert::<Truth, f32>(Truth(9)), 1.0);
    }

    #[test]
    fn sizes_are_those_in_memory() {
        assert_eq!(Element::ALL.map(Element::size), [4, 8, 2, 2, 1, 2, 4, 8, 1, 2, 4, 8, 1]);
    }
}
