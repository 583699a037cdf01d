//! Reductions over axes, index reductions and top-k.

mod arg_max;
mod arg_min;
mod position;
mod reduce;
mod reduce_l1;
mod reduce_l2;
mod reduce_log_sum;
mod reduce_log_sum_exp;
mod reduce_max;
mod reduce_mean;
mod reduce_min;
mod reduce_prod;
mod reduce_sum;
mod reduce_sum_square;
mod top_k;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &arg_max::ArgMax,
    &arg_min::ArgMin,
    &reduce_l1::ReduceL1,
    &reduce_l2::ReduceL2,
    &reduce_log_sum::ReduceLogSum,
    &reduce_log_sum_exp::ReduceLogSumExp,
    &reduce_max::ReduceMax,
    &reduce_mean::ReduceMean,
    &reduce_min::ReduceMin,
    &reduce_prod::ReduceProd,
    &reduce_sum::ReduceSum,
    &reduce_sum_square::ReduceSumSquare,
    &top_k::TopK,
];
