//! Convolutions: gathered into the GEMM driver, channels last; results stay channels last behind their ONNX shape.

use super::gemm::{activation, floats};
use super::pool::windows;
use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor, ValueId};
use fusebox_kernels::conv::{ConvSpec, DepthOrder, Geometry, ImageLayout, PackedConv};
use fusebox_kernels::gemm::{Precision, Residual, ResidualOrder, Source};
use fusebox_kernels::pool::Window;
use fusebox_kernels::{Span, SpecError};
use fusebox_ops::fused::Epilogue;
use std::borrow::Cow;
use std::sync::Arc;

pub(super) static ROWS: &[Row] = &[Row::fusebox("Conv", fused), Row::onnx("Conv", plain)];

/// Channels up to which an image is gathered as it arrives, planes and all: copying it first would cost as much.
const FEW_CHANNELS: usize = 4;

type Result<T = Lowered> = std::result::Result<T, SpecError>;

/// Operands and tail of a convolution, plain or fused.
pub(super) struct Site {
    /// One value per output channel.
    pub(super) bias: Option<ValueId>,
    /// Added elementwise.
    pub(super) residual: Option<ValueId>,
    /// What follows the product.
    pub(super) epilogue: Epilogue,
}

fn fused(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id);
    let Ok(epilogue) = Epilogue::from_attrs(&node.attrs, true) else {
        return Ok(Lowered::Declined("unknown activation".into()));
    };
    if node.input(2).is_some() {
        return Ok(Lowered::Declined("int8 convolutions have no kernel".into()));
    }
    let site = Site { bias: node.input(3), residual: node.input(4), epilogue };
    convolve(cx, id, &site)
}

fn plain(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let site = Site { bias: cx.graph.node(id).input(2), residual: None, epilogue: Epilogue::default() };
    convolve(cx, id, &site)
}

fn convolve(cx: &mut Lower<'_>, id: NodeId, site: &Site) -> Result {
    let node = cx.graph.node(id);
    let Some(output) = node.output(0) else { return Ok(Lowered::Done) };
    let input = cx.input(id, 0);
    let (_, dims) = cx.sizes(output);
    let rank = dims.len();
    if input.dtype != DType::F32 || !(3..=5).contains(&rank) || input.is_empty() || dims.contains(&0) {
        return Ok(Lowered::Declined(
            "convolution kernels take f32 images of one to three dimensions".into(),
        ));
    }
    let Some(weight) = node.input(1).and_then(|w| cx.constant(w)) else {
        return Ok(Lowered::Declined("the weights are computed at run time".into()));
    };
    let bias = match site.bias.map(|b| cx.constant(b).and_then(floats)) {
        Some(None) => return Ok(Lowered::Declined("the bias is computed at run time".into())),
        Some(Some(values)) => Some(values),
        None => None,
    };
    let groups = usize::try_from(node.attrs.int_or("group", 1)).unwrap_or(0);
    let spatial = windows(&node.attrs, &input.dims()[2..], &dims[2..], &weight.shape()[2..]);
    let unfit = || Lowered::Declined("kernel, strides, pads or dilations do not fit the image".into());
    let Some(spatial) = spatial else { return Ok(unfit()) };
    if rank == 5 {
        if groups != 1 {
            return Ok(Lowered::Declined("volumes in groups have no kernel".into()));
        }
        let Some(weights) = pack(cx, weight, 1, ImageLayout::Nhwc { pixel_stride: 0 })? else {
            return Ok(Lowered::Declined(format!("weights of {} have no kernel", weight.dtype())));
        };
        return super::volume::convolve(cx, id, site, (weights, bias), &spatial);
    }
    let Some(geometry) = geometry(&spatial) else { return Ok(unfit()) };
    if super::depthwise::applies(weight, input.dims()[1], groups) {
        return super::depthwise::convolve(cx, id, site, (weight, bias.as_deref()), &spatial);
    }
    let (input, layout) = image(cx, input);
    let Some(weights) = pack(cx, weight, groups, layout)? else {
        return Ok(Lowered::Declined(format!("weights of {} have no kernel", weight.dtype())));
    };
    let nowhere = Span { offset: 0, len: 0 };
    let mut spec = ConvSpec::new(dims[0], geometry, nowhere, weights, nowhere);
    spec.input_layout = layout;
    spec.epilogue.bias = bias;
    spec.epilogue.activation = activation(site.epilogue.activation);
    spec.force = cx.isa;
    push(cx, id, spec, input, site, &dims)
}

pub(super) fn push(
    cx: &mut Lower<'_>,
    id: NodeId,
    mut spec: ConvSpec,
    input: View,
    site: &Site,
    dims: &[usize],
) -> Result {
    let last = channels_last(dims.len());
    let target = cx.allocate_in(DType::F32, dims, &last);
    let residual = match site.residual {
        Some(value) => Some(pixels(cx, value, dims)?),
        None => None,
    };
    if let Some((_, row_stride)) = residual {
        let first = site.epilogue.residual_first;
        let order = if first { ResidualOrder::BeforeActivation } else { ResidualOrder::AfterActivation };
        spec.epilogue.residual = Some(Residual { span: spec.input, row_stride, order });
    }
    let bytes = spec.scratch_bytes();
    let scratch = (bytes > 0).then(|| cx.buffer(bytes));
    let residual = residual.map(|(view, _)| view);
    let reads: Vec<View> = std::iter::once(input.clone()).chain(residual.clone()).collect();
    let sink = target.clone();
    cx.push(&reads.iter().collect::<Vec<_>>(), &[&target], scratch, move |spans| {
        spec.input = spans.tail(&input)?;
        spec.output = spans.tail(&sink)?;
        if let (Some(slot), Some(view)) = (&mut spec.epilogue.residual, &residual) {
            slot.span = spans.tail(view)?;
        }
        spec.scratch = scratch.map(|id| spans.of(id));
        Ok(Box::new(spec.build().map_err(|e| SpecError { reason: e.to_string() })?))
    });
    cx.set_output(id, 0, target);
    Ok(Lowered::Done)
}

/// Memory order of a channels-last image batch.
pub(super) fn channels_last(rank: usize) -> Vec<usize> {
    std::iter::once(0).chain(2..rank).chain([1]).collect()
}

pub(super) fn geometry(windows: &[Window]) -> Option<Geometry> {
    let (height, width) = match windows {
        [width] => (Window::NONE, *width),
        [height, width] => (*height, *width),
        _ => return None,
    };
    let both = |f: fn(&Window) -> usize| [f(&height), f(&width)];
    let geometry = Geometry {
        input: both(|w| w.input),
        kernel: both(|w| w.kernel),
        strides: both(|w| w.stride),
        dilations: both(|w| w.dilation),
        pads_begin: both(|w| w.pad_begin),
        pads_end: both(|w| w.pad_end),
    };
    // Typing computed the output's size from the same attributes; a difference means that they do not fit.
    (geometry.output() == Some(both(|w| w.output))).then_some(geometry)
}

/// An image batch that the kernel can gather from: pixels of contiguous channels, or planes when there are few.
fn image(cx: &mut Lower<'_>, view: View) -> (View, ImageLayout) {
    let view = cx.in_arena(view);
    let rank = view.dims().len();
    let channels = view.dims()[1];
    if let Some((.., pixel_stride)) = view.permuted(&channels_last(rank)).rows() {
        return (view, ImageLayout::Nhwc { pixel_stride });
    }
    if channels <= FEW_CHANNELS && view.is_dense() {
        return (view, ImageLayout::Nchw);
    }
    let copied = cx.copied(&view, &channels_last(rank));
    (copied, ImageLayout::Nhwc { pixel_stride: channels })
}

/// A residual as pixels of contiguous channels, with the elements from one pixel to the next.
fn pixels(cx: &mut Lower<'_>, value: ValueId, dims: &[usize]) -> Result<(View, usize)> {
    let view = cx.view(value);
    let broadcast = view.broadcast(dims).ok_or_else(|| SpecError {
        reason: format!("a residual of {:?} does not broadcast to {dims:?}", view.dims()),
    })?;
    let last = channels_last(dims.len());
    let rows = broadcast.permuted(&last).rows().filter(|_| broadcast.buffer().is_some());
    match rows {
        Some((.., stride)) => Ok((broadcast, stride)),
        None => {
            let copied = cx.copied(&broadcast, &last);
            Ok((copied, dims[1]))
        }
    }
}

fn pack(
    cx: &Lower<'_>,
    weight: &Tensor,
    groups: usize,
    layout: ImageLayout,
) -> Result<Option<Arc<PackedConv>>> {
    let precision = match weight.dtype() {
        DType::F32 => Precision::F32,
        DType::F16 => Precision::F16,
        DType::BF16 => Precision::Bf16,
        _ => return Ok(None),
    };
    let shape = match weight.shape() {
        [o, i, w] => [*o, *i, 1, *w],
        [o, i, h, w] => [*o, *i, *h, *w],
        [o, i, d, h, w] => [*o, i * d, *h, *w],
        _ => return Ok(None),
    };
    let volume = <[usize; 5]>::try_from(weight.shape()).ok();
    let order = match layout {
        ImageLayout::Nhwc { .. } => DepthOrder::ChannelsLast,
        ImageLayout::Nchw => DepthOrder::ChannelsFirst,
    };
    let wrong = |e: fusebox_ir::tensor::TensorError| SpecError { reason: e.to_string() };
    let rank = weight.shape().len();
    let form = format!("conv{rank}.{precision}.{shape:?}.{groups}.{order:?}");
    let packed = cx.weights.get(weight, &form, |weight| {
        let pack = |source: Source<'_>| PackedConv::pack_in_order(precision, shape, groups, source, order);
        let packed = match precision {
            Precision::F16 => pack(Source::F16(&ordered(weight.elements().map_err(wrong)?, volume))),
            Precision::Bf16 => pack(Source::Bf16(&ordered(weight.elements().map_err(wrong)?, volume))),
            _ => pack(Source::F32(&ordered(weight.elements().map_err(wrong)?, volume))),
        };
        packed.map_err(|e| SpecError { reason: e.to_string() })
    });
    packed.map(Some)
}

/// Weights in the order that the kernel packs: those of volumes with the depth among the channels.
fn ordered<T: Copy>(weights: Cow<'_, [T]>, volume: Option<[usize; 5]>) -> Cow<'_, [T]> {
    match volume {
        Some(shape) => Cow::Owned(super::volume::depth_first(&weights, shape)),
        None => weights,
    }
}
