//! Copies by runs, fills and cache-blocked transposes.
//!
//! Plain loops: the compiler turns the inner ones into moves. Squares of 32-bit elements are transposed in registers.
//! Every access is to an index of the part, which planning proved in bounds.

use super::plan::{BLOCK, Part, Walk, piece};
use crate::arena::Pod;
use crate::layout::{Odometer, to_signed};
use crate::transpose::{SIDE, Transpose};
use std::ops::Range;

/// Side of the square a transpose turns in registers.
const MICRO: usize = 8;

/// Moves some items of a part.
///
/// # Safety
/// Every index of the part is in bounds of both pointers, nothing else accesses the elements written, and nothing
/// writes those read.
pub(super) unsafe fn copy<T: Pod>(
    part: &Part<T>,
    register: Transpose,
    items: Range<usize>,
    source: *const T,
    target: *mut T,
) {
    match part.walk {
        Walk::Transpose { axis } => {
            // SAFETY: the caller's promise.
            unsafe { transpose(part, axis, register, items, source, target) }
        }
        _ => {
            // SAFETY: the caller's promise.
            unsafe { rows(part, items, source, target) }
        }
    }
}

/// # Safety
/// As for [`copy`].
unsafe fn rows<T: Pod>(part: &Part<T>, items: Range<usize>, source: *const T, target: *mut T) {
    let last = part.dims.len() - 1;
    let n = part.dims[last];
    let pieces = n.div_ceil(piece::<T>());
    let outer = [&part.from[..last], &part.to[..last]];
    let mut walk = Odometer::new(&part.dims[..last], outer, part.offsets, items.start / pieces);
    let (from, to) = (part.from[last], part.to[last]);
    for item in items {
        let start = item % pieces * piece::<T>();
        let count = (n - start).min(piece::<T>());
        let first = to_signed(start);
        // SAFETY: the odometer yields indices of the part, start + count <= n, and the caller vouches for those.
        unsafe {
            let source = source.offset(walk.at[0] + first * from);
            let target = target.offset(walk.at[1] + first * to);
            match part.walk {
                Walk::Runs => std::ptr::copy_nonoverlapping(source, target, count),
                Walk::Fill => std::slice::from_raw_parts_mut(target, count).fill(*source),
                _ => (0..to_signed(count)).for_each(|i| *target.offset(i * to) = *source.offset(i * from)),
            }
        }
        if (item + 1).is_multiple_of(pieces) {
            walk.advance();
        }
    }
}

/// # Safety
/// As for [`copy`].
unsafe fn transpose<T: Pod>(
    part: &Part<T>,
    axis: usize,
    register: Transpose,
    items: Range<usize>,
    source: *const T,
    target: *mut T,
) {
    let last = part.dims.len() - 1;
    let (m, n) = (part.dims[axis], part.dims[last]);
    let (across, down) = (m.div_ceil(BLOCK), n.div_ceil(BLOCK));
    let keep = |list: &[isize]| [&list[..axis], &list[axis + 1..last]].concat();
    let dims = [&part.dims[..axis], &part.dims[axis + 1..last]].concat();
    let (from, to) = (keep(&part.from), keep(&part.to));
    let mut walk = Odometer::new(&dims, [&from, &to], part.offsets, items.start / (across * down));
    let (from_step, to_step) = (part.from[last], part.to[axis]);
    for item in items {
        let block = item % (across * down);
        let (i, j) = (block % down * BLOCK, block / down * BLOCK);
        let (rows, columns) = ((n - i).min(BLOCK), (m - j).min(BLOCK));
        // SAFETY: indices (j..j+columns, i..i+rows) lie inside the part; the caller vouches for those.
        unsafe {
            let source = source.offset(walk.at[0] + to_signed(i) * from_step + to_signed(j));
            let target = target.offset(walk.at[1] + to_signed(j) * to_step + to_signed(i));
            square(source, from_step, target, to_step, rows, columns, register);
        }
        if (item + 1).is_multiple_of(across * down) {
            walk.advance();
        }
    }
}

/// `target[j * to_step + i] = source[i * from_step + j]` for `i < rows`, `j < columns`.
///
/// # Safety
/// As for [`copy`].
unsafe fn square<T: Pod>(
    source: *const T,
    from_step: isize,
    target: *mut T,
    to_step: isize,
    rows: usize,
    columns: usize,
    register: Transpose,
) {
    let side = if size_of::<T>() == size_of::<f32>() { SIDE } else { MICRO };
    let (whole_rows, whole_columns) = (rows / side * side, columns / side * side);
    for j in (0..whole_columns).step_by(side) {
        for i in (0..whole_rows).step_by(side) {
            if size_of::<T>() == size_of::<f32>() {
                // SAFETY: the square lies inside both; elements of 32 bits are only moved.
                unsafe {
                    let source = source.offset(to_signed(i) * from_step + to_signed(j));
                    let target = target.offset(to_signed(j) * to_step + to_signed(i));
                    register(source.cast(), from_step, target.cast(), to_step);
                }
                continue;
            }
            let mut tile = [[T::zeroed(); MICRO]; MICRO];
            for (k, row) in tile.iter_mut().enumerate() {
                // SAFETY: row i + k, columns j..j + MICRO are inside; an array of Pod may be read unaligned.
                *row = unsafe {
                    source
                        .offset(to_signed(i + k) * from_step + to_signed(j))
                        .cast::<[T; MICRO]>()
                        .read_unaligned()
                };
            }
            let columns: [[T; MICRO]; MICRO] = std::array::from_fn(|k| std::array::from_fn(|r| tile[r][k]));
            for (k, column) in columns.into_iter().enumerate() {
                // SAFETY: as above, mirrored.
                unsafe {
                    let place = target.offset(to_signed(j + k) * to_step + to_signed(i));
                    place.cast::<[T; MICRO]>().write_unaligned(column);
                }
            }
        }
    }
    let single = |i: usize, j: usize| {
        let (i, j) = (to_signed(i), to_signed(j));
        // SAFETY: i < rows and j < columns.
        unsafe { *target.offset(j * to_step + i) = *source.offset(i * from_step + j) };
    };
    for j in 0..columns {
        let done = if j < whole_columns { whole_rows } else { 0 };
        (done..rows).for_each(|i| single(i, j));
    }
}
