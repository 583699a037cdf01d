//! What to copy: parts, and the constructors that spell ONNX's data movement in them.
//!
//! Every operator here is a list of boxes with strides: a reflection is a negative stride, an edge or a broadcast a
//! stride of zero. Nothing is checked here beyond what the constructors need; `CopyStep::new` checks the rest.

use crate::arena::Span;
use crate::layout::{Layout, to_signed};
use crate::operand::{Operand, SpecError};

/// One box of elements to move.
#[derive(Clone, Debug)]
pub struct CopyPart {
    /// Where the elements come from.
    pub source: Operand,
    /// Their layout there.
    pub from: Layout,
    /// Their layout in the target, same dims as `from`, no two indices on one element.
    pub to: Layout,
}

/// Parts that together fill a target.
#[derive(Clone, Debug)]
pub struct CopySpec {
    /// Bytes of one element: 1, 2, 4 or 8.
    pub element_size: usize,
    /// The target.
    pub target: Span,
    /// What goes where. Parts that cannot be shown to be disjoint run in the order given.
    pub parts: Vec<CopyPart>,
}

/// What stands where padding reaches beyond the input.
#[derive(Clone, Debug)]
pub enum PadMode {
    /// One element that stands everywhere.
    Constant(Operand),
    /// The nearest element.
    Edge,
    /// The input mirrored at its first and last elements, which are not repeated.
    Reflect,
    /// The input repeated.
    Wrap,
}

impl CopySpec {
    /// Any view of a source, written without gaps.
    pub fn gather_view(element_size: usize, source: impl Into<Operand>, from: Layout, target: Span) -> Self {
        let to = Layout::contiguous(&from.dims);
        Self { element_size, target, parts: vec![CopyPart { source: source.into(), from, to }] }
    }

    /// Transposes a contiguous tensor of shape `dims`: output dim `i` is input dim `perm[i]`.
    ///
    /// # Errors
    /// `perm` is no permutation of the dims.
    pub fn transpose(
        element_size: usize,
        source: impl Into<Operand>,
        dims: &[usize],
        perm: &[usize],
        target: Span,
    ) -> Result<Self, SpecError> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if sorted != (0..dims.len()).collect::<Vec<_>>() {
            return Err(SpecError::new(format!("{perm:?} does not permute {} dims", dims.len())));
        }
        let dense = Layout::contiguous(dims);
        let from = Layout {
            dims: perm.iter().map(|&p| dims[p]).collect(),
            strides: perm.iter().map(|&p| dense.strides[p]).collect(),
            offset: 0,
        };
        Ok(Self::gather_view(element_size, source, from, target))
    }

    /// Broadcasts a contiguous tensor of shape `dims` to shape `to`.
    ///
    /// # Errors
    /// The shapes do not broadcast.
    pub fn expand(
        element_size: usize,
        source: impl Into<Operand>,
        dims: &[usize],
        to: &[usize],
        target: Span,
    ) -> Result<Self, SpecError> {
        Ok(Self::gather_view(element_size, source, Layout::broadcast(dims, to)?, target))
    }

    /// Takes `counts[i]` elements from `starts[i]` in steps of `steps[i]` (negative walks backwards) along each dim of
    /// a contiguous tensor of shape `dims`.
    ///
    /// # Errors
    /// The lists differ in length or a slice leaves its dim.
    pub fn slice(
        element_size: usize,
        source: impl Into<Operand>,
        dims: &[usize],
        starts: &[usize],
        steps: &[isize],
        counts: &[usize],
        target: Span,
    ) -> Result<Self, SpecError> {
        if [starts.len(), steps.len(), counts.len()] != [dims.len(); 3] {
            return Err(SpecError::new(format!("a slice of {} dims needs as many bounds", dims.len())));
        }
        let mut from = Layout::contiguous(dims);
        for axis in 0..dims.len() {
            let (start, step, count) = (to_signed(starts[axis]), steps[axis], counts[axis]);
            let last = step.checked_mul(to_signed(count.max(1) - 1)).and_then(|s| s.checked_add(start));
            let inside = last.is_some_and(|last| (0..to_signed(dims[axis])).contains(&last));
            if count > 0 && !(inside && starts[axis] < dims[axis]) {
                let reason = format!("slice {start}+{step}*{count} leaves dim {axis} of {}", dims[axis]);
                return Err(SpecError::new(reason));
            }
            from.offset += starts[axis] * from.strides[axis].unsigned_abs();
            from.strides[axis] = from.strides[axis].saturating_mul(step);
            from.dims[axis] = count;
        }
        Ok(Self::gather_view(element_size, source, from, target))
    }

    /// Joins contiguous tensors along `axis`; their other dims agree.
    ///
    /// # Errors
    /// No input, an axis out of range, or dims that disagree.
    pub fn concat(
        element_size: usize,
        axis: usize,
        inputs: Vec<(Operand, Vec<usize>)>,
        target: Span,
    ) -> Result<Self, SpecError> {
        let mut dims = inputs.first().map(|i| i.1.clone()).unwrap_or_default();
        if axis >= dims.len() {
            return Err(SpecError::new(format!("concat axis {axis} of {} dims", dims.len())));
        }
        let disagrees = |(position, (_, other)): (usize, &(Operand, Vec<usize>))| {
            let same = other.len() == dims.len() && (0..dims.len()).all(|a| a == axis || other[a] == dims[a]);
            (!same)
                .then(|| SpecError::new(format!("concat input {position} is {other:?}, the first {dims:?}")))
        };
        if let Some(error) = inputs.iter().enumerate().find_map(disagrees) {
            return Err(error);
        }
        dims[axis] = inputs.iter().map(|i| i.1[axis]).sum();
        let whole = Layout::contiguous(&dims);
        let mut at = 0;
        let parts = inputs.into_iter().map(|(source, dims)| {
            let offset = at * whole.strides[axis].unsigned_abs();
            at += dims[axis];
            let from = Layout::contiguous(&dims);
            CopyPart { source, from, to: Layout { dims, strides: whole.strides.clone(), offset } }
        });
        Ok(Self { element_size, target, parts: parts.collect() })
    }

    /// Grows (or, where negative, crops) a contiguous tensor of shape `dims` by `before` and `after` elements per dim.
    ///
    /// # Errors
    /// The lists differ in length, a crop takes more than there is, or a reflection or repetition needs more elements
    /// than the dim has.
    pub fn pad(
        element_size: usize,
        source: impl Into<Operand>,
        dims: &[usize],
        before: &[isize],
        after: &[isize],
        mode: &PadMode,
        target: Span,
    ) -> Result<Self, SpecError> {
        if [before.len(), after.len()] != [dims.len(); 2] {
            return Err(SpecError::new(format!("padding {} dims needs as many pads", dims.len())));
        }
        let source = source.into();
        let mut segments = Vec::new();
        let mut out = Vec::new();
        for axis in 0..dims.len() {
            let (list, extent) = pad_segments(dims[axis], before[axis], after[axis], mode)
                .map_err(|reason| SpecError::new(format!("pad, dim {axis}: {reason}")))?;
            segments.push(list);
            out.push(extent);
        }
        let boxes = pad_boxes(&Layout::contiguous(dims), &Layout::contiguous(&out), &segments);
        let parts = boxes.into_iter().map(|(mut from, to, inside)| match mode {
            PadMode::Constant(value) if !inside => {
                from.strides.fill(0);
                from.offset = 0;
                CopyPart { source: value.clone(), from, to }
            }
            _ => CopyPart { source: source.clone(), from, to },
        });
        Ok(Self { element_size, target, parts: parts.collect() })
    }
}

/// The boxes that segments along every dim form: layout in the source, layout in the target, whether it is input.
fn pad_boxes(source: &Layout, target: &Layout, segments: &[Vec<Segment>]) -> Vec<(Layout, Layout, bool)> {
    let point = Layout { dims: vec![], strides: vec![], offset: 0 };
    let mut boxes = vec![(point.clone(), point, true)];
    for (axis, list) in segments.iter().enumerate() {
        let (inner, outer) = (source.strides[axis], target.strides[axis]);
        let grown = boxes.iter().flat_map(|grown| list.iter().map(move |segment| (grown.clone(), *segment)));
        boxes = grown
            .map(|((mut from, mut to, inside), segment)| {
                from.dims.push(segment.count);
                from.strides.push(inner.saturating_mul(segment.step));
                from.offset += segment.from * inner.unsigned_abs();
                to.dims.push(segment.count);
                to.strides.push(outer);
                to.offset += segment.to * outer.unsigned_abs();
                (from, to, inside && segment.inside)
            })
            .collect();
    }
    boxes.retain(|(from, ..)| !from.dims.contains(&0));
    boxes
}

/// A run along one padded dim: `count` elements from `from` in steps of `step`, written from `to`.
#[derive(Clone, Copy)]
struct Segment {
    count: usize,
    from: usize,
    step: isize,
    to: usize,
    inside: bool,
}

fn pad_segments(
    dim: usize,
    before: isize,
    after: isize,
    mode: &PadMode,
) -> Result<(Vec<Segment>, usize), String> {
    let (low, high) = (before.max(0).unsigned_abs(), after.max(0).unsigned_abs());
    let (crop_low, crop_high) = (before.min(0).unsigned_abs(), after.min(0).unsigned_abs());
    let kept = dim
        .checked_sub(crop_low)
        .and_then(|d| d.checked_sub(crop_high))
        .ok_or_else(|| format!("cropping {crop_low} and {crop_high} of {dim} elements"))?;
    let most = low.max(high);
    let reach = match mode {
        PadMode::Constant(_) => usize::MAX,
        PadMode::Edge if kept > 0 => usize::MAX,
        PadMode::Wrap => kept,
        PadMode::Edge | PadMode::Reflect => kept.saturating_sub(1),
    };
    if most > reach {
        return Err(format!("{most} elements of padding from {kept} of input, at most {reach} are possible"));
    }
    let last = crop_low + kept.max(1) - 1;
    let (first, second) = match mode {
        PadMode::Constant(_) => ((0, 0), (0, 0)),
        PadMode::Edge => ((crop_low, 0), (last, 0)),
        PadMode::Reflect => ((crop_low + low, -1), (last.saturating_sub(1), -1)),
        PadMode::Wrap => ((crop_low + kept - low, 1), (crop_low, 1)),
    };
    let segment = |count, (from, step): (usize, isize), to, inside| Segment { count, from, step, to, inside };
    let total = low.checked_add(kept).and_then(|n| n.checked_add(high)).ok_or("the extent overflows")?;
    let list = [
        segment(low, first, 0, false),
        segment(kept, (crop_low, 1), low, true),
        segment(high, second, low + kept, false),
    ];
    Ok((list.into_iter().filter(|s| s.count > 0).collect(), total))
}
