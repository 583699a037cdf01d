//! Operators that move elements without computing on them, and the conversions between types.
//!
//! Evaluation is a list of source positions (`crate::select`), so it holds for every element type. Typing carries
//! symbolic sizes through vectors of sizes, so that exported shape computations resolve.

mod bit_cast;
mod cast;
mod cast_like;
mod center_crop_pad;
mod concat;
mod depth_to_space;
mod expand;
mod flatten;
mod identity;
mod pad;
mod reshape;
mod reverse_sequence;
mod slice;
mod space_to_depth;
mod split;
mod squeeze;
mod tile;
mod transpose;
mod trilu;
mod unsqueeze;

use crate::Op;

pub(crate) use cast::{cast, dtype_attr};
pub(crate) use concat::concat;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[
    &bit_cast::BitCast,
    &cast::Cast,
    &cast_like::CastLike,
    &center_crop_pad::CenterCropPad,
    &concat::Concat,
    &depth_to_space::DepthToSpace,
    &expand::Expand,
    &flatten::Flatten,
    &identity::Identity,
    &pad::Pad,
    &reshape::Reshape,
    &reverse_sequence::ReverseSequence,
    &slice::Slice,
    &space_to_depth::SpaceToDepth,
    &split::Split,
    &squeeze::Squeeze,
    &tile::Tile,
    &transpose::Transpose,
    &trilu::Trilu,
    &unsqueeze::Unsqueeze,
];
