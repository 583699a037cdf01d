//! The step: checks a spec, lays out scratch, splits C into tiles and runs them.
//!
//! The first phase finds the range that all rows share, where they do; the next exists when rows of A are prepared or a
//! dynamic B is packed; the last multiplies. A tile is a block
//! of rows × a block of columns of one batch entry, all of K, epilogue included.

use super::driver::{Driver, Part};
use super::operands::{Entry, ScratchLayout, check, entries, fold_batch};
use super::packed::{PANEL, Precision};
use super::{Dequant, Finish, GemmError, GemmSpec, PrepareRow, Rhs, RowQuant, RowRange, wider};
use crate::arena::{Memory, Span};
use crate::isa::Level;
use crate::program::{Step, StepError, Tile};
use crate::scratch::with_slots;

/// Elements of A that one tile of phase 0 prepares, and of B that it packs.
const PREPARE_ELEMENTS: usize = 16 * 1024;
/// Tiles that a product should at least be split into, where its size allows.
const TILES: usize = 32;
/// Multiply-adds below which a tile is not split further.
const TILE_WORK: usize = 256 * 1024;
/// Rows of a block. Workers that take neighbouring tiles keep the same block of B, so more rows would save nothing.
const BLOCK_ROWS: usize = 96;

/// A GEMM bound to its operands.
pub struct GemmStep {
    spec: GemmSpec,
    driver: Driver,
    level: Level,
    entries: Vec<Entry>,
    /// First entry of each distinct matrix of A and of B.
    distinct_a: Vec<usize>,
    distinct_b: Vec<usize>,
    layout: ScratchLayout,
    scratch: Span,
    /// Bias padded to whole panels.
    bias: Option<Vec<f32>>,
    rows: usize,
    columns: usize,
    rows_per_prepare: usize,
    panels_per_pack: usize,
}

impl GemmStep {
    pub(super) fn new(mut spec: GemmSpec) -> Result<Self, GemmError> {
        fold_batch(&mut spec);
        let layout = check(&spec)?;
        let precision = spec.precision();
        let driver = Driver::new(precision, spec.m, spec.n, spec.k, spec.force)?;
        let level =
            driver.isa.level().ok_or(GemmError::Isa(crate::isa::IsaError::Missing { isa: driver.isa }))?;
        let entries = entries(&spec);
        let first_of = |place: fn(&Entry) -> usize| {
            let mut firsts = Vec::new();
            for (index, entry) in entries.iter().enumerate() {
                if place(entry) == firsts.len() {
                    firsts.push(index);
                }
            }
            firsts
        };
        let bias = spec.epilogue.bias.as_ref().map(|bias| {
            let mut padded = bias.to_vec();
            padded.resize(spec.n.next_multiple_of(PANEL), 0.0);
            padded
        });
        let (rows, columns) = block(&spec, &driver, entries.len());
        Ok(Self {
            distinct_a: first_of(|entry| entry.prepared_a),
            distinct_b: first_of(|entry| entry.packed_b),
            scratch: spec.scratch.unwrap_or(Span { offset: 0, len: 0 }),
            rows_per_prepare: (PREPARE_ELEMENTS / spec.k.max(1)).max(1),
            panels_per_pack: (PREPARE_ELEMENTS / (spec.k * PANEL).max(1)).max(1),
            spec,
            driver,
            level,
            entries,
            layout,
            bias,
            rows,
            columns,
        })
    }

    fn prepares_a(&self) -> bool {
        self.layout.a_row > 0
    }

    fn packs_b(&self) -> bool {
        matches!(self.spec.b, Rhs::Dynamic { .. })
    }

    fn row_blocks(&self) -> usize {
        self.spec.m.div_ceil(self.rows)
    }

    fn column_blocks(&self) -> usize {
        self.spec.n.div_ceil(self.columns)
    }

    fn prepare_tiles(&self) -> usize {
        let blocks = self.spec.m.div_ceil(self.rows_per_prepare);
        if self.prepares_a() { self.distinct_a.len() * blocks } else { 0 }
    }

    fn pack_tiles(&self) -> usize {
        let blocks = self.spec.n.div_ceil(PANEL).div_ceil(self.panels_per_pack);
        if self.packs_b() { self.distinct_b.len() * blocks } else { 0 }
    }

    fn packed_matrix_bytes(&self) -> usize {
        self.spec.k * PANEL * 4 * self.spec.n.div_ceil(PANEL)
    }

    /// Writes the range of one block of rows into scratch.
    fn measure(&self, tile: usize, memory: &Memory<'_>) {
        let spec = &self.spec;
        let blocks = spec.m.div_ceil(self.rows_per_prepare);
        let (matrix, block) = (tile / blocks, tile % blocks);
        let entry = self.entries[self.distinct_a[matrix]];
        let first = block * self.rows_per_prepare;
        let (a, _) = memory.locate::<f32>(spec.a.span);
        let (scratch, _) = memory.locate::<u8>(self.scratch);
        let mut range = (0.0, 0.0);
        for row in first..spec.m.min(first + self.rows_per_prepare) {
            // SAFETY: `check` proved that every row of A lies in its span.
            let input =
                unsafe { std::slice::from_raw_parts(a.add(entry.a + row * spec.a.row_stride), spec.k) };
            range = wider(range, self.level.dispatch(RowRange(input)));
        }
        // SAFETY: scratch holds one range per row, and so one per tile; this tile alone writes its own.
        unsafe { scratch.add(self.layout.ranges).cast::<[f32; 2]>().add(tile).write(range.into()) };
    }

    /// The range of all rows, once every block's is known.
    fn shared_range(&self, memory: &Memory<'_>) -> Option<(f32, f32)> {
        if !self.spec.shared_range {
            return None;
        }
        let (scratch, _) = memory.locate::<u8>(self.scratch);
        let ranges = scratch.wrapping_add(self.layout.ranges).cast::<[f32; 2]>();
        // SAFETY: the phase before wrote one range per tile of this phase, and nobody writes them now.
        let ranges = unsafe { std::slice::from_raw_parts(ranges, self.prepare_tiles()) };
        Some(ranges.iter().fold((0.0, 0.0), |all, range| wider(all, (*range).into())))
    }

    /// Normalises, quantizes or rounds one block of rows into scratch.
    fn prepare(&self, tile: usize, memory: &Memory<'_>) {
        let spec = &self.spec;
        let precision = spec.precision();
        let blocks = spec.m.div_ceil(self.rows_per_prepare);
        let (matrix, block) = (tile / blocks, tile % blocks);
        let entry = self.entries[self.distinct_a[matrix]];
        let first = block * self.rows_per_prepare;
        let (a, _) = memory.locate::<f32>(spec.a.span);
        let (scratch, _) = memory.locate::<u8>(self.scratch);
        let range = self.shared_range(memory);
        for row in first..spec.m.min(first + self.rows_per_prepare) {
            let target = matrix * spec.m + row;
            // SAFETY: `check` proved that every row of A and of scratch lies in its span, `Program::new` that they do
            // not overlap; this tile alone writes the row and its parameters.
            unsafe {
                let input = std::slice::from_raw_parts(a.add(entry.a + row * spec.a.row_stride), spec.k);
                let output = scratch.add(target * self.layout.a_row);
                let bytes = precision.padded_k(spec.k) * precision.activation_bytes();
                let quant = if precision.activation_bytes() == 4 {
                    let values = std::slice::from_raw_parts_mut(output.cast(), spec.k);
                    let output = &mut [];
                    self.level.dispatch(PrepareRow {
                        prologue: &spec.prologue,
                        precision,
                        input,
                        values,
                        output,
                        range,
                        levels: spec.levels,
                    })
                } else {
                    let output = std::slice::from_raw_parts_mut(output, bytes);
                    with_slots(1, spec.k * 4, |slots| {
                        let values = &mut slots[0].floats_mut()[..spec.k];
                        self.level.dispatch(PrepareRow {
                            prologue: &spec.prologue,
                            precision,
                            input,
                            values,
                            output,
                            range,
                            levels: spec.levels,
                        })
                    })
                };
                if precision == Precision::Int8 {
                    scratch.add(self.layout.quants).cast::<RowQuant>().add(target).write(quant);
                }
            }
        }
    }

    /// Packs some panels of a dynamic B into scratch.
    fn pack(&self, tile: usize, memory: &Memory<'_>) {
        let Rhs::Dynamic { span, row_stride, column_stride } = self.spec.b else { return };
        let spec = &self.spec;
        let panels = spec.n.div_ceil(PANEL);
        let blocks = panels.div_ceil(self.panels_per_pack);
        let (matrix, block) = (tile / blocks, tile % blocks);
        let entry = self.entries[self.distinct_b[matrix]];
        let (b, _) = memory.locate::<f32>(span);
        let (scratch, _) = memory.locate::<u8>(self.scratch);
        let first = block * self.panels_per_pack;
        for panel in first..panels.min(first + self.panels_per_pack) {
            let width = PANEL.min(spec.n - panel * PANEL);
            let offset = self.layout.b + matrix * self.packed_matrix_bytes() + panel * spec.k * PANEL * 4;
            // SAFETY: `check` proved that every element of B and of the panels lies in its span, `Program::new` that
            // they do not overlap; this tile alone writes the panel.
            unsafe {
                let source = b.add(entry.b + panel * PANEL * column_stride);
                let target = scratch.add(offset).cast::<f32>();
                pack_panel(source, (row_stride, column_stride), target, spec.k, width);
            }
        }
    }

    fn multiply(&self, tile: usize, memory: &Memory<'_>) {
        let spec = &self.spec;
        let (row_blocks, column_blocks) = (self.row_blocks(), self.column_blocks());
        // Rows run fastest: neighbouring tiles share the block of B that is in the cache.
        let batch = tile / (row_blocks * column_blocks);
        let entry = self.entries[batch];
        let first_row = tile % row_blocks * self.rows;
        let first_column = tile / row_blocks % column_blocks * self.columns;
        let rows = self.rows.min(spec.m - first_row);
        let columns = self.columns.min(spec.n - first_column);
        let (scratch, _) = memory.locate::<u8>(self.scratch);
        let (c, _) = memory.locate::<f32>(spec.c.span);
        let precision = self.driver.precision;
        // SAFETY: `check` proved that every element of the operands lies in its span and that no two elements of C
        // share a place, `Program::new` that C and scratch overlap nothing that is read; phase 0 is over; this tile
        // alone writes its block of C.
        unsafe {
            let (a, a_row) = if self.prepares_a() {
                let row = entry.prepared_a * spec.m + first_row;
                let stride = self.layout.a_row / precision.activation_bytes();
                (scratch.add(row * self.layout.a_row).cast_const(), stride)
            } else {
                let (a, _) = memory.locate::<f32>(spec.a.span);
                let first = a.add(entry.a + first_row * spec.a.row_stride);
                (first.cast::<u8>().cast_const(), spec.a.row_stride)
            };
            let b = match &spec.b {
                Rhs::Packed(packed) => packed.as_ptr(),
                Rhs::Dynamic { .. } => {
                    scratch.add(self.layout.b + entry.packed_b * self.packed_matrix_bytes()).cast_const()
                }
            };
            let c = c.add(entry.c + first_row * spec.c.row_stride);
            let group_bytes = precision.k_group() * precision.activation_bytes();
            for (first_group, groups) in self.driver.k_blocks() {
                self.driver.multiply(&Part {
                    a: a.add(first_group * group_bytes),
                    a_row,
                    rows,
                    b,
                    first_column,
                    end_column: first_column + columns,
                    first_group,
                    groups,
                    c,
                    c_row: spec.c.row_stride,
                });
            }
            let quants = scratch.wrapping_add(self.layout.quants).cast::<RowQuant>();
            let dequant = match &spec.b {
                Rhs::Packed(packed) if precision == Precision::Int8 => Some(Dequant {
                    rows: std::slice::from_raw_parts(quants.add(entry.prepared_a * spec.m + first_row), rows),
                    scales: &packed.scales()[first_column..],
                    sums: &packed.sums()[first_column..],
                }),
                _ => None,
            };
            let residual = spec.epilogue.residual.map(|residual| {
                let (base, _) = memory.locate::<f32>(residual.span);
                let offset = entry.residual + first_row * residual.row_stride + first_column;
                (base.add(offset).cast_const(), residual.row_stride, residual.order)
            });
            let finish = Finish {
                c: c.add(first_column),
                c_row: spec.c.row_stride,
                rows,
                columns,
                alpha: spec.epilogue.alpha,
                bias: self.bias.as_ref().map(|bias| &bias[first_column..]),
                residual,
                activation: spec.epilogue.activation,
                dequant,
            };
            finish.run(self.level);
        }
    }
}

// SAFETY: run touches only the spans declared; tiles of the phases before the last write
// distinct ranges, rows and panels of scratch, tiles of the
// last phase distinct blocks of C, which `check` proved free of shared elements.
unsafe impl Step for GemmStep {
    fn name(&self) -> String {
        let (mr, columns) = self.driver.tile();
        format!("gemm.{}.{}.{mr}x{columns}", self.driver.precision, self.driver.isa)
    }

    fn reads(&self) -> Vec<Span> {
        let mut spans = vec![self.spec.a.span];
        if let Rhs::Dynamic { span, .. } = self.spec.b {
            spans.push(span);
        }
        spans.extend(self.spec.epilogue.residual.map(|residual| residual.span));
        spans
    }

    fn writes(&self) -> Vec<Span> {
        let scratch = (self.layout.total > 0).then_some(self.scratch);
        std::iter::once(self.spec.c.span).chain(scratch).collect()
    }

    fn phases(&self) -> usize {
        let prepares = self.prepares_a() || self.packs_b();
        1 + usize::from(prepares) + usize::from(self.spec.shared_range)
    }

    fn tiles(&self, phase: usize) -> usize {
        if phase + 2 < self.phases() {
            self.prepare_tiles()
        } else if phase + 1 < self.phases() {
            self.prepare_tiles() + self.pack_tiles()
        } else {
            self.entries.len() * self.row_blocks() * self.column_blocks()
        }
    }

    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        if tile.phase + 1 == self.phases() {
            self.multiply(tile.index, memory);
        } else if tile.phase + 2 < self.phases() {
            self.measure(tile.index, memory);
        } else if tile.index < self.prepare_tiles() {
            self.prepare(tile.index, memory);
        } else {
            self.pack(tile.index - self.prepare_tiles(), memory);
        }
        Ok(())
    }
}

/// Copies one panel: 16 columns of every k, missing columns as zeros.
///
/// # Safety
/// `width` columns of `k` rows are readable at the strides (row, column), `k`·16 elements writable at `target`.
unsafe fn pack_panel(source: *const f32, strides: (usize, usize), target: *mut f32, k: usize, width: usize) {
    let (row, column) = strides;
    for at in 0..k {
        // SAFETY: the caller vouches for both sides.
        unsafe {
            let (from, to) = (source.add(at * row), target.add(at * PANEL));
            if width == PANEL && column == 1 {
                to.cast::<[f32; PANEL]>().write_unaligned(from.cast::<[f32; PANEL]>().read_unaligned());
                continue;
            }
            for j in 0..PANEL {
                *to.add(j) = if j < width { *from.add(j * column) } else { 0.0 };
            }
        }
    }
}

/// Rows and columns of a tile's block.
fn block(spec: &GemmSpec, driver: &Driver, batch: usize) -> (usize, usize) {
    let (mr, tile_columns) = driver.tile();
    let mut columns = driver.cached_columns().min(spec.n.max(1).next_multiple_of(tile_columns));
    let mut rows = spec.m.div_ceil(spec.m.div_ceil(BLOCK_ROWS).max(1)).max(1).next_multiple_of(mr);
    let tiles = |rows: usize, columns: usize| batch * spec.m.div_ceil(rows) * spec.n.div_ceil(columns);
    // Split until there is enough to share out, but keep tiles worth their hand-out. Columns first while one block
    // holds all rows, so that B is read once; rows first otherwise.
    while tiles(rows, columns) < TILES && rows.min(spec.m) * columns * spec.k / 2 >= TILE_WORK {
        let half_rows = (rows / 2).max(1).next_multiple_of(mr);
        let half_columns = (columns / 2).max(1).next_multiple_of(tile_columns);
        let (can_rows, can_columns) = (half_rows < rows, half_columns < columns);
        if can_columns && (rows >= spec.m || !can_rows) {
            columns = half_columns;
        } else if can_rows {
            rows = half_rows;
        } else {
            break;
        }
    }
    (rows, columns)
}
