//! Pooling over windows and over all positions.

mod average;
mod global;
mod global_average;
mod global_lp;
mod global_max;
mod lp;
mod max;
mod max_unpool;
mod windows;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &average::AveragePool,
    &global_average::GlobalAveragePool,
    &global_lp::GlobalLpPool,
    &global_max::GlobalMaxPool,
    &lp::LpPool,
    &max::MaxPool,
    &max_unpool::MaxUnpool,
];
