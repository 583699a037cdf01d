//! Normalisations over axes.

mod affine;
mod batch;
mod dropout;
mod group;
mod instance;
mod layer;
mod local_response;
mod lp;
mod mean_variance;
mod rms;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &batch::BatchNormalization,
    &dropout::Dropout,
    &group::GroupNormalization,
    &instance::InstanceNormalization,
    &layer::LayerNormalization,
    &lp::LpNormalization,
    &local_response::Lrn,
    &mean_variance::MeanVarianceNormalization,
    &rms::RmsNormalization,
];
