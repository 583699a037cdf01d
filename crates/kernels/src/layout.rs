//! Strided layouts: dims and strides in elements, their reach, their merging.
//!
//! Owns the arithmetic that proves accesses in bounds and writes disjoint; touches no memory.

use crate::operand::SpecError;

/// Where the elements of an N-d tensor lie relative to the first byte of an operand. All units are elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Extent of each dim, outermost first.
    pub dims: Vec<usize>,
    /// Step of each dim; 0 broadcasts, negative walks backwards.
    pub strides: Vec<isize>,
    /// Position of the element with all indices zero.
    pub offset: usize,
}

impl Layout {
    /// Row-major, without gaps.
    pub fn contiguous(dims: &[usize]) -> Self {
        let mut strides = vec![0; dims.len()];
        let mut step = 1_isize;
        for (stride, &dim) in strides.iter_mut().zip(dims).rev() {
            *stride = step;
            step = step.saturating_mul(to_signed(dim.max(1)));
        }
        Self { dims: dims.to_vec(), strides, offset: 0 }
    }

    /// The layout of a contiguous tensor of shape `from` read as shape `to`: ONNX's broadcasting, missing dims lead.
    ///
    /// # Errors
    /// Shapes that do not broadcast.
    pub fn broadcast(from: &[usize], to: &[usize]) -> Result<Self, SpecError> {
        let refused = || SpecError::new(format!("shape {from:?} does not broadcast to {to:?}"));
        let lead = to.len().checked_sub(from.len()).ok_or_else(refused)?;
        let mut strides = vec![0; lead];
        for ((&dim, &wanted), stride) in from.iter().zip(&to[lead..]).zip(Self::contiguous(from).strides) {
            match dim == wanted {
                true => strides.push(if dim == 1 { 0 } else { stride }),
                false if dim == 1 => strides.push(0),
                false => return Err(refused()),
            }
        }
        Ok(Self { dims: to.to_vec(), strides, offset: 0 })
    }

    /// Number of indices, `None` when it overflows.
    pub fn count(&self) -> Option<usize> {
        self.dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))
    }

    /// Number of elements an operand must hold for every index to be in bounds.
    ///
    /// # Errors
    /// A stride per dim is missing, arithmetic overflows, or an index reaches before the first element.
    pub fn reach(&self, what: &str) -> Result<usize, SpecError> {
        if self.dims.len() != self.strides.len() {
            let (d, s) = (self.dims.len(), self.strides.len());
            return Err(SpecError::new(format!("{what} has {d} dims but {s} strides")));
        }
        let overflow = || SpecError::new(format!("{what}: the extents of {:?} overflow", self.dims));
        let count = self.count().filter(|&n| isize::try_from(n).is_ok()).ok_or_else(overflow)?;
        if count == 0 {
            return Ok(0);
        }
        let (mut low, mut high) = (isize::try_from(self.offset).map_err(|_| overflow())?, 0_isize);
        for (&dim, &stride) in self.dims.iter().zip(&self.strides) {
            let span = to_signed(dim - 1).checked_mul(stride).ok_or_else(overflow)?;
            let side = if span < 0 { &mut low } else { &mut high };
            *side = side.checked_add(span).ok_or_else(overflow)?;
        }
        if low < 0 {
            return Err(SpecError::new(format!("{what} reaches {} elements before its operand", -low)));
        }
        let last = self.offset.checked_add(high.unsigned_abs()).ok_or_else(overflow)?;
        last.checked_add(1).ok_or_else(overflow)
    }

    /// Whether the layout is row-major without gaps, dims of extent 1 aside.
    pub fn is_contiguous(&self) -> bool {
        let dense = Self::contiguous(&self.dims);
        let mut dims = self.dims.iter().zip(&self.strides).zip(&dense.strides);
        dims.all(|((&dim, stride), wanted)| dim <= 1 || stride == wanted)
    }

    /// Whether the strides alone prove that no two indices share an element.
    pub fn is_injective(&self) -> bool {
        let mut steps: Vec<(usize, usize)> =
            self.dims.iter().zip(&self.strides).map(|(&d, &s)| (s.unsigned_abs(), d)).collect();
        steps.retain(|&(_, dim)| dim > 1);
        steps.sort_unstable();
        let mut covered = 0_usize;
        steps.iter().all(|&(stride, dim)| {
            let fresh = stride > covered;
            covered = covered.saturating_add(stride.saturating_mul(dim - 1));
            fresh
        })
    }

    /// Drops dims of extent 1 and merges neighbours that one stride can walk. Visits the same elements in the same
    /// order; an empty list of dims means one element.
    pub fn collapsed(&self) -> Self {
        let (dims, strides) = collapse(&self.dims, &[&self.strides]);
        Self { dims, strides: strides.into_iter().next().unwrap_or_default(), offset: self.offset }
    }
}

/// Drops dims of extent 1 and merges neighbours that one stride can walk in every one of `strides`.
pub(crate) fn collapse(dims: &[usize], strides: &[&[isize]]) -> (Vec<usize>, Vec<Vec<isize>>) {
    let mut merged: Vec<usize> = Vec::new();
    let mut steps: Vec<Vec<isize>> = vec![Vec::new(); strides.len()];
    for (axis, &dim) in dims.iter().enumerate().filter(|&(_, &dim)| dim != 1) {
        let joins = !merged.is_empty()
            && steps.iter().zip(strides).all(|(done, all)| {
                done.last().is_some_and(|&outer| all[axis].checked_mul(to_signed(dim)) == Some(outer))
            });
        match merged.last_mut() {
            Some(last) if joins => *last *= dim,
            _ => merged.push(dim),
        }
        for (done, all) in steps.iter_mut().zip(strides) {
            if joins {
                done.pop();
            }
            done.push(all[axis]);
        }
    }
    (merged, steps)
}

/// Walks the index space of `dims` in row-major order from flat position `start`, keeping one offset per layout.
pub(crate) struct Odometer<'a, const N: usize> {
    dims: &'a [usize],
    strides: [&'a [isize]; N],
    index: Vec<usize>,
    /// Current position in each layout.
    pub(crate) at: [isize; N],
}

impl<'a, const N: usize> Odometer<'a, N> {
    pub(crate) fn new(
        dims: &'a [usize],
        strides: [&'a [isize]; N],
        offsets: [usize; N],
        start: usize,
    ) -> Self {
        let mut index = vec![0; dims.len()];
        let mut rest = start;
        for (slot, &dim) in index.iter_mut().zip(dims).rev() {
            *slot = rest % dim.max(1);
            rest /= dim.max(1);
        }
        let mut at = offsets.map(to_signed);
        for (position, strides) in at.iter_mut().zip(strides) {
            *position += index.iter().zip(strides).map(|(&i, &s)| to_signed(i) * s).sum::<isize>();
        }
        Self { dims, strides, index, at }
    }

    /// Moves to the next index; wraps at the end.
    #[inline]
    pub(crate) fn advance(&mut self) {
        for axis in (0..self.dims.len()).rev() {
            self.index[axis] += 1;
            for (position, strides) in self.at.iter_mut().zip(self.strides) {
                *position += strides[axis];
            }
            if self.index[axis] < self.dims[axis] {
                return;
            }
            let back = to_signed(self.dims[axis]);
            for (position, strides) in self.at.iter_mut().zip(self.strides) {
                *position -= strides[axis] * back;
            }
            self.index[axis] = 0;
        }
    }
}

/// Extents fit `isize` wherever [`Layout::reach`] succeeded.
pub(crate) fn to_signed(value: usize) -> isize {
    isize::try_from(value).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_covers_negative_strides_and_broadcasts() {
        let layout = Layout { dims: vec![3, 4], strides: vec![0, -2], offset: 6 };
        assert_eq!(layout.reach("x"), Ok(7));
        let layout = Layout { dims: vec![3, 4], strides: vec![0, -2], offset: 5 };
        assert!(layout.reach("x").is_err());
        assert_eq!(Layout { dims: vec![0, 4], strides: vec![9, 9], offset: 5 }.reach("x"), Ok(0));
        assert!(Layout { dims: vec![usize::MAX, 4], strides: vec![1, 1], offset: 0 }.reach("x").is_err());
    }

    #[test]
    fn collapse_merges_what_one_stride_walks() {
        assert_eq!(Layout::contiguous(&[2, 1, 3, 4]).collapsed().dims, [24]);
        let layout = Layout::broadcast(&[3, 1], &[2, 3, 4]).unwrap();
        assert_eq!((layout.collapsed().dims, layout.collapsed().strides), (vec![2, 3, 4], vec![0, 1, 0]));
        let layout = Layout::broadcast(&[1], &[2, 3, 4]).unwrap().collapsed();
        assert_eq!((layout.dims, layout.strides), (vec![24], vec![0]));
    }

    #[test]
    fn overlap_is_seen() {
        assert!(Layout::contiguous(&[2, 3]).is_injective());
        assert!(!Layout { dims: vec![2, 3], strides: vec![2, 1], offset: 0 }.is_injective());
        assert!(!Layout { dims: vec![2], strides: vec![0], offset: 0 }.is_injective());
    }

    #[test]
    fn the_odometer_visits_every_index_from_any_start() {
        let layout = Layout { dims: vec![2, 3, 2], strides: vec![1, 10, -100], offset: 100 };
        for start in 0..12 {
            let mut walk = Odometer::new(&layout.dims, [&layout.strides], [layout.offset], start);
            for flat in start..12 {
                let (i, j, k) = (flat / 6, flat / 2 % 3, flat % 2);
                assert_eq!(walk.at[0], to_signed(100 + i + 10 * j) - 100 * to_signed(k));
                walk.advance();
            }
        }
    }
}
