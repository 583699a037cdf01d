//! Rows addressed by tuples of indices: ONNX GatherND and GatherElements, and with the roles turned ScatterND and
//! ScatterElements.
//!
//! A row of the list stands at an index of its own space, which gives it a base in the table; each index of its tuple
//! adds a step of its own. An index out of range fails the run and names itself. Scattering runs in order, on one thread:
//! where rows meet, the last one stays, whatever the team.

use super::{BadIndex, IndexSource, resolve};
use crate::arena::{Memory, Span};
use crate::element::Element;
use crate::layout::{Layout, Odometer};
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};

/// Bytes one tile copies, about.
const TILE_BYTES: usize = 64 << 10;

/// Where the rows of a list lie in a table. Steps and bases count rows.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Index space of the list, with the step in the table of each dim: 0 where only the tuple decides.
    pub list: Layout,
    /// Extent and step in the table of each index of a tuple.
    pub axes: Vec<(usize, usize)>,
    /// Rows of the table.
    pub rows: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// [`Element::I32`] or [`Element::I64`].
    pub index_element: Element,
    /// A tuple per row of the list.
    pub indices: Operand,
}

/// Addresses that were checked against the table.
struct Checked {
    list: Layout,
    axes: Vec<(usize, usize)>,
    count: usize,
    rows: usize,
    row: usize,
    indices: IndexSource,
}

impl Checked {
    fn new(addresses: Addresses) -> Result<Self, SpecError> {
        let Addresses { list, axes, rows, row_bytes: row, index_element, indices } = addresses;
        let reach = list.reach("a list of rows")?;
        let overflow = || SpecError::new("the extents of a list of rows overflow");
        let count = list.count().ok_or_else(overflow)?;
        let span = |sum: usize, (extent, step): &(usize, usize)| {
            extent.saturating_sub(1).checked_mul(*step)?.checked_add(sum)
        };
        let last = axes.iter().try_fold(reach, span).ok_or_else(overflow)?;
        if count > 0 && last > rows && axes.iter().all(|axis| axis.0 > 0) {
            return Err(SpecError::new(format!("tuples reach row {last} of a table of {rows}")));
        }
        rows.checked_mul(row).and(count.checked_mul(row)).ok_or_else(overflow)?;
        let tuples = count.checked_mul(axes.len()).ok_or_else(overflow)?;
        let indices = IndexSource::new(index_element, indices, tuples)?;
        Ok(Self { list, axes, count, rows, row, indices })
    }

    /// Calls `visit` with the number of each row from `first` on and its place in the table.
    fn walk(
        &self,
        memory: &Memory<'_>,
        first: usize,
        count: usize,
        mut visit: impl FnMut(usize, usize),
    ) -> Result<(), StepError> {
        let depth = self.axes.len();
        // SAFETY: the operand holds a tuple per row, and nothing writes it now.
        let indices = unsafe { self.indices.slice(memory, first * depth, count * depth) };
        let mut place = Odometer::new(&self.list.dims, [&self.list.strides], [self.list.offset], first);
        for number in 0..count {
            let mut at = place.at[0].unsigned_abs();
            for (index, (extent, step)) in self.axes.iter().enumerate() {
                let position = number * depth + index;
                at += step
                    * resolve(indices.get(position), position, *extent)
                        .map_err(|bad| wrong(bad, first * depth, *extent))?;
            }
            visit(first + number, at);
            place.advance();
        }
        Ok(())
    }
}

fn wrong(BadIndex { position, index }: BadIndex, skipped: usize, extent: usize) -> StepError {
    let position = skipped + position;
    StepError(format!("gather: index {index} at position {position} is outside -{extent}..{extent}"))
}

/// Gathers a list of rows from a table.
pub struct AddressedGather {
    addresses: Checked,
    table: Source<u8>,
    target: Target<u8>,
    chunk: usize,
}

impl AddressedGather {
    /// Checks the operands: `table` of as many rows as the addresses say, `target` of one per tuple.
    ///
    /// # Errors
    /// Operands that are too small, tuples that reach past the table, indices of another type.
    pub fn new(addresses: Addresses, table: Operand, target: Span) -> Result<Self, SpecError> {
        let addresses = Checked::new(addresses)?;
        let (rows, count, row) = (addresses.rows, addresses.count, addresses.row);
        Ok(Self {
            table: Source::new(table, rows * row, "gather table in bytes")?,
            target: Target::new(target, count * row, "gather target in bytes")?,
            chunk: (TILE_BYTES / row.max(1)).clamp(1, count.max(1)),
            addresses,
        })
    }
}

// SAFETY: Source and Target hold what the addresses need; tiles write disjoint rows of the target.
unsafe impl Step for AddressedGather {
    fn name(&self) -> String {
        "gather.addressed".into()
    }
    fn reads(&self) -> Vec<Span> {
        self.table.span().into_iter().chain(self.addresses.indices.span()).collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.target.span()]
    }
    fn tiles(&self, _: usize) -> usize {
        self.addresses.count.div_ceil(self.chunk)
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let Checked { count, rows, row, .. } = self.addresses;
        let first = tile.index * self.chunk;
        let own = self.chunk.min(count - first);
        // SAFETY: the table holds this many bytes and nothing writes them; these rows of the target are this tile's.
        let (table, target) = unsafe {
            let table = std::slice::from_raw_parts(self.table.locate(memory), rows * row);
            let target = self.target.locate(memory).add(first * row);
            (table, std::slice::from_raw_parts_mut(target, own * row))
        };
        self.addresses.walk(memory, first, own, |number, at| {
            copy(&mut target[(number - first) * row..][..row], &table[at * row..][..row]);
        })
    }
}

/// Copies a row; those of one element are moves of constant length.
#[inline]
fn copy(target: &mut [u8], source: &[u8]) {
    match (<&mut [u8; 4]>::try_from(&mut *target), <&[u8; 4]>::try_from(source)) {
        (Ok(target), Ok(source)) => *target = *source,
        _ => target.copy_from_slice(source),
    }
}

/// What becomes of an element that a row meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// The row's takes its place.
    Replace,
    /// f32: their sum does.
    Add,
}

/// Copies a table and scatters a list of rows over the copy.
pub struct AddressedScatter {
    addresses: Checked,
    meeting: Meeting,
    table: Source<u8>,
    updates: Source<u8>,
    target: Target<u8>,
}

impl AddressedScatter {
    /// Checks the operands: `table` and `target` of as many rows as the addresses say, `updates` of one per tuple.
    ///
    /// # Errors
    /// Operands that are too small, tuples that reach past the table, indices of another type, sums of rows that are no
    /// whole f32.
    pub fn new(
        addresses: Addresses,
        meeting: Meeting,
        table: Operand,
        updates: Operand,
        target: Span,
    ) -> Result<Self, SpecError> {
        let addresses = Checked::new(addresses)?;
        let (rows, count, row) = (addresses.rows, addresses.count, addresses.row);
        if meeting == Meeting::Add && !row.is_multiple_of(4) {
            return Err(SpecError::new(format!("scatter: rows of {row} bytes are no whole f32")));
        }
        Ok(Self {
            table: Source::new(table, rows * row, "scatter table in bytes")?,
            updates: Source::new(updates, count * row, "scatter updates in bytes")?,
            target: Target::new(target, rows * row, "scatter target in bytes")?,
            meeting,
            addresses,
        })
    }

    fn bytes(&self) -> usize {
        self.addresses.rows * self.addresses.row
    }

    /// Copies one block of the table.
    fn copy_block(&self, block: usize, memory: &Memory<'_>) {
        let first = block * TILE_BYTES;
        let len = TILE_BYTES.min(self.bytes() - first);
        // SAFETY: both operands hold these bytes; nothing writes the table, this tile alone these of the target.
        unsafe {
            let source = self.table.locate(memory).add(first);
            self.target.locate(memory).add(first).copy_from_nonoverlapping(source, len);
        }
    }
}

// SAFETY: Source and Target hold what the addresses need; the first phase's tiles write disjoint blocks, the second has
// one tile.
unsafe impl Step for AddressedScatter {
    fn name(&self) -> String {
        "scatter.addressed".into()
    }
    fn reads(&self) -> Vec<Span> {
        let operands = [self.table.span(), self.updates.span(), self.addresses.indices.span()];
        operands.into_iter().flatten().collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.target.span()]
    }
    fn phases(&self) -> usize {
        2
    }
    fn tiles(&self, phase: usize) -> usize {
        if phase == 0 { self.bytes().div_ceil(TILE_BYTES) } else { 1 }
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        if tile.phase == 0 {
            self.copy_block(tile.index, memory);
            return Ok(());
        }
        let Checked { count, row, .. } = self.addresses;
        // SAFETY: the operands hold this many bytes; the only tile of this phase writes the target.
        let (updates, target) = unsafe {
            let updates = std::slice::from_raw_parts(self.updates.locate(memory), count * row);
            (updates, std::slice::from_raw_parts_mut(self.target.locate(memory), self.bytes()))
        };
        self.addresses.walk(memory, 0, count, |number, at| {
            let (to, from) = (&mut target[at * row..][..row], &updates[number * row..][..row]);
            match self.meeting {
                Meeting::Replace => copy(to, from),
                Meeting::Add => {
                    for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
                        *to = (f32::from_ne_bytes(*to) + f32::from_ne_bytes(*from)).to_ne_bytes();
                    }
                }
            }
        })
    }
}
