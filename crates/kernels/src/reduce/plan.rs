//! The shape of a reduction: dims merged into kept and folded groups, and the tiles of the output.
//!
//! A reduction is either runs (the last dim is folded) or columns (it is kept); both walk the other dims by odometer.
//! Tiles depend on the shape alone.

use crate::layout::{Layout, Odometer, to_signed};
use crate::operand::SpecError;
use std::ops::Range;

/// Elements one tile reads, about.
const TILE: usize = 32 << 10;
/// Columns that are folded side by side.
pub(super) const STRIP: usize = 256;

/// Merged dims and strides of one role.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) dims: Vec<usize>,
    pub(super) strides: Vec<isize>,
}

impl Group {
    fn push(&mut self, dim: usize, stride: isize) {
        match (self.dims.last_mut(), self.strides.last_mut()) {
            (Some(last), Some(outer)) if *outer == stride.saturating_mul(to_signed(dim)) => {
                *last *= dim;
                *outer = stride;
            }
            _ => {
                self.dims.push(dim);
                self.strides.push(stride);
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// Input offsets from flat index `start` on.
    pub(super) fn offsets(&self, start: usize) -> impl Iterator<Item = usize> {
        let mut walk = Odometer::new(&self.dims, [&self.strides], [0], start);
        std::iter::repeat_with(move || {
            let at = walk.at[0].unsigned_abs();
            walk.advance();
            at
        })
    }
}

/// A reduction's index spaces.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is kept, without the last dim where that is [`Plan::columns`].
    pub(super) kept: Group,
    /// What is folded, without the last dim where that is [`Plan::run`].
    pub(super) folded: Group,
    /// Contiguous elements folded into one output, 1 where the last dim is kept.
    pub(super) run: usize,
    /// Contiguous outputs side by side, 1 where the last dim is folded.
    pub(super) columns: usize,
    /// Number of outputs.
    pub(super) outputs: usize,
    /// Number of elements folded into each.
    pub(super) depth: usize,
    per_tile: usize,
}

impl Plan {
    pub(super) fn new(dims: &[usize], axes: &[usize]) -> Result<Self, SpecError> {
        let layout = Layout::contiguous(dims);
        layout.reach("reduce input")?;
        if let Some(axis) = axes.iter().find(|&&axis| axis >= dims.len()) {
            return Err(SpecError::new(format!("reduce axis {axis} of {} dims", dims.len())));
        }
        let (mut kept, mut folded) = (Group::default(), Group::default());
        for (axis, (&dim, &stride)) in
            dims.iter().zip(&layout.strides).enumerate().filter(|(_, (d, _))| **d != 1)
        {
            let group = if axes.contains(&axis) { &mut folded } else { &mut kept };
            group.push(dim, stride);
        }
        let overflow = || SpecError::new(format!("reduce: the extents of {dims:?} overflow"));
        let checked = |group: &Group| {
            group.dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).ok_or_else(overflow)
        };
        let (outputs, depth) = (checked(&kept)?, checked(&folded)?);
        let (mut run, mut columns) = (1, 1);
        if folded.strides.last() == Some(&1) {
            run = folded.dims.pop().unwrap_or(1);
            folded.strides.pop();
        } else if kept.strides.last() == Some(&1) {
            columns = kept.dims.pop().unwrap_or(1);
            kept.strides.pop();
        }
        let per_tile = match columns {
            1 => (TILE / depth.max(1)).clamp(1, outputs.max(1)),
            _ => columns.min(STRIP),
        };
        Ok(Self { kept, folded, run, columns, outputs, depth, per_tile })
    }

    /// Number of elements of the input.
    pub(super) fn inputs(&self) -> usize {
        self.outputs * self.depth
    }

    pub(super) fn tiles(&self) -> usize {
        match self.columns {
            1 => self.outputs.div_ceil(self.per_tile),
            0 => 0,
            columns => self.outputs / columns * columns.div_ceil(self.per_tile),
        }
    }

    /// Outputs of a tile; where columns stand side by side, of one strip of them.
    pub(super) fn range(&self, tile: usize) -> Range<usize> {
        if self.columns == 1 {
            let start = tile * self.per_tile;
            return start..(start + self.per_tile).min(self.outputs);
        }
        let strips = self.columns.div_ceil(self.per_tile);
        let (row, start) = (tile / strips * self.columns, tile % strips * self.per_tile);
        row + start..row + (start + self.per_tile).min(self.columns)
    }
}
