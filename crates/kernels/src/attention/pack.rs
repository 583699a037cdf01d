//! Phase 0: packs k and v of every head into panels of 16.
//!
//! k becomes `[keys/16][depth][16]` with the scale multiplied in, keys beyond the last zero; v becomes
//! `[value_depth/16][keys][16]`, elements beyond the last zero. A tile packs one block of keys of one head.

use super::spec::{AttentionShape, Bound};
use crate::arena::Memory;
use crate::gemm::PANEL;
use crate::transpose::{SIDE, Transpose};

/// Keys one tile packs, a multiple of [`PANEL`].
const BLOCK: usize = 128;

/// Number of tiles.
pub(super) fn tiles(shape: &AttentionShape) -> usize {
    shape.batch * shape.kv_heads * shape.keys.div_ceil(BLOCK)
}

/// Packs one tile.
///
/// # Safety
/// Nothing writes k and v, and nothing else accesses this tile's panels of scratch.
pub(super) unsafe fn run(bound: &Bound, transpose: Transpose, index: usize, memory: &Memory<'_>) {
    let shape = &bound.shape;
    let blocks = shape.keys.div_ceil(BLOCK);
    let (head, first) = (index / blocks, index % blocks * BLOCK);
    let (batch, head) = (head / shape.kv_heads, head % shape.kv_heads);
    let end = (first + BLOCK).min(shape.keys);
    let (keys, values) = bound.packed(batch, head);
    let scratch = bound.scratch.locate(memory);
    let k = bound.k.source.locate(memory);
    let v = bound.v.source.locate(memory);
    for key in (first..end).step_by(PANEL) {
        let count = PANEL.min(end - key);
        // SAFETY: rows key..key + count of k exist; the panel at `key` is this tile's.
        unsafe {
            let rows = k.add(bound.k.start(batch, head) + key * bound.k.row);
            let panel =
                std::slice::from_raw_parts_mut(scratch.add(keys + key * shape.depth), PANEL * shape.depth);
            pack_keys(rows, bound.k.row, count, panel, transpose);
            panel.iter_mut().for_each(|value| *value *= bound.scale);
        }
    }
    for (panel, element) in (0..shape.value_depth).step_by(PANEL).enumerate() {
        let width = PANEL.min(shape.value_depth - element);
        for key in first..end {
            // SAFETY: row `key` of v exists; these 16 elements of the panel are this tile's.
            unsafe {
                let row = v.add(bound.v.start(batch, head) + key * bound.v.row + element);
                let place = scratch.add(values + (panel * shape.keys + key) * PANEL);
                if width == PANEL {
                    place.cast::<[f32; PANEL]>().write_unaligned(row.cast::<[f32; PANEL]>().read_unaligned());
                } else {
                    let place = std::slice::from_raw_parts_mut(place, PANEL);
                    place[..width].copy_from_slice(std::slice::from_raw_parts(row, width));
                    place[width..].fill(0.0);
                }
            }
        }
    }
}

/// Writes up to 16 rows as the columns of a panel.
///
/// # Safety
/// `count` rows of `panel.len() / 16` elements, `stride` apart, are readable.
unsafe fn pack_keys(rows: *const f32, stride: usize, count: usize, panel: &mut [f32], transpose: Transpose) {
    let depth = panel.len() / PANEL;
    let whole = if count == PANEL { depth / SIDE * SIDE } else { 0 };
    for element in (0..whole).step_by(SIDE) {
        // SAFETY: 16 rows with 16 elements from `element` on; the target rows element..element + 16 are in the panel.
        unsafe {
            let target = panel.as_mut_ptr().add(element * PANEL);
            transpose(rows.add(element), stride.cast_signed(), target, PANEL.cast_signed());
        }
    }
    for (element, line) in panel.chunks_exact_mut(PANEL).enumerate().skip(whole) {
        for (lane, value) in line.iter_mut().enumerate() {
            // SAFETY: lane < count rows are readable.
            *value = if lane < count { unsafe { *rows.add(lane * stride + element) } } else { 0.0 };
        }
    }
}
