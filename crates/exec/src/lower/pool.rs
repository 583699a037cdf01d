//! Pooling over windows, channels first or last as the input lies in memory.

use super::movement::memory_order;
use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{Attrs, DType, NodeId};
use fusebox_kernels::SpecError;
use fusebox_kernels::pool::{ImageLayout, PoolKind, PoolSpec, PoolStep, Window};

pub(super) static ROWS: &[Row] = &[
    Row::onnx("AveragePool", |cx, id| {
        let count_include_pad = cx.graph.node(id).attrs.int_or("count_include_pad", 0) != 0;
        pool(cx, id, PoolKind::Average { count_include_pad })
    }),
    Row::onnx("MaxPool", |cx, id| pool(cx, id, PoolKind::Max)),
];

/// An image batch in one of the two layouts that kernels take, copied when it is in neither.
pub(super) fn image(cx: &mut Lower<'_>, view: View) -> (View, ImageLayout) {
    let rank = view.dims().len();
    let last: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
    let gapless = view.layout.offset == 0;
    if gapless && view.is_dense() {
        return (view, ImageLayout::Nchw);
    }
    if gapless && (view.permuted(&last).is_dense() || memory_order(&view.layout).is_some_and(|o| o == last)) {
        return (view, ImageLayout::Nhwc);
    }
    (cx.dense(view), ImageLayout::Nchw)
}

/// Memory order of an image batch, outermost first.
pub(super) fn order(layout: ImageLayout, rank: usize) -> Vec<usize> {
    match layout {
        ImageLayout::Nchw => (0..rank).collect(),
        ImageLayout::Nhwc => std::iter::once(0).chain(2..rank).chain([1]).collect(),
    }
}

/// Windows of all spatial axes. Automatic padding is resolved here (ONNX: SAME_UPPER, SAME_LOWER, VALID).
pub(super) fn windows(
    attrs: &Attrs,
    input: &[usize],
    output: &[usize],
    kernel: &[usize],
) -> Option<Vec<Window>> {
    let spatial = input.len();
    let list = |name: &str, default: usize| -> Option<Vec<usize>> {
        match attrs.ints(name) {
            Some(values) => values.iter().map(|v| usize::try_from(*v).ok()).collect(),
            None => Some(vec![default; spatial]),
        }
    };
    let (strides, dilations) = (list("strides", 1)?, list("dilations", 1)?);
    let pads = match attrs.ints("pads") {
        Some(values) => values.iter().map(|v| usize::try_from(*v).ok()).collect::<Option<Vec<_>>>()?,
        None => vec![0; 2 * spatial],
    };
    if [strides.len(), dilations.len(), kernel.len(), output.len()] != [spatial; 4]
        || pads.len() != 2 * spatial
    {
        return None;
    }
    let window = |axis: usize| {
        let reach = (kernel[axis].checked_sub(1)?).checked_mul(dilations[axis])?.checked_add(1)?;
        let needed = (output[axis].max(1) - 1).checked_mul(strides[axis])?.checked_add(reach)?;
        let total = needed.saturating_sub(input[axis]);
        let (pad_begin, pad_end) = match attrs.str("auto_pad") {
            Some("SAME_UPPER") => (total / 2, total - total / 2),
            Some("SAME_LOWER") => (total - total / 2, total / 2),
            Some("VALID") => (0, 0),
            _ => (pads[axis], pads[axis + spatial]),
        };
        let (stride, dilation) = (strides[axis], dilations[axis]);
        let (input, output, kernel) = (input[axis], output[axis], kernel[axis]);
        Some(Window { input, output, kernel, stride, dilation, pad_begin, pad_end })
    };
    (0..spatial).map(window).collect()
}

fn pool(cx: &mut Lower<'_>, id: NodeId, kind: PoolKind) -> Result<Lowered, SpecError> {
    let view = cx.input(id, 0);
    let node = cx.graph.node(id);
    let rank = view.dims().len();
    if node.output(1).is_some() {
        return Ok(Lowered::Declined("the indices output has no kernel".into()));
    }
    if view.dtype != DType::F32 || !(3..=4).contains(&rank) || view.is_empty() {
        return Ok(Lowered::Declined("pooling kernels take f32 images of one or two dimensions".into()));
    }
    let Some(output) = node.output(0) else { return Ok(Lowered::Done) };
    let (_, dims) = cx.sizes(output);
    let kernel: Option<Vec<usize>> =
        node.attrs.ints("kernel_shape").unwrap_or(&[]).iter().map(|k| usize::try_from(*k).ok()).collect();
    let windows = kernel.and_then(|kernel| windows(&node.attrs, &view.dims()[2..], &dims[2..], &kernel));
    let Some(windows) = windows else {
        return Ok(Lowered::Declined("kernel, strides, pads or dilations do not fit the image".into()));
    };
    let (view, layout) = image(cx, view);
    let target = cx.allocate_in(DType::F32, &dims, &order(layout, rank));
    let (width, height) = match windows.as_slice() {
        [width] => (*width, Window::NONE),
        [height, width] => (*width, *height),
        _ => return Ok(Lowered::Declined("pooling kernels take one or two dimensions".into())),
    };
    let (isa, source, sink, batch, channels) = (cx.isa, view.clone(), target.clone(), dims[0], dims[1]);
    cx.push(&[&view], &[&target], None, move |spans| {
        let (input, output) = (spans.operand(&source), spans.tail(&sink)?);
        let spec = PoolSpec { kind, layout, batch, channels, height, width, input, output };
        Ok(Box::new(PoolStep::new(spec, isa)?))
    });
    cx.set(output, target);
    Ok(Lowered::Done)
}
