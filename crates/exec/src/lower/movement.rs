//! Movement operators: views wherever strides allow, copies elsewhere.

use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor};
use fusebox_kernels::copy::{CastSpec, CastStep, CopyPart, CopySpec, CopyStep};
use fusebox_kernels::{Element, Layout, SpecError};

pub(super) static ROWS: &[Row] = &[
    Row::onnx("Cast", cast),
    Row::onnx("Concat", concat),
    Row::onnx("ConstantOfShape", constant_of_shape),
    Row::onnx("DepthToSpace", depth_to_space),
    Row::onnx("Dropout", dropout),
    Row::onnx("Expand", expand),
    Row::onnx("Flatten", reshape),
    Row::onnx("Identity", alias),
    Row::onnx("Reshape", reshape),
    Row::onnx("Slice", slice),
    Row::onnx("SpaceToDepth", space_to_depth),
    Row::onnx("Split", split),
    Row::onnx("Squeeze", reshape),
    Row::onnx("Tile", tile),
    Row::onnx("Transpose", transpose),
    Row::onnx("Unsqueeze", reshape),
];

type Result = std::result::Result<Lowered, SpecError>;

/// The identity, unless the node may be told at run time that it trains.
fn dropout(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let off = |tensor: &Tensor| tensor.data().iter().all(|byte| *byte == 0);
    let trains = cx.graph.node(node).input(2).is_some_and(|flag| !cx.constant(flag).is_some_and(off));
    if trains || cx.graph.node(node).output(1).is_some() {
        return Ok(Lowered::Declined("training and the mask have no kernel".into()));
    }
    alias(cx, node)
}

fn alias(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let view = cx.input(node, 0);
    cx.set_output(node, 0, view);
    Ok(Lowered::Done)
}

fn reshape(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let view = cx.input(node, 0);
    let Some(output) = cx.graph.node(node).output(0) else { return Ok(Lowered::Done) };
    let (_, dims) = cx.sizes(output);
    let reshaped = match view.reshaped(&dims) {
        Some(reshaped) => reshaped,
        None => {
            let dense = cx.dense(view);
            let wrong = || SpecError { reason: format!("{:?} does not reshape to {dims:?}", dense.dims()) };
            dense.reshaped(&dims).ok_or_else(wrong)?
        }
    };
    cx.set(output, reshaped);
    Ok(Lowered::Done)
}

fn transpose(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let view = cx.input(node, 0);
    let rank = view.dims().len();
    let reversed = || (0..rank).rev().collect::<Vec<_>>();
    let given = cx.graph.node(node).attrs.ints("perm");
    let perm = given.map(|p| p.iter().map(|x| usize::try_from(*x).unwrap_or(usize::MAX)).collect());
    let perm: Vec<usize> = perm.unwrap_or_else(reversed);
    if perm.len() != rank || (0..rank).any(|axis| !perm.contains(&axis)) {
        return Ok(Lowered::Declined("perm is not a permutation".into()));
    }
    cx.set_output(node, 0, view.permuted(&perm));
    Ok(Lowered::Done)
}

fn expand(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let view = cx.input(node, 0);
    let Some(output) = cx.graph.node(node).output(0) else { return Ok(Lowered::Done) };
    let (_, dims) = cx.sizes(output);
    match view.broadcast(&dims) {
        Some(broadcast) => cx.set(output, broadcast),
        None => return Ok(Lowered::Declined("the shapes do not broadcast".into())),
    }
    Ok(Lowered::Done)
}

/// One element, seen everywhere.
fn constant_of_shape(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let Some(output) = cx.graph.node(node).output(0) else { return Ok(Lowered::Done) };
    let (dtype, dims) = cx.sizes(output);
    let value = match cx.graph.node(node).attrs.tensor("value") {
        Some(value) => value.reshaped(vec![]),
        None => Ok(Tensor::scalar(0f32)),
    };
    match value.ok().filter(|value| value.dtype() == dtype && dtype.bits() >= 8) {
        Some(value) => {
            let view = cx.constant_view(&value);
            cx.set(output, view.broadcast(&dims).expect("a scalar broadcasts"));
            Ok(Lowered::Done)
        }
        None => Ok(Lowered::Declined(format!("no kernel fills {dtype}"))),
    }
}

/// Every axis walked as often as it repeats: a view where all axes that repeat have one element, else a copy.
fn tile(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let view = cx.input(node, 0);
    let Some(output) = cx.graph.node(node).output(0) else { return Ok(Lowered::Done) };
    let (_, dims) = cx.sizes(output);
    if dims.len() != view.dims().len() || !matches!(view.element_size(), 1 | 2 | 4 | 8) {
        return Ok(Lowered::Declined(format!("no kernel tiles {}", view.dtype)));
    }
    let repeats = |at: usize| dims[at].checked_div(view.dims()[at]).unwrap_or(0);
    if (0..dims.len()).all(|at| repeats(at) == 1 || view.dims()[at] == 1) {
        cx.set(output, view.broadcast(&dims).expect("axes of one element broadcast"));
        return Ok(Lowered::Done);
    }
    let mut layout = Layout { dims: Vec::new(), strides: Vec::new(), offset: view.layout.offset };
    for (at, (size, stride)) in view.layout.dims.iter().zip(&view.layout.strides).enumerate() {
        layout.dims.extend([repeats(at), *size]);
        layout.strides.extend([0, *stride]);
    }
    let order: Vec<usize> = (0..layout.dims.len()).collect();
    let tiled = cx.copied(&view.with_layout(layout), &order);
    cx.set(output, tiled.reshaped(&dims).expect("a dense copy reshapes"));
    Ok(Lowered::Done)
}

fn depth_to_space(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let attrs = &cx.graph.node(node).attrs;
    let is_crd = attrs.str("mode") == Some("CRD");
    let block = usize::try_from(attrs.int_or("blocksize", 1)).unwrap_or(1).max(1);
    let view = cx.input(node, 0);
    let &[n, c, h, w] = view.dims() else { return Ok(Lowered::Declined("four axes are needed".into())) };
    let depth = c / block / block;
    let (split, order) = match is_crd {
        true => ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3]),
        false => ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2]),
    };
    regroup(cx, node, &view, &split, &order)
}

fn space_to_depth(cx: &mut Lower<'_>, node: NodeId) -> Result {
    let block = usize::try_from(cx.graph.node(node).attrs.int_or("blocksize", 1)).unwrap_or(1).max(1);
    let view = cx.input(node, 0);
    let &[n, c, h, w] = view.dims() else { return Ok(Lowered::Declined("four axes are needed".into())) };
    let is_crd = cx.graph.node(node).attrs.str("mode") == Some("CRD");
    let order = if is_crd { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    regroup(cx, node, &view, &[n, c, h / block, block, w / block, block], &order)
}

/// Splits axes, permutes them and merges them into the output's.
fn regroup(cx: &mut Lower<'_>, node: NodeId, view: &View, split: &[usize], order: &[usize]) -> Result {
    let Some(output) = cx.graph.node(node).output(0) else { return Ok(Lowered::Done) };
    let (_, dims) = cx.sizes(output);
    let Some(parts) = view.reshaped(split) else {
        return Ok(Lowered::Declined(
            "axes that the block does not divide, or that strides do not split".into(),
        ));
    };
    let permuted = parts.permuted(order);
    let dense = cx.dense(permuted);
    match dense.reshaped(&dims) {
        Some(merged) => cx.set(output, merged),
        None => return Ok(Lowered::Declined("the block does not divide the axes".into())),
    }
    Ok(Lowered::Done)
}

/// Axis of an attribute, counted from the front.
pub(super) fn axis(value: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if value < 0 { value + rank } else { value };
    (0..rank).contains(&axis).then(|| usize::try_from(axis).ok()).flatten()
}

fn split(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let view = cx.input(id, 0);
    let node = cx.graph.node(id);
    let Some(axis) = axis(node.attrs.int_or("axis", 0), view.dims().len()) else {
        return Ok(Lowered::Declined("axis out of range".into()));
    };
    // Typing has turned explicit sizes and num_outputs alike into output shapes; unused outputs may lack one.
    let Some(sizes) = split_sizes(cx, id, axis, view.dims()[axis]) else {
        return Ok(Lowered::Declined("the split sizes depend on data".into()));
    };
    let mut start = 0;
    for (index, size) in sizes.into_iter().enumerate() {
        cx.set_output(id, index, view.narrowed(axis, start, size, 1));
        start += size;
    }
    Ok(Lowered::Done)
}

fn split_sizes(cx: &Lower<'_>, id: NodeId, axis: usize, total: usize) -> Option<Vec<usize>> {
    let node = cx.graph.node(id);
    if let Some(value) = node.input(1) {
        let sizes: Option<Vec<usize>> =
            cx.constant(value)?.integers()?.into_iter().map(|s| usize::try_from(s).ok()).collect();
        return sizes.filter(|s| s.iter().try_fold(0usize, |sum, s| sum.checked_add(*s)) == Some(total));
    }
    let count = node.outputs.len().max(1);
    let first = match node.output(0) {
        Some(value) => *cx.sizes(value).1.get(axis)?,
        None => total.div_ceil(count),
    };
    Some((0..count).map(|i| first.min(total.saturating_sub(first * i))).collect())
}

fn slice(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let mut view = cx.input(id, 0);
    let rank = view.dims().len();
    let node = cx.graph.node(id);
    let list = |index: usize| node.input(index).map(|v| cx.constant(v).and_then(Tensor::integers));
    let (Some(Some(starts)), Some(Some(ends))) = (list(1), list(2)) else {
        return Ok(Lowered::Declined("the bounds depend on data".into()));
    };
    let all: Vec<i64> = (0..i64::try_from(starts.len()).unwrap_or(0)).collect();
    let (axes, steps) = (list(3).unwrap_or(Some(all)), list(4).unwrap_or(Some(vec![1; starts.len()])));
    let (Some(axes), Some(steps)) = (axes, steps) else {
        return Ok(Lowered::Declined("axes or steps depend on data".into()));
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Ok(Lowered::Declined("bounds, axes and steps differ in length".into()));
    }
    for (((start, end), at), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let Some(at) = axis(at, rank).filter(|_| step != 0) else {
            return Ok(Lowered::Declined("axis or step out of range".into()));
        };
        let (first, count) = slice_range(start, end, step, view.dims()[at]);
        view = view.narrowed(at, first, count, isize::try_from(step).unwrap_or(1));
    }
    cx.set_output(id, 0, view);
    Ok(Lowered::Done)
}

/// First index and number of elements of an ONNX slice over a dim (Slice-13: negative bounds count from the back,
/// out-of-range bounds are clamped).
fn slice_range(start: i64, end: i64, step: i64, size: usize) -> (usize, usize) {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let wrap = |x: i64| if x < 0 { x.saturating_add(size) } else { x };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let start = wrap(start).clamp(low.max(0), high.max(0));
    let end = if end == i64::MIN { low } else { wrap(end).clamp(low, high) };
    let distance = if step > 0 { end - start } else { start - end };
    let count = if distance <= 0 { 0 } else { (distance - 1) / step.saturating_abs() + 1 };
    (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0))
}

fn concat(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id).clone();
    let Some(output) = node.output(0) else { return Ok(Lowered::Done) };
    let (dtype, dims) = cx.sizes(output);
    let Some(axis) = axis(node.attrs.int_or("axis", 0), dims.len()) else {
        return Ok(Lowered::Declined("axis out of range".into()));
    };
    let views: Vec<View> = (0..node.inputs.len()).map(|index| cx.input(id, index)).collect();
    // Channels-last images stay channels-last.
    let order = memory_order(&views[0].layout).unwrap_or_else(|| (0..dims.len()).collect());
    let target = cx.allocate_in(dtype, &dims, &order);
    let (isa, sources, to) = (cx.isa, views.clone(), target.clone());
    let reads: Vec<&View> = views.iter().collect();
    cx.push(&reads, &[&target], None, move |spans| {
        let mut start = 0;
        let parts = sources.iter().map(|source| {
            let count = source.dims()[axis];
            let part = to.narrowed(axis, start, count, 1);
            start += count;
            CopyPart { source: spans.operand(source), from: source.layout.clone(), to: part.layout }
        });
        let parts: Vec<CopyPart> = parts.collect();
        let spec = CopySpec { element_size: to.element_size(), target: spans.tail(&to)?, parts };
        Ok(Box::new(CopyStep::new(spec, isa)?))
    });
    cx.set_output(id, 0, target);
    Ok(Lowered::Done)
}

/// The kernels' name for an element type that they know.
pub(super) fn element(dtype: DType) -> Option<Element> {
    Some(match dtype {
        DType::F32 => Element::F32,
        DType::F64 => Element::F64,
        DType::F16 => Element::F16,
        DType::BF16 => Element::Bf16,
        DType::I8 => Element::I8,
        DType::I16 => Element::I16,
        DType::I32 => Element::I32,
        DType::I64 => Element::I64,
        DType::U8 => Element::U8,
        DType::U16 => Element::U16,
        DType::U32 => Element::U32,
        DType::U64 => Element::U64,
        DType::Bool => Element::Bool,
        _ => return None,
    })
}

fn cast(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let view = cx.input(id, 0);
    let Some(output) = cx.graph.node(id).output(0) else { return Ok(Lowered::Done) };
    let (to, _) = cx.sizes(output);
    if to == view.dtype {
        cx.set(output, view);
        return Ok(Lowered::Done);
    }
    let (Some(from), Some(into)) = (element(view.dtype), element(to)) else {
        return Ok(Lowered::Declined(format!("no kernel casts {} to {to}", view.dtype)));
    };
    // A cast keeps the physical order of any gapless layout; others are made dense first.
    let order = memory_order(&view.layout);
    let view = if order.is_some() && view.layout.offset == 0 { view } else { cx.dense(view) };
    let order = order.unwrap_or_else(|| (0..view.dims().len()).collect());
    let target = cx.allocate_in(to, view.dims(), &order);
    let (source, sink, count) = (view.clone(), target.clone(), view.len());
    cx.push(&[&view], &[&target], None, move |spans| {
        let (source, target) = (spans.operand(&source), spans.tail(&sink)?);
        Ok(Box::new(CastStep::new(CastSpec { from, to: into, count, source, target })?))
    });
    cx.set(output, target);
    Ok(Lowered::Done)
}

/// The order of dims in memory, outermost first, when the layout has no gaps; `None` otherwise.
pub(super) fn memory_order(layout: &Layout) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..layout.dims.len()).collect();
    order.sort_by_key(|axis| std::cmp::Reverse((layout.strides[*axis], layout.dims[*axis])));
    let dims: Vec<usize> = order.iter().map(|axis| layout.dims[*axis]).collect();
    let dense = Layout::contiguous(&dims);
    let fits = |(position, axis): (usize, &usize)| {
        layout.dims[*axis] <= 1 || layout.strides[*axis] == dense.strides[position]
    };
    order.iter().enumerate().all(fits).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_clamp_as_onnx_says() {
        assert_eq!(slice_range(1, i64::MAX, 1, 5), (1, 4));
        assert_eq!(slice_range(-3, -1, 1, 5), (2, 2));
        assert_eq!(slice_range(-1, i64::MIN, -1, 5), (4, 5));
        assert_eq!(slice_range(-1, -6, -2, 5), (4, 3));
        assert_eq!(slice_range(9, 3, 1, 5), (5, 0));
        assert_eq!(slice_range(0, 5, 1, 0), (0, 0));
    }

    #[test]
    fn memory_order_sees_channels_last() {
        let nhwc = Layout { dims: vec![2, 3, 4, 5], strides: vec![60, 1, 15, 3], offset: 0 };
        assert_eq!(memory_order(&nhwc), Some(vec![0, 2, 3, 1]));
        let gaps = Layout { dims: vec![2, 3], strides: vec![4, 1], offset: 0 };
        assert_eq!(memory_order(&gaps), None);
        assert_eq!(memory_order(&Layout::contiguous(&[2, 1, 3])), Some(vec![0, 1, 2]));
    }
}
