//! Elementwise arithmetic: unary functions, and binary and variadic operators with broadcasting.
//!
//! `unary` and `binary` hold what the operators share; an operator's file names its function, versions and types.
//! Activations are a family of their own.

mod add;
mod binary;
mod div;
mod mul;
mod sub;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&add::Add, &div::Div, &mul::Mul, &sub::Sub];
