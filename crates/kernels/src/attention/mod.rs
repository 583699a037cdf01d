//! Scaled dot-product attention, tiled with an online softmax: scores never reach memory.
//!
//! Contract: `softmax(cap(scale·q·kᵀ) + mask)·v` per head over operands whose head vectors are contiguous and whose
//! batches, heads and rows have strides of their own, so merged `[B, S, H·D]` tensors are read and written in place.
//! Phase 0 packs k (transposed) and v into 16-wide panels; phase 1 runs tiles of one head × a block of queries through
//! the GEMM micro-kernels. One or two queries, as decoders have them, read k and v where they lie instead. A row without a finite largest score is NaN, as ONNX's softmax makes it, or zero on request.
//!
//! Results depend on the shape and the instruction set, never on the number of threads.

mod direct;
mod pack;
mod product;
mod reference;
mod softmax;
mod spec;
#[cfg(test)]
mod tests;
mod tile;

pub use spec::{AttentionMask, AttentionShape, AttentionSpec, HeadView, HeadViewMut, MaskKind};

use crate::arena::{Memory, Span};
use crate::gemm::{Precision, micros};
use crate::isa::{Isa, Level};
use crate::operand::SpecError;
use crate::program::{Step, StepError, Tile};
use crate::scratch::with_slots;
use crate::transpose::{self, Transpose};
use spec::Bound;

/// Queries of a tile.
const QUERIES: usize = 64;
/// Keys whose scores are held at a time, a multiple of the panel's width.
const KEYS: usize = 192;
/// Elements between rows of scores: a few more than [`KEYS`], so that rows do not fall on the same cache sets.
const SCORE_ROW: usize = KEYS + 16;

/// What computes a tile.
enum Method {
    /// Micro-kernels over packed operands.
    Tiled { products: product::Products, level: Level, transpose: Transpose },
    /// A few queries over k and v where they lie.
    Direct { level: Level },
    /// The definition in f64, straight from the operands.
    Plain,
}

/// An [`AttentionSpec`] ready to run.
pub struct AttentionStep {
    bound: Bound,
    isa: Isa,
    method: Method,
}

impl AttentionStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// Head counts that do not divide, operands or scratch that are too small, an output whose elements share places, or
    /// a `FUSEBOX_KERNEL` this CPU cannot run.
    pub fn new(spec: AttentionSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, micros) = micros(Precision::F32, force)?;
        let bound = Bound::new(spec)?;
        let missing = crate::isa::IsaError::Missing { isa };
        let method = match isa {
            Isa::Reference => Method::Plain,
            isa if bound.shape.is_direct() => Method::Direct { level: isa.level().ok_or(missing)? },
            isa => Method::Tiled {
                products: product::Products::new(micros, &bound.shape),
                level: isa.level().ok_or(missing)?,
                transpose: crate::isa::select(transpose::KERNELS, Some(isa))?.1,
            },
        };
        Ok(Self { bound, isa, method })
    }
}

// SAFETY: Bound::new checked every operand against its layout and the scratch against its need, and that no two
// elements of the output share a place. Tiles of phase 0 pack disjoint panels, tiles of phase 1 write disjoint rows.
unsafe impl Step for AttentionStep {
    fn name(&self) -> String {
        format!("attention.{}", self.isa)
    }
    fn reads(&self) -> Vec<Span> {
        self.bound.reads()
    }
    fn writes(&self) -> Vec<Span> {
        self.bound.writes()
    }
    fn phases(&self) -> usize {
        2
    }
    fn tiles(&self, phase: usize) -> usize {
        match (phase, &self.method) {
            (0, Method::Plain | Method::Direct { .. }) => 0,
            (0, Method::Tiled { .. }) => pack::tiles(&self.bound.shape),
            _ => tile::tiles(&self.bound.shape),
        }
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        let bound = &self.bound;
        match (tile.phase, &self.method) {
            (0, Method::Tiled { transpose, .. }) => {
                // SAFETY: Bound::new checked operands and scratch; these panels belong to this tile.
                unsafe { pack::run(bound, *transpose, tile.index, memory) };
            }
            (_, Method::Tiled { products, level, .. }) => {
                with_slots(tile::SLOTS, tile::slot_bytes(&bound.shape), |slots| {
                    // SAFETY: as above; phase 0 has packed, and these rows of the output belong to this tile.
                    unsafe { tile::run(bound, Some(products), *level, tile.index, slots, memory) };
                });
            }
            (_, Method::Direct { level }) => {
                with_slots(tile::SLOTS, tile::slot_bytes(&bound.shape), |slots| {
                    // SAFETY: Bound::new checked the operands; these rows of the output belong to this tile.
                    unsafe { tile::run(bound, None, *level, tile.index, slots, memory) };
                });
            }
            (_, Method::Plain) => {
                // SAFETY: as above.
                unsafe { reference::run(bound, tile.index, memory) };
            }
        }
        Ok(())
    }
}
