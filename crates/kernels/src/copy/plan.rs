//! Turns parts into jobs: checks layouts, picks a walk, cuts tiles.
//!
//! Tiles depend on shapes alone, never on the number of threads.

use super::Method;
use super::spec::{CopyPart, CopySpec};
use crate::arena::{Pod, Span};
use crate::layout::{Layout, collapse};
use crate::operand::{Source, SpecError, Target};
use crate::program::Tile;
use std::ops::Range;

/// Bytes one tile moves, about.
const TILE_BYTES: usize = 64 << 10;
/// Side of the square that a blocked transpose moves at a time, in elements.
pub(super) const BLOCK: usize = 64;

/// How a part's innermost dims are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The last dim is contiguous on both sides.
    Runs,
    /// The last dim repeats one element.
    Fill,
    /// The last dim is contiguous in the target, dim `axis` in the source.
    Transpose {
        /// The dim that is contiguous in the source.
        axis: usize,
    },
    /// Neither.
    Strided,
}

/// One part, its dims ordered and merged so that the target is written as sequentially as possible.
pub(super) struct Part<T> {
    pub(super) source: Source<T>,
    pub(super) method: Method,
    pub(super) walk: Walk,
    pub(super) dims: Vec<usize>,
    pub(super) from: Vec<isize>,
    pub(super) to: Vec<isize>,
    pub(super) offsets: [usize; 2],
    /// Number of items: pieces of rows, or blocks of a transpose.
    count: usize,
    per_tile: usize,
}

/// Longest piece of a row that is one item, in elements of `T`.
pub(super) const fn piece<T>() -> usize {
    TILE_BYTES / size_of::<T>()
}

impl<T: Pod> Part<T> {
    fn new(part: CopyPart, method: Method) -> Result<Self, SpecError> {
        let CopyPart { source, mut from, mut to } = part;
        let source = Source::new(source, from.reach("copy source")?, "copy source")?;
        flip_negative(&mut from, &mut to);
        let mut order: Vec<usize> = (0..to.dims.len()).filter(|&a| to.dims[a] != 1).collect();
        order.sort_by_key(|&axis| std::cmp::Reverse(to.strides[axis]));
        let pick = |strides: &[isize]| order.iter().map(|&a| strides[a]).collect::<Vec<_>>();
        let ordered: Vec<usize> = order.iter().map(|&a| to.dims[a]).collect();
        let (mut dims, steps) = collapse(&ordered, &[&pick(&from.strides), &pick(&to.strides)]);
        let [mut source_steps, mut target_steps]: [Vec<isize>; 2] =
            steps.try_into().expect("collapse returns as many layouts as it was given");
        if dims.is_empty() {
            (dims, source_steps, target_steps) = (vec![1], vec![1], vec![1]);
        }
        let walk = choose(&source_steps, &target_steps);
        let mut part = Self {
            source,
            method,
            walk,
            dims,
            from: source_steps,
            to: target_steps,
            offsets: [from.offset, to.offset],
            count: 0,
            per_tile: 1,
        };
        let (count, size) = part.cut();
        part.count = count;
        part.per_tile = (TILE_BYTES / (size * size_of::<T>()).max(1)).max(1);
        Ok(part)
    }

    /// Number of items and elements of one.
    fn cut(&self) -> (usize, usize) {
        let last = self.dims.len() - 1;
        let total: usize = self.dims.iter().product();
        if total == 0 {
            return (0, 1);
        }
        match self.walk {
            Walk::Transpose { axis } => {
                let (m, n) = (self.dims[axis], self.dims[last]);
                let blocks = m.div_ceil(BLOCK) * n.div_ceil(BLOCK);
                (total / (m * n) * blocks, m.min(BLOCK) * n.min(BLOCK))
            }
            _ => {
                let n = self.dims[last];
                (total / n * n.div_ceil(piece::<T>()), n.min(piece::<T>()))
            }
        }
    }

    fn tiles(&self) -> usize {
        self.count.div_ceil(self.per_tile)
    }

    /// Items of tile `index`.
    pub(super) fn items(&self, index: usize) -> Range<usize> {
        let start = index * self.per_tile;
        start..(start + self.per_tile).min(self.count)
    }
}

fn choose(from: &[isize], to: &[isize]) -> Walk {
    let last = to.len() - 1;
    match (to[last], from[last]) {
        (1, 1) => Walk::Runs,
        (1, 0) => Walk::Fill,
        (1, _) => from[..last]
            .iter()
            .rposition(|&stride| stride == 1)
            .map_or(Walk::Strided, |axis| Walk::Transpose { axis }),
        _ => Walk::Strided,
    }
}

/// Walks dims that run backwards in the target from their other end.
fn flip_negative(from: &mut Layout, to: &mut Layout) {
    for axis in 0..to.dims.len() {
        if to.strides[axis] < 0 && to.dims[axis] > 0 {
            for layout in [&mut *from, &mut *to] {
                let shift = layout.strides[axis] * crate::layout::to_signed(layout.dims[axis] - 1);
                layout.offset = layout.offset.wrapping_add_signed(shift);
                layout.strides[axis] = -layout.strides[axis];
            }
        }
    }
}

/// All parts of a spec, and which of them may run at the same time.
pub(super) struct Job<T> {
    pub(super) target: Target<T>,
    parts: Vec<Part<T>>,
    pub(super) phases: Vec<Range<usize>>,
    /// First tile of each part within its phase.
    starts: Vec<usize>,
}

impl<T: Pod> Job<T> {
    pub(super) fn new(spec: CopySpec, method: Method) -> Result<Self, SpecError> {
        let mut needed = 0;
        for (index, part) in spec.parts.iter().enumerate() {
            let place = format!("copy target of part {index}");
            needed = needed.max(part.to.reach(&place)?);
            if part.from.dims != part.to.dims {
                let reason = format!("{place} has dims {:?}, its source {:?}", part.to.dims, part.from.dims);
                return Err(SpecError::new(reason));
            }
            if !part.to.is_injective() {
                return Err(SpecError::new(format!("{place}: {:?} writes elements twice", part.to)));
            }
        }
        let target = Target::new(spec.target, needed, "copy target")?;
        let together = disjoint(&spec.parts);
        let parts: Result<Vec<_>, _> = spec.parts.into_iter().map(|part| Part::new(part, method)).collect();
        let parts = parts?;
        let phases: Vec<Range<usize>> = match together {
            true => std::iter::once(0..parts.len()).collect(),
            false => (0..parts.len()).map(|i| i..i + 1).collect(),
        };
        let mut starts = vec![0; parts.len()];
        for phase in &phases {
            let mut at = 0;
            for index in phase.clone() {
                starts[index] = at;
                at += parts[index].tiles();
            }
        }
        Ok(Self { target, parts, phases, starts })
    }

    pub(super) fn reads(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = self.parts.iter().filter_map(|part| part.source.span()).collect();
        spans.sort_unstable();
        spans.dedup();
        spans
    }

    pub(super) fn tiles(&self, phase: usize) -> usize {
        self.parts[self.phases[phase].clone()].iter().map(Part::tiles).sum()
    }

    /// The part a tile belongs to and its number there.
    pub(super) fn part(&self, tile: Tile) -> (&Part<T>, usize) {
        let phase = self.phases[tile.phase].clone();
        let after = self.starts[phase.clone()].partition_point(|&start| start <= tile.index);
        let index = phase.start + after - 1;
        (&self.parts[index], tile.index - self.starts[index])
    }
}

/// Whether the parts are boxes of one row-major grid that do not meet.
fn disjoint(parts: &[CopyPart]) -> bool {
    let Some(first) = parts.first() else { return true };
    if parts.len() == 1 {
        return true;
    }
    let mut axes: Vec<usize> = (0..first.to.dims.len()).collect();
    axes.sort_by_key(|&axis| std::cmp::Reverse(first.to.strides[axis]));
    let boxes: Option<Vec<Vec<Range<usize>>>> = parts
        .iter()
        .map(|part| {
            if part.to.strides != first.to.strides {
                return None;
            }
            let mut rest = part.to.offset;
            axes.iter()
                .map(|&axis| {
                    let stride = usize::try_from(part.to.strides[axis]).ok().filter(|&s| s > 0)?;
                    let start = rest / stride;
                    rest %= stride;
                    Some(start..start.checked_add(part.to.dims[axis])?)
                })
                .collect()
        })
        .collect();
    let Some(boxes) = boxes else { return false };
    // The boxes must lie in one grid: no row may run over into the next.
    let inside = |position: usize| {
        let extent = boxes.iter().map(|b| b[position].end).max().unwrap_or(0);
        let outer = first.to.strides[axes[position - 1]].unsigned_abs();
        let stride = first.to.strides[axes[position]].unsigned_abs();
        extent.checked_mul(stride).is_some_and(|run| run <= outer)
    };
    let apart = |a: &[Range<usize>], b: &[Range<usize>]| {
        a.iter().zip(b).any(|(a, b)| a.end <= b.start || b.end <= a.start)
    };
    (1..axes.len()).all(inside)
        && boxes.iter().enumerate().all(|(i, a)| boxes[i + 1..].iter().all(|b| apart(a, b)))
}
