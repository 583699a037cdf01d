//! Operators that pick and place elements by index.

mod compress;
mod gather_elements;
mod gather_nd;
mod gather_op;
mod index;
mod non_zero;
mod one_hot;
mod scatter_elements;
mod scatter_nd;
mod tensor_scatter;
mod unique;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &compress::Compress,
    &gather_elements::GatherElements,
    &gather_nd::GatherNd,
    &gather_op::Gather,
    &non_zero::NonZero,
    &one_hot::OneHot,
    &scatter_elements::Scatter,
    &scatter_elements::ScatterElements,
    &scatter_nd::ScatterNd,
    &tensor_scatter::TensorScatter,
    &unique::Unique,
];
