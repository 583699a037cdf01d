//! Walks one block of C in micro-kernel tiles, and decides tile shapes and block sizes.
//!
//! Shared by GEMM steps and convolutions: it sees pointers to prepared rows of A, packed panels of B and C, and knows
//! nothing of batches, prologues or epilogues. Block sizes depend on shapes only, never on the machine's load.

use super::micro::{Block, Micro, Micros, micros};
use super::packed::{PANEL, Precision};
use crate::isa::{Isa, IsaError};

/// Block of B that stays in the second-level cache while rows of A pass over it.
const B_BLOCK_BYTES: usize = 512 * 1024;
/// A strip of A, as deep as one block of K, stays in the first-level cache.
const A_STRIP_BYTES: usize = 18 * 1024;
/// Largest NV and MR of any micro-kernel.
const MAX_NV: usize = 4;
const MAX_MR: usize = 12;

/// Micro-kernels and block sizes for one product.
#[derive(Clone, Copy)]
pub(crate) struct Driver {
    pub(crate) precision: Precision,
    pub(crate) isa: Isa,
    micros: &'static Micros,
    nv: usize,
    mr: usize,
    /// Groups of k per block of K.
    k_block: usize,
    /// Groups of k in all.
    groups: usize,
}

/// The part of a product that one call multiplies: all rows from `a` on, columns from `first_column` on.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// First row of A, at the first k of this part.
    pub(crate) a: *const u8,
    /// Elements from one row of A to the next.
    pub(crate) a_row: usize,
    /// Rows.
    pub(crate) rows: usize,
    /// First byte of the panels of B, at k = 0 and column 0.
    pub(crate) b: *const u8,
    /// First column, a multiple of the panel's width.
    pub(crate) first_column: usize,
    /// One past the last column.
    pub(crate) end_column: usize,
    /// First group of k.
    pub(crate) first_group: usize,
    /// Groups of k.
    pub(crate) groups: usize,
    /// First row and column 0 of C.
    pub(crate) c: *mut f32,
    /// Elements from one row of C to the next.
    pub(crate) c_row: usize,
}

impl Driver {
    pub(crate) fn new(
        precision: Precision,
        m: usize,
        n: usize,
        k: usize,
        force: Option<Isa>,
    ) -> Result<Self, IsaError> {
        let (isa, micros) = micros(precision, force)?;
        let groups = k.div_ceil(precision.k_group());
        let depth_bytes = groups * precision.k_group() * precision.activation_bytes();
        let (nv, mr) = best_shape(micros, m, n);
        let blocks = (depth_bytes * mr.min(m)).div_ceil(A_STRIP_BYTES).max(1);
        let k_block = groups.div_ceil(blocks).max(1);
        Ok(Self { precision, isa, micros, nv, mr, k_block, groups })
    }

    /// Rows and columns of a full tile.
    pub(crate) fn tile(&self) -> (usize, usize) {
        (self.mr, self.nv * PANEL)
    }

    /// Blocks of K as (first group, groups), in the order in which they must be added. Never empty.
    pub(crate) fn k_blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (groups, block) = (self.groups, self.k_block);
        (0..groups.max(1)).step_by(block).map(move |first| (first, block.min(groups - first.min(groups))))
    }

    /// Elements between panels of B.
    fn panel_elements(&self) -> usize {
        self.groups * self.precision.k_group() * PANEL
    }

    /// Columns of C whose block of B fits the second-level cache, in whole tiles.
    pub(crate) fn cached_columns(&self) -> usize {
        let column = self.k_block * self.precision.k_group() * self.precision.weight_bytes();
        let tile = self.nv * PANEL;
        (B_BLOCK_BYTES / column.max(1) / tile).max(1) * tile
    }

    /// Multiplies, storing C for the first block of K and adding to it afterwards.
    ///
    /// # Safety
    /// Rows of A are readable for the part's groups, panels of B for all columns up to the end of the last panel, and
    /// rows × columns of C are writable and touched by nobody else. Columns of a partial panel are not written.
    pub(crate) unsafe fn multiply(&self, part: &Part) {
        let group_bytes = self.precision.k_group() * self.precision.weight_bytes();
        let a_bytes = self.precision.activation_bytes();
        let panel = self.panel_elements();
        let strips = part.rows.div_ceil(self.mr);
        let mut row = 0;
        for strip in 0..strips {
            // Equal strips: a remainder of one row would run at a fraction of the speed.
            let rows = (part.rows - row).div_ceil(strips - strip);
            for column in (part.first_column..part.end_column).step_by(self.nv * PANEL) {
                let width = (self.nv * PANEL).min(part.end_column - column);
                let nv = width.div_ceil(PANEL);
                let kernel = (self.micros.get)(nv, rows).expect("tables hold every size below a shape");
                // SAFETY: the caller vouches for the operands; offsets stay within them.
                unsafe {
                    let block = Block {
                        groups: part.groups,
                        a: part.a.add(row * part.a_row * a_bytes),
                        a_row: part.a_row,
                        b: part.b.add(
                            column / PANEL * panel * self.precision.weight_bytes()
                                + part.first_group * PANEL * group_bytes,
                        ),
                        b_panel: panel,
                        c: part.c.add(row * part.c_row + column),
                        c_row: part.c_row,
                        accumulate: part.first_group > 0,
                    };
                    if width == nv * PANEL { kernel(&block) } else { edge(kernel, &block, rows, width, nv) }
                }
            }
            row += rows;
        }
    }
}

/// Runs a micro-kernel whose last panel is partly padding: through a buffer, so that C's neighbours stay untouched.
///
/// # Safety
/// As for `Driver::multiply`.
unsafe fn edge(kernel: Micro, block: &Block, rows: usize, width: usize, nv: usize) {
    let mut buffer = [0.0f32; MAX_MR * MAX_NV * PANEL];
    let stride = nv * PANEL;
    // SAFETY: the buffer holds rows × stride elements; C holds rows × width of them.
    unsafe {
        if block.accumulate {
            for r in 0..rows {
                let source = block.c.add(r * block.c_row);
                source.copy_to_nonoverlapping(buffer.as_mut_ptr().add(r * stride), width);
            }
        }
        kernel(&Block { c: buffer.as_mut_ptr(), c_row: stride, ..*block });
        for r in 0..rows {
            let target = block.c.add(r * block.c_row);
            target.copy_from_nonoverlapping(buffer.as_ptr().add(r * stride), width);
        }
    }
}

/// The tile shape with the least estimated time: per step of k a tile costs the largest of its multiplications and its
/// loads (two of either per cycle) and the latency of one accumulation.
pub(crate) fn best_shape(micros: &Micros, m: usize, n: usize) -> (usize, usize) {
    const LATENCY: usize = 8;
    let cost = |&(nv, mr): &(usize, usize)| {
        let (panels, m) = (n.div_ceil(PANEL).max(1), m.max(1));
        let half_cycles = |rows: usize, nv: usize| {
            let columns = nv * micros.panel_registers;
            (rows * columns).max(rows + columns).max(LATENCY)
        };
        let strips = m.div_ceil(mr);
        let (low, high) = (m / strips, m % strips);
        let line = |nv: usize| high * half_cycles(low + 1, nv) + (strips - high) * half_cycles(low, nv);
        let rest = if panels % nv > 0 { line(panels % nv) } else { 0 };
        panels / nv * line(nv) + rest
    };
    *micros.shapes.iter().min_by_key(|shape| cost(shape)).expect("every table has a shape")
}
