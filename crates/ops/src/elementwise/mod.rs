//! Elementwise arithmetic: unary functions, and binary and variadic operators with broadcasting.
//!
//! `unary` and `binary` hold what the operators share; an operator's file names its function, versions and types.
//! Activations are a family of their own.

mod abs;
mod acos;
mod acosh;
mod add;
mod asin;
mod asinh;
mod atan;
mod atanh;
mod binary;
mod bit_shift;
mod bitwise_and;
mod bitwise_not;
mod bitwise_or;
mod bitwise_xor;
mod ceil;
mod cos;
mod cosh;
mod cum_prod;
mod cum_sum;
mod div;
mod erf;
mod exp;
mod floor;
mod is_inf;
mod is_nan;
mod log;
mod max;
mod mean;
mod min;
mod modulo;
mod mul;
mod neg;
mod pow;
mod reciprocal;
mod round;
mod sign;
mod sin;
mod sinh;
mod sqrt;
mod sub;
mod sum;
mod tan;
pub(crate) mod unary;
mod variadic;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &abs::Abs,
    &acos::Acos,
    &acosh::Acosh,
    &add::Add,
    &asin::Asin,
    &asinh::Asinh,
    &atan::Atan,
    &atanh::Atanh,
    &bit_shift::BitShift,
    &bitwise_and::BitwiseAnd,
    &bitwise_not::BitwiseNot,
    &bitwise_or::BitwiseOr,
    &bitwise_xor::BitwiseXor,
    &ceil::Ceil,
    &cos::Cos,
    &cosh::Cosh,
    &cum_prod::CumProd,
    &cum_sum::CumSum,
    &div::Div,
    &erf::Erf,
    &exp::Exp,
    &floor::Floor,
    &is_inf::IsInf,
    &is_nan::IsNaN,
    &log::Log,
    &max::Max,
    &mean::Mean,
    &min::Min,
    &modulo::Mod,
    &mul::Mul,
    &neg::Neg,
    &pow::Pow,
    &reciprocal::Reciprocal,
    &round::Round,
    &sign::Sign,
    &sin::Sin,
    &sinh::Sinh,
    &sqrt::Sqrt,
    &sub::Sub,
    &sum::Sum,
    &tan::Tan,
];
