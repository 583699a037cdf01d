//! Phase 1: one head × one block of queries, over all blocks of keys.

use super::softmax::{Block, Cap, State};
use super::spec::{AttentionShape, Bound, Mask};
use super::{KEYS, QUERIES, SCORE_ROW};
use crate::arena::Memory;
use crate::gemm::{self, Micros, PANEL, best_shape};
use crate::isa::Level;
use crate::layout::to_signed;
use crate::scratch::Slot;

/// Working memory of a tile: queries, scores, results, running state.
pub(super) const SLOTS: usize = 4;

/// Bytes of the largest slot.
pub(super) fn slot_bytes(shape: &AttentionShape) -> usize {
    let row = shape.depth.max(shape.value_depth.next_multiple_of(PANEL)).max(SCORE_ROW);
    QUERIES * row * size_of::<f32>()
}

/// Number of tiles.
pub(super) fn tiles(shape: &AttentionShape) -> usize {
    if shape.value_depth == 0 {
        return 0;
    }
    shape.batch * shape.heads * shape.queries.div_ceil(QUERIES)
}

/// Batch, head, first query and one past the last of a tile.
pub(super) fn place(shape: &AttentionShape, index: usize) -> (usize, usize, usize, usize) {
    let blocks = shape.queries.div_ceil(QUERIES);
    // Blocks of equal size: a short last one would run at a fraction of the speed.
    let (head, block) = (index / blocks, index % blocks);
    let first = block * shape.queries / blocks;
    let end = (block + 1) * shape.queries / blocks;
    (head / shape.heads, head % shape.heads, first, end)
}

/// Computes one tile.
///
/// # Safety
/// Phase 0 has packed k and v, nothing writes the inputs, and nothing else accesses these rows of the output.
pub(super) unsafe fn run(
    bound: &Bound,
    products: &Products,
    level: Level,
    index: usize,
    slots: &mut [Slot],
    memory: &Memory<'_>,
) {
    let shape = &bound.shape;
    let (batch, head, first, end) = place(shape, index);
    let rows = end - first;
    let width = shape.value_depth.next_multiple_of(PANEL);
    let [queries, scores, output, state] = slots else { unreachable!("AttentionStep lends SLOTS slots") };
    let queries = &mut queries.floats_mut()[..rows * shape.depth];
    let scores = &mut scores.floats_mut()[..rows * SCORE_ROW];
    let output = &mut output.floats_mut()[..rows * width];
    let (most, state) = state.floats_mut().split_at_mut(QUERIES);
    let (total, state) = state.split_at_mut(QUERIES);
    let poison = &mut state[..QUERIES];
    most.fill(f32::NEG_INFINITY);
    total.fill(0.0);
    poison.fill(0.0);
    // SAFETY: rows first..end of q exist.
    unsafe { stage_queries(bound, batch, head, first, queries, memory) };
    let (packed_keys, packed_values) = bound.packed(batch, bound.kv_head(head));
    let scratch = bound.scratch.locate(memory).cast_const();
    // SAFETY: packed() lies in scratch, which was checked to hold every head.
    let (keys, values) = unsafe { (scratch.add(packed_keys), scratch.add(packed_values)) };
    let last = bound.visible(end - 1);
    for key in (0..last).step_by(KEYS) {
        let count = KEYS.min(last - key);
        let visible: [usize; QUERIES] =
            std::array::from_fn(|row| bound.visible(first + row).saturating_sub(key).min(count));
        let visible = &visible[..rows];
        // SAFETY: panels from `key` on hold at least `count` keys; scores have room for whole panels.
        unsafe {
            let product = Product {
                a: queries.as_ptr(),
                a_row: shape.depth,
                b: keys.add(key * shape.depth),
                b_panel: shape.depth * PANEL,
                c: scores.as_mut_ptr(),
                c_row: SCORE_ROW,
                rows,
                panels: count.div_ceil(PANEL),
                depth: shape.depth,
                accumulate: false,
            };
            product.run(products.micros, products.scores);
        }
        if bound.softcap > 0.0 {
            level.dispatch(Cap { scores: &mut *scores, softcap: bound.softcap });
        }
        if let Some(mask) = &bound.mask {
            // SAFETY: the mask's layout was checked against its operand.
            unsafe { add_mask(mask, [batch, head, first, key], scores, visible, memory) };
        }
        level.dispatch(Block {
            scores: &mut *scores,
            score_row: SCORE_ROW,
            keys: count,
            visible,
            state: State { most: &mut *most, total: &mut *total, poison: &mut *poison },
            output: (key > 0).then_some(&mut *output),
            output_row: width,
        });
        // SAFETY: the panels of v hold `count` keys from `key` on; output has room for whole panels.
        unsafe {
            let product = Product {
                a: scores.as_ptr(),
                a_row: SCORE_ROW,
                b: values.add(key * PANEL),
                b_panel: shape.keys * PANEL,
                c: output.as_mut_ptr(),
                c_row: width,
                rows,
                panels: width / PANEL,
                depth: count,
                accumulate: key > 0,
            };
            product.run(products.micros, products.values);
        }
    }
    for row in 0..rows {
        let at = bound.output_row(batch, head, first + row);
        // SAFETY: the row of the output is in bounds and this tile's.
        let target =
            unsafe { std::slice::from_raw_parts_mut(bound.output.locate(memory).add(at), shape.value_depth) };
        // Where there are no keys at all there is nothing to weigh: an empty sum.
        let spoilt = poison[row].is_nan() || total[row] == 0.0;
        match spoilt {
            true => target.fill(if bound.nan_to_zero || shape.keys == 0 { 0.0 } else { f32::NAN }),
            false => {
                let factor = 1.0 / total[row];
                let source = &output[row * width..][..shape.value_depth];
                target.iter_mut().zip(source).for_each(|(out, v)| *out = v * factor);
            }
        }
    }
}

/// Copies rows of q side by side.
///
/// # Safety
/// The rows exist and nothing writes them.
unsafe fn stage_queries(
    bound: &Bound,
    batch: usize,
    head: usize,
    first: usize,
    queries: &mut [f32],
    memory: &Memory<'_>,
) {
    let depth = bound.shape.depth;
    if depth == 0 {
        return;
    }
    let q = bound.q.source.locate(memory);
    for (row, line) in queries.chunks_exact_mut(depth).enumerate() {
        // SAFETY: the caller's promise.
        let source = unsafe {
            let row = q.add(bound.q.start(batch, head) + (first + row) * bound.q.row);
            std::slice::from_raw_parts(row, depth)
        };
        line.copy_from_slice(source);
    }
}

/// Applies a mask to the visible scores of a block that begins at `[batch, head, query, key]`.
///
/// # Safety
/// Nothing writes the mask.
unsafe fn add_mask(mask: &Mask, at: [usize; 4], scores: &mut [f32], visible: &[usize], memory: &Memory<'_>) {
    for (row, &visible) in visible.iter().enumerate() {
        let line = &mut scores[row * SCORE_ROW..][..visible];
        let place = |layout: &crate::Layout| {
            let index = [at[0], at[1], at[2] + row, at[3]];
            let steps = index.iter().zip(&layout.strides).map(|(&i, s)| to_signed(i) * s);
            (to_signed(layout.offset) + steps.sum::<isize>(), layout.strides[3])
        };
        match mask {
            Mask::Additive(source, layout) => {
                let (start, stride) = place(layout);
                // SAFETY: indices below `visible` are inside the layout.
                unsafe { apply(line, source.locate(memory).offset(start), stride, |s, m: f32| s + m) };
            }
            Mask::Bool(source, layout) => {
                let (start, stride) = place(layout);
                let hide = |s, m: u8| if m == 0 { f32::NEG_INFINITY } else { s };
                // SAFETY: as above.
                unsafe { apply(line, source.locate(memory).offset(start), stride, hide) };
            }
        }
    }
}

/// # Safety
/// `mask + i·stride` is readable for every `i` below the line's length.
#[inline(always)]
unsafe fn apply<T: Copy>(line: &mut [f32], mask: *const T, stride: isize, f: impl Fn(f32, T) -> f32) {
    if stride == 1 {
        // SAFETY: the caller's promise.
        let mask = unsafe { std::slice::from_raw_parts(mask, line.len()) };
        line.iter_mut().zip(mask).for_each(|(score, mask)| *score = f(*score, *mask));
        return;
    }
    let mut at = 0;
    for score in line {
        // SAFETY: the caller's promise.
        *score = f(*score, unsafe { *mask.offset(at) });
        at += stride;
    }
}

/// Micro-kernels, and the tile shapes (panels, rows) that suit the two products.
pub(super) struct Products {
    micros: &'static Micros,
    scores: (usize, usize),
    values: (usize, usize),
}

impl Products {
    pub(super) fn new(micros: &'static Micros, shape: &AttentionShape) -> Self {
        let rows = shape.queries.div_ceil(shape.queries.div_ceil(QUERIES).max(1));
        let best = |columns: usize| best_shape(micros, rows, columns);
        Self { micros, scores: best(shape.keys.min(KEYS)), values: best(shape.value_depth) }
    }
}

/// `c (+)= a·b` over packed panels.
struct Product {
    a: *const f32,
    a_row: usize,
    b: *const f32,
    b_panel: usize,
    c: *mut f32,
    c_row: usize,
    rows: usize,
    panels: usize,
    depth: usize,
    accumulate: bool,
}

impl Product {
    /// # Safety
    /// `a` has `rows` rows of `depth` elements, `b` `panels` panels of `depth` groups, `c` room for `rows` rows of whole
    /// panels that nothing else accesses, and the CPU has the features of `micros`.
    unsafe fn run(&self, micros: &Micros, (nv, mr): (usize, usize)) {
        let strips = self.rows.div_ceil(mr);
        for panel in (0..self.panels).step_by(nv) {
            let nv = nv.min(self.panels - panel);
            let mut row = 0;
            for strip in 0..strips {
                let rows = (self.rows - row).div_ceil(strips - strip);
                let micro = (micros.get)(nv, rows).expect("tables hold every size below a shape");
                // SAFETY: offsets stay within the operands the caller vouches for.
                unsafe {
                    micro(&gemm::Block {
                        groups: self.depth,
                        a: self.a.add(row * self.a_row).cast(),
                        a_row: self.a_row,
                        b: self.b.add(panel * self.b_panel).cast(),
                        b_panel: self.b_panel,
                        c: self.c.add(row * self.c_row + panel * PANEL),
                        c_row: self.c_row,
                        accumulate: self.accumulate,
                    });
                }
                row += rows;
            }
        }
    }
}
