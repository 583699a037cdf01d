//! Activation functions and softmaxes.

mod celu;
mod clip;
mod elu;
mod gelu;
mod hard_sigmoid;
mod hard_swish;
mod hardmax;
mod leaky_relu;
mod log_softmax;
mod mish;
mod prelu;
mod relu;
mod selu;
mod shrink;
mod sigmoid;
mod softmax;
mod softmax_family;
mod softplus;
mod softsign;
mod swiglu;
mod swish;
mod tanh;
mod thresholded_relu;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &celu::Celu,
    &clip::Clip,
    &elu::Elu,
    &gelu::Gelu,
    &hard_sigmoid::HardSigmoid,
    &hard_swish::HardSwish,
    &hardmax::Hardmax,
    &leaky_relu::LeakyRelu,
    &log_softmax::LogSoftmax,
    &mish::Mish,
    &prelu::PRelu,
    &relu::Relu,
    &selu::Selu,
    &shrink::Shrink,
    &sigmoid::Sigmoid,
    &softmax::Softmax,
    &softplus::Softplus,
    &softsign::Softsign,
    &swiglu::SwiGlu,
    &swish::Swish,
    &tanh::Tanh,
    &thresholded_relu::ThresholdedRelu,
];
