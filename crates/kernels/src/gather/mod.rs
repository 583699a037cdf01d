//! Gather: rows of a table picked by indices, as in embedding lookups and ONNX Gather.
//!
//! Contract: over a table `[outer, extent, row]` of bytes and `count` indices, the target `[outer, count, row]` holds
//! row `indices[i]` at `i`; a negative index counts from the end. An index out of range fails the run and names itself.
//! Copying is the C library's; there is nothing to vectorise here, hence one row beside the reference.

mod addressed;
mod portable;
mod reference;
#[cfg(test)]
mod tests;

pub use addressed::{AddressedGather, AddressedScatter, Addresses, Meeting};

use crate::arena::{Memory, Span};
use crate::element::Element;
use crate::isa::{Isa, Kernel, select};
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};

/// Bytes one tile copies, about.
const TILE_BYTES: usize = 64 << 10;

/// Copies rows; see [`RowCopy`].
pub type GatherFn = fn(&RowCopy<'_>, &mut [u8]) -> Result<(), BadIndex>;

/// Best first.
pub static KERNELS: &[Kernel<GatherFn>] = &[
    Kernel { isa: Isa::Portable, get: || Some(portable::gather) },
    Kernel { isa: Isa::Reference, get: || Some(reference::gather) },
];

/// Rows of one table to copy.
pub struct RowCopy<'a> {
    /// `extent` rows of `row` bytes.
    pub table: &'a [u8],
    /// Number of rows in the table.
    pub extent: usize,
    /// Bytes of a row.
    pub row: usize,
    /// Which rows.
    pub indices: Indices<'a>,
}

/// Indices of either width.
#[derive(Clone, Copy, Debug)]
pub enum Indices<'a> {
    /// 32 bits.
    I32(&'a [i32]),
    /// 64 bits.
    I64(&'a [i64]),
}

impl Indices<'_> {
    /// Index number `position`.
    #[inline]
    pub fn get(&self, position: usize) -> i64 {
        match self {
            Self::I32(list) => i64::from(list[position]),
            Self::I64(list) => list[position],
        }
    }
}

/// An index out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadIndex {
    /// Its place in the list.
    pub position: usize,
    /// Its value.
    pub index: i64,
}

/// Row number of an index that may count from the end.
#[inline]
fn resolve(index: i64, position: usize, extent: usize) -> Result<usize, BadIndex> {
    let signed = i64::try_from(extent).unwrap_or(i64::MAX);
    let row = if index < 0 { index.wrapping_add(signed) } else { index };
    usize::try_from(row).ok().filter(|&row| row < extent).ok_or(BadIndex { position, index })
}

/// A gather along one axis.
#[derive(Clone, Debug)]
pub struct GatherSpec {
    /// Product of the table's dims before the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub extent: usize,
    /// Bytes of one row: the product of the dims after the axis times the element size.
    pub row_bytes: usize,
    /// The table.
    pub table: Operand,
    /// Number of indices.
    pub count: usize,
    /// [`Element::I32`] or [`Element::I64`].
    pub index_element: Element,
    /// The indices.
    pub indices: Operand,
    /// The target, `outer · count` rows.
    pub target: Span,
}

enum IndexSource {
    I32(Source<i32>),
    I64(Source<i64>),
}

impl IndexSource {
    fn new(element: Element, indices: Operand, count: usize) -> Result<Self, SpecError> {
        Ok(match element {
            Element::I32 => Self::I32(Source::new(indices, count, "gather indices")?),
            Element::I64 => Self::I64(Source::new(indices, count, "gather indices")?),
            other => {
                return Err(SpecError::new(format!("gather indices are {}, i32 or i64 exist", other.name())));
            }
        })
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::I32(source) => source.span(),
            Self::I64(source) => source.span(),
        }
    }

    /// Some of the indices.
    ///
    /// # Safety
    /// They are among those that `new` checked, and nothing writes them while the slice lives.
    unsafe fn slice<'a>(&self, memory: &Memory<'a>, first: usize, count: usize) -> Indices<'a> {
        // SAFETY: passed on to the caller.
        unsafe {
            match self {
                Self::I32(list) => {
                    Indices::I32(std::slice::from_raw_parts(list.locate(memory).add(first), count))
                }
                Self::I64(list) => {
                    Indices::I64(std::slice::from_raw_parts(list.locate(memory).add(first), count))
                }
            }
        }
    }
}

/// A [`GatherSpec`] ready to run.
pub struct GatherStep {
    outer: usize,
    extent: usize,
    row: usize,
    count: usize,
    table: Source<u8>,
    indices: IndexSource,
    target: Target<u8>,
    /// Rows per tile; tiles do not cross from one outer index to the next.
    chunk: usize,
    isa: Isa,
    kernel: GatherFn,
}

impl GatherStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// Operands that are too small, indices of another type, or a `FUSEBOX_KERNEL` this CPU cannot run.
    pub fn new(spec: GatherSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, kernel) = select(KERNELS, force)?;
        let GatherSpec { outer, extent, row_bytes: row, table, count, index_element, indices, target } = spec;
        let bytes = |rows: usize| {
            let overflow = || SpecError::new(format!("gather: {outer}x{rows} rows of {row} bytes overflow"));
            outer.checked_mul(rows).and_then(|n| n.checked_mul(row)).ok_or_else(overflow)
        };
        let table = Source::new(table, bytes(extent)?, "gather table in bytes")?;
        let target = Target::new(target, bytes(count)?, "gather target in bytes")?;
        let indices = IndexSource::new(index_element, indices, count)?;
        let chunk = (TILE_BYTES / row.max(1)).clamp(1, count.max(1));
        Ok(Self { outer, extent, row, count, table, indices, target, chunk, isa, kernel })
    }
}

// SAFETY: Source and Target hold what the spec needs; tiles write disjoint rows of the target.
unsafe impl Step for GatherStep {
    fn name(&self) -> String {
        format!("gather.{}", self.isa)
    }
    fn reads(&self) -> Vec<Span> {
        self.table.span().into_iter().chain(self.indices.span()).collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.target.span()]
    }
    fn tiles(&self, _: usize) -> usize {
        self.outer * self.count.div_ceil(self.chunk)
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let chunks = self.count.div_ceil(self.chunk);
        let (outer, start) = (tile.index / chunks, tile.index % chunks * self.chunk);
        let count = self.chunk.min(self.count - start);
        let block = self.extent * self.row;
        // SAFETY: the operands hold outer · extent rows and count indices, and nothing writes them now.
        let (table, indices) = unsafe {
            let table = std::slice::from_raw_parts(self.table.locate(memory).add(outer * block), block);
            let indices = self.indices.slice(memory, start, count);
            (table, indices)
        };
        // SAFETY: these rows of the target belong to this tile.
        let rows = unsafe {
            let first = self.target.locate(memory).add((outer * self.count + start) * self.row);
            std::slice::from_raw_parts_mut(first, count * self.row)
        };
        let copy = RowCopy { table, extent: self.extent, row: self.row, indices };
        (self.kernel)(&copy, rows).map_err(|BadIndex { position, index }| {
            let (position, extent) = (start + position, self.extent);
            StepError(format!("gather: index {index} at position {position} is outside -{extent}..{extent}"))
        })
    }
}
