//! Losses over class probabilities.

mod negative_log_likelihood;
mod softmax_cross_entropy;
mod weighted;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] =
    &[&negative_log_likelihood::NegativeLogLikelihoodLoss, &softmax_cross_entropy::SoftmaxCrossEntropyLoss];
