//! Operators that draw random numbers: never folded and never merged.

mod bernoulli;
mod multinomial;
mod random;
pub(crate) mod source;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &bernoulli::Bernoulli,
    &multinomial::Multinomial,
    &random::RANDOM_NORMAL,
    &random::RANDOM_NORMAL_LIKE,
    &random::RANDOM_UNIFORM,
    &random::RANDOM_UNIFORM_LIKE,
];
