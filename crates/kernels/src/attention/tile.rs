//! Phase 1: one head × one block of queries, over all blocks of keys.
//!
//! Per block of keys: scores through the micro-kernels, cap, mask, online softmax, product with v. Everything lives in
//! per-thread working memory until the rows are written.

use super::direct::{Rows, Scores, Values};
use super::product::{Product, Products};
use super::softmax::{Block, Cap, State};
use super::spec::{AttentionShape, Bound, Mask};
use super::{KEYS, QUERIES, SCORE_ROW};
use crate::arena::Memory;
use crate::gemm::PANEL;
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

/// One tile at work.
struct Work<'a> {
    bound: &'a Bound,
    memory: &'a Memory<'a>,
    batch: usize,
    head: usize,
    /// First query.
    first: usize,
    rows: usize,
    /// Elements of a row of `output`: whole panels.
    width: usize,
    queries: &'a mut [f32],
    scores: &'a mut [f32],
    output: &'a mut [f32],
    state: State<'a>,
}

/// Computes one tile.
///
/// # Safety
/// Phase 0 has packed k and v unless there are no `products`, nothing writes the inputs, and nothing else accesses these rows of the output.
pub(super) unsafe fn run(
    bound: &Bound,
    products: Option<&Products>,
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
    let (most, state) = state.floats_mut().split_at_mut(QUERIES);
    let (total, state) = state.split_at_mut(QUERIES);
    let mut work = Work {
        bound,
        memory,
        batch,
        head,
        first,
        rows,
        width,
        queries: &mut queries.floats_mut()[..rows * shape.depth],
        scores: &mut scores.floats_mut()[..rows * SCORE_ROW],
        output: &mut output.floats_mut()[..rows * width],
        state: State { most, total, poison: &mut state[..QUERIES] },
    };
    work.state.most.fill(f32::NEG_INFINITY);
    work.state.total.fill(0.0);
    work.state.poison.fill(0.0);
    // SAFETY: the caller's promise; blocks of keys come in order and cover all that the last query sees.
    unsafe {
        work.stage(if products.is_none() { bound.scale } else { 1.0 });
        let last = bound.visible(end - 1);
        for key in (0..last).step_by(KEYS) {
            work.block(key, KEYS.min(last - key), products, level);
        }
        work.store();
    }
}

impl Work<'_> {
    /// Copies the rows of q side by side, times a factor that packing has not given to k.
    ///
    /// # Safety
    /// Nothing writes q.
    unsafe fn stage(&mut self, factor: f32) {
        let Self { bound, first, .. } = *self;
        let depth = bound.shape.depth;
        if depth == 0 {
            return;
        }
        let q = bound.q.source.locate(self.memory);
        for (row, line) in self.queries.chunks_exact_mut(depth).enumerate() {
            // SAFETY: rows first..first + rows of q exist.
            let source = unsafe {
                let row = q.add(bound.q.start(self.batch, self.head) + (first + row) * bound.q.row);
                std::slice::from_raw_parts(row, depth)
            };
            line.iter_mut().zip(source).for_each(|(to, from)| *to = from * factor);
        }
    }

    /// Adds what `count` keys from `key` on contribute.
    ///
    /// # Safety
    /// As for [`run`]; all keys before `key` have been added.
    unsafe fn block(&mut self, key: usize, count: usize, products: Option<&Products>, level: Level) {
        let Self { bound, first, rows, width, .. } = *self;
        let visible: [usize; QUERIES] =
            std::array::from_fn(|row| bound.visible(first + row).saturating_sub(key).min(count));
        let visible = &visible[..rows];
        // SAFETY: the caller's promise.
        unsafe {
            match products {
                Some(products) => self.packed_scores(key, count, products),
                None => self.direct_scores(key, count, level),
            }
        }
        if bound.softcap > 0.0 {
            level.dispatch(Cap { scores: &mut *self.scores, softcap: bound.softcap });
        }
        if let Some(mask) = &bound.mask {
            // SAFETY: the mask's layout was checked against its operand.
            unsafe { add_mask(mask, [self.batch, self.head, first, key], self.scores, visible, self.memory) };
        }
        let State { most, total, poison } = &mut self.state;
        level.dispatch(Block {
            scores: &mut *self.scores,
            score_row: SCORE_ROW,
            keys: count,
            visible,
            state: State { most, total, poison },
            output: (key > 0).then_some(&mut *self.output),
            output_row: width,
        });
        // SAFETY: the caller's promise.
        unsafe {
            match products {
                Some(products) => self.packed_values(key, count, products),
                None => self.direct_values(key, count, level),
            }
        }
    }

    /// # Safety
    /// Phase 0 has packed k; keys `key..key + count` exist.
    unsafe fn packed_scores(&mut self, key: usize, count: usize, products: &Products) {
        let shape = &self.bound.shape;
        let (keys, _) = self.bound.packed(self.batch, self.bound.kv_head(self.head));
        let scratch = self.bound.scratch.locate(self.memory).cast_const();
        // SAFETY: scratch holds every head; panels from `key` on hold at least `count` keys; scores have room for
        // whole panels.
        unsafe {
            let product = Product {
                a: self.queries.as_ptr(),
                a_row: shape.depth,
                b: scratch.add(keys + key * shape.depth),
                b_panel: shape.depth * PANEL,
                c: self.scores.as_mut_ptr(),
                c_row: SCORE_ROW,
                rows: self.rows,
                panels: count.div_ceil(PANEL),
                depth: shape.depth,
                accumulate: false,
            };
            product.run(products.micros, products.scores);
        }
    }

    /// # Safety
    /// Phase 0 has packed v; keys `key..key + count` exist.
    unsafe fn packed_values(&mut self, key: usize, count: usize, products: &Products) {
        let shape = &self.bound.shape;
        let (_, values) = self.bound.packed(self.batch, self.bound.kv_head(self.head));
        let scratch = self.bound.scratch.locate(self.memory).cast_const();
        // SAFETY: the panels of v hold `count` keys from `key` on; output has room for whole panels.
        unsafe {
            let product = Product {
                a: self.scores.as_ptr(),
                a_row: SCORE_ROW,
                b: scratch.add(values + key * PANEL),
                b_panel: shape.keys * PANEL,
                c: self.output.as_mut_ptr(),
                c_row: self.width,
                rows: self.rows,
                panels: self.width / PANEL,
                depth: count,
                accumulate: key > 0,
            };
            product.run(products.micros, products.values);
        }
    }

    /// # Safety
    /// Nothing writes k; keys `key..key + count` exist.
    unsafe fn direct_scores(&mut self, key: usize, count: usize, level: Level) {
        let (bound, depth) = (self.bound, self.bound.shape.depth);
        let start = bound.k.start(self.batch, bound.kv_head(self.head)) + key * bound.k.row;
        for (row, scores) in self.scores.chunks_exact_mut(SCORE_ROW).enumerate() {
            // SAFETY: Bound::new checked that k holds these rows.
            let keys = unsafe {
                Rows::new(bound.k.source.locate(self.memory).add(start), bound.k.row, count, depth)
            };
            level.dispatch(Scores { query: &self.queries[row * depth..][..depth], keys, scores });
        }
    }

    /// # Safety
    /// Nothing writes v; keys `key..key + count` exist.
    unsafe fn direct_values(&mut self, key: usize, count: usize, level: Level) {
        let (bound, depth) = (self.bound, self.bound.shape.value_depth);
        let start = bound.v.start(self.batch, bound.kv_head(self.head)) + key * bound.v.row;
        let rows = self.scores.chunks_exact(SCORE_ROW).zip(self.output.chunks_exact_mut(self.width));
        for (weights, output) in rows {
            // SAFETY: Bound::new checked that v holds these rows.
            let values = unsafe {
                Rows::new(bound.v.source.locate(self.memory).add(start), bound.v.row, count, depth)
            };
            level.dispatch(Values { weights, values, output: &mut output[..depth], accumulate: key > 0 });
        }
    }

    /// Divides by the sums of weights and writes the rows.
    ///
    /// # Safety
    /// Nothing else accesses these rows of the output.
    unsafe fn store(&self) {
        let shape = &self.bound.shape;
        for row in 0..self.rows {
            let at = self.bound.output_row(self.batch, self.head, self.first + row);
            // SAFETY: the row of the output is in bounds and this tile's.
            let target = unsafe {
                let output = self.bound.output.locate(self.memory).add(at);
                std::slice::from_raw_parts_mut(output, shape.value_depth)
            };
            let total = self.state.total[row];
            if self.state.poison[row].is_nan() || total == 0.0 {
                // Where there are no keys at all there is nothing to weigh: an empty sum.
                let is_zero = self.bound.nan_to_zero || shape.keys == 0;
                target.fill(if is_zero { 0.0 } else { f32::NAN });
                continue;
            }
            let source = &self.output[row * self.width..][..shape.value_depth];
            target.iter_mut().zip(source).for_each(|(out, v)| *out = v / total);
        }
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
