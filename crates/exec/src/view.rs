//! Where a value's elements are: a buffer or a constant, seen through a strided layout.
//!
//! Reshape, transpose, slice, split and expand are new views of the same bytes. A physical layout such as NHWC is
//! nothing but strides, so no operator needs to know its name.

use fusebox_ir::DType;
use fusebox_kernels::{Constant, Layout};

/// Index of a buffer of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// What holds the bytes.
#[derive(Clone, Debug)]
pub enum Place {
    /// A range of the arena.
    Buffer(BufferId),
    /// Bytes outside the arena.
    Constant(Constant),
}

/// A value as kernels see it.
#[derive(Clone, Debug)]
pub struct View {
    /// What holds the bytes.
    pub place: Place,
    /// Element type.
    pub dtype: DType,
    /// Dims and strides, in elements.
    pub layout: Layout,
}

impl View {
    /// Sizes.
    pub fn dims(&self) -> &[usize] {
        &self.layout.dims
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.layout.dims.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes per element.
    pub fn element_size(&self) -> usize {
        self.dtype.bits() / 8
    }

    /// Whether elements lie in row-major order without gaps.
    pub fn is_dense(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// The buffer, unless it is a constant.
    pub fn buffer(&self) -> Option<BufferId> {
        if let Place::Buffer(id) = self.place { Some(id) } else { None }
    }

    /// The same bytes under another layout.
    #[must_use]
    pub fn with_layout(&self, layout: Layout) -> Self {
        Self { place: self.place.clone(), dtype: self.dtype, layout }
    }

    /// Permutes the dims: dim `i` of the result is dim `perm[i]` of this view.
    #[must_use]
    pub fn permuted(&self, perm: &[usize]) -> Self {
        let layout = Layout {
            dims: perm.iter().map(|p| self.layout.dims[*p]).collect(),
            strides: perm.iter().map(|p| self.layout.strides[*p]).collect(),
            offset: self.layout.offset,
        };
        self.with_layout(layout)
    }

    /// Another shape over the same elements in the same order, when strides can express it.
    pub fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        if dims.iter().product::<usize>() != self.len() {
            return None;
        }
        let strides = reshape_strides(&self.layout, dims)?;
        Some(self.with_layout(Layout { dims: dims.to_vec(), strides, offset: self.layout.offset }))
    }

    /// Part of one dim.
    #[must_use]
    pub fn narrowed(&self, axis: usize, start: usize, count: usize, step: isize) -> Self {
        let mut layout = self.layout.clone();
        let shift = isize::try_from(start).unwrap_or(0).saturating_mul(layout.strides[axis]);
        layout.offset = layout.offset.saturating_add_signed(shift);
        layout.dims[axis] = count;
        layout.strides[axis] = layout.strides[axis].saturating_mul(step);
        self.with_layout(layout)
    }

    /// Broadcasts to `dims` (ONNX rules); `None` when the shapes do not broadcast.
    pub fn broadcast(&self, dims: &[usize]) -> Option<Self> {
        let lead = dims.len().checked_sub(self.layout.dims.len())?;
        let mut strides = vec![0; lead];
        for ((from, stride), to) in self.layout.dims.iter().zip(&self.layout.strides).zip(&dims[lead..]) {
            match (*from, *to) {
                (1, _) => strides.push(0),
                (a, b) if a == b => strides.push(*stride),
                _ => return None,
            }
        }
        Some(self.with_layout(Layout { dims: dims.to_vec(), strides, offset: self.layout.offset }))
    }

    /// Reads the view as rows of a matrix: every dim but the last merged into one stride, the last contiguous.
    /// Returns rows, columns, and the row stride in elements.
    pub fn rows(&self) -> Option<(usize, usize, usize)> {
        let columns = self.layout.dims.last().copied().unwrap_or(1);
        let rows = self.len().checked_div(columns)?;
        let flat = self.reshaped(&[rows, columns])?;
        let row_stride = if rows <= 1 { columns } else { usize::try_from(flat.layout.strides[0]).ok()? };
        let dense = columns <= 1 || flat.layout.strides[1] == 1;
        (dense && (row_stride >= columns)).then_some((rows, columns, row_stride))
    }
}

/// Strides that make `dims` visit the elements of `layout` in row-major order.
fn reshape_strides(layout: &Layout, dims: &[usize]) -> Option<Vec<isize>> {
    if dims.contains(&0) {
        return Some(Layout::contiguous(dims).strides);
    }
    let merged = layout.collapsed();
    let (mut strides, mut block) = (vec![0; dims.len()], merged.dims.len());
    // From the back: each merged block of the source must be split exactly by a run of the new dims.
    let (mut left, mut step) = (1, 0);
    for axis in (0..dims.len()).rev() {
        if dims[axis] == 1 {
            continue;
        }
        if left == 1 {
            block = block.checked_sub(1)?;
            (left, step) = (merged.dims[block], merged.strides[block]);
        }
        if left % dims[axis] != 0 {
            return None;
        }
        strides[axis] = step;
        left /= dims[axis];
        step = step.checked_mul(isize::try_from(dims[axis]).ok()?)?;
    }
    // Dims of extent one keep a plausible stride so that a dense view still reads as dense.
    for axis in (0..dims.len()).rev().filter(|a| dims[*a] == 1) {
        strides[axis] = strides.get(axis + 1).map_or(1, |s| s * isize::try_from(dims[axis + 1]).unwrap_or(1));
    }
    Some(strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(dims: &[usize]) -> View {
        View { place: Place::Buffer(BufferId(0)), dtype: DType::F32, layout: Layout::contiguous(dims) }
    }

    #[test]
    fn heads_split_and_merge_as_views() {
        let merged = view(&[2, 5, 12]);
        let heads = merged.reshaped(&[2, 5, 3, 4]).unwrap().permuted(&[0, 2, 1, 3]);
        assert_eq!(heads.layout.strides, [60, 4, 12, 1]);
        assert!(heads.reshaped(&[2, 3, 20]).is_none());
        let back = heads.permuted(&[0, 2, 1, 3]).reshaped(&[2, 5, 12]).unwrap();
        assert!(back.is_dense());
    }

    #[test]
    fn a_slice_of_columns_reads_as_rows() {
        let part = view(&[2, 5, 12]).narrowed(2, 4, 4, 1);
        assert_eq!(part.rows(), Some((10, 4, 12)));
        assert_eq!(part.layout.offset, 4);
        assert!(view(&[2, 5, 12]).narrowed(1, 0, 2, 1).rows().is_none());
        assert_eq!(view(&[7]).rows(), Some((1, 7, 7)));
    }

    #[test]
    fn ones_reshape_freely() {
        let v = view(&[4, 6]).permuted(&[1, 0]).reshaped(&[6, 1, 4, 1]).unwrap();
        assert_eq!((v.layout.strides[0], v.layout.strides[2]), (1, 6));
        assert!(view(&[1, 1]).reshaped(&[1]).unwrap().is_dense());
    }
}
