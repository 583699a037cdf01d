//! Logical operators, comparisons and selection.

mod and;
mod connective;
mod equal;
mod greater;
mod greater_or_equal;
mod less;
mod less_or_equal;
mod not;
mod or;
mod relation;
mod where_;
mod xor;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &and::And,
    &equal::Equal,
    &greater::Greater,
    &greater_or_equal::GreaterOrEqual,
    &less::Less,
    &less_or_equal::LessOrEqual,
    &not::Not,
    &or::Or,
    &where_::Where,
    &xor::Xor,
];
