//! Sampling of images at computed places, and boxes.

mod affine_grid;
mod grid_sample;
mod max_roi_pool;
mod non_max_suppression;
mod roi_align;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &affine_grid::AffineGrid,
    &grid_sample::GridSample,
    &max_roi_pool::MaxRoiPool,
    &non_max_suppression::NonMaxSuppression,
    &roi_align::RoiAlign,
];
