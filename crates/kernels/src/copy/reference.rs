//! The oracle: one element at a time, in the order of the planned dims.
//!
//! Finds the items of its tile by searching all indices, so that it shares no walk with the fast kernel.

use super::plan::{BLOCK, Part, Walk, piece};
use crate::arena::Pod;
use crate::layout::to_signed;
use std::ops::Range;

/// Moves some items of a part.
///
/// # Safety
/// As for `portable::copy`.
pub(super) unsafe fn copy<T: Pod>(part: &Part<T>, items: Range<usize>, source: *const T, target: *mut T) {
    for flat in 0..part.dims.iter().product() {
        let mut index = vec![0; part.dims.len()];
        let mut rest = flat;
        for (slot, dim) in index.iter_mut().zip(&part.dims).rev() {
            *slot = rest % dim;
            rest /= dim;
        }
        if !items.contains(&item_of(part, &index)) {
            continue;
        }
        let at = |offset: usize, strides: &[isize]| {
            to_signed(offset) + index.iter().zip(strides).map(|(&i, s)| to_signed(i) * s).sum::<isize>()
        };
        // SAFETY: the index is one of the part's; the caller vouches for those.
        unsafe {
            *target.offset(at(part.offsets[1], &part.to)) = *source.offset(at(part.offsets[0], &part.from));
        }
    }
}

/// The item an index belongs to.
fn item_of<T: Pod>(part: &Part<T>, index: &[usize]) -> usize {
    let last = part.dims.len() - 1;
    let flat = |skip: Option<usize>| {
        let axes = (0..last).filter(|&a| Some(a) != skip);
        axes.fold(0, |flat, a| flat * part.dims[a] + index[a])
    };
    match part.walk {
        Walk::Transpose { axis } => {
            let (across, down) = (part.dims[axis].div_ceil(BLOCK), part.dims[last].div_ceil(BLOCK));
            flat(Some(axis)) * across * down + index[axis] / BLOCK * down + index[last] / BLOCK
        }
        _ => flat(None) * part.dims[last].div_ceil(piece::<T>()) + index[last] / piece::<T>(),
    }
}
