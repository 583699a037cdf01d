//! Convolutions over volumes, as convolutions over images: the slices along the kernel's depth become channels.
//!
//! One copy lays them beside each other, then batch times output depth images of depth times channels go through the
//! convolution kernel. Refuses groups: their slices would have to be laid out group by group.

use super::conv::{Site, channels_last, geometry, push};
use super::{Lower, Lowered};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor};
use fusebox_kernels::conv::{ConvSpec, ImageLayout, PackedConv};
use fusebox_kernels::copy::{CopySpec, CopyStep, PadMode};
use fusebox_kernels::pool::Window;
use fusebox_kernels::{Layout, Span, SpecError};
use std::sync::Arc;

type Result<T = Lowered> = std::result::Result<T, SpecError>;

/// Convolves the node's input, of batch, channels and three spatial dims, with packed weights and constant bias.
pub(super) fn convolve(
    cx: &mut Lower<'_>,
    id: NodeId,
    site: &Site,
    (weights, bias): (Arc<PackedConv>, Option<Arc<[f32]>>),
    spatial: &[Window],
) -> Result {
    let unfit = || Lowered::Declined("kernel, strides, pads or dilations do not fit the volume".into());
    let [depth, plane @ ..] = spatial else { return Ok(unfit()) };
    let Some(geometry) = geometry(plane) else { return Ok(unfit()) };
    let input = cx.input(id, 0);
    let source = padded(cx, input, depth)?;
    let Some((input, pixel_stride)) = slices(cx, &source, depth) else { return Ok(unfit()) };
    let nowhere = Span { offset: 0, len: 0 };
    let mut spec = ConvSpec::new(input.dims()[0], geometry, nowhere, weights, nowhere);
    spec.input_layout = ImageLayout::Nhwc { pixel_stride };
    spec.epilogue.bias = bias;
    spec.epilogue.activation = super::gemm::activation(site.epilogue.activation);
    spec.force = cx.isa;
    let output = cx.graph.node(id).output(0).expect("the caller checked that the output is used");
    let (_, dims) = cx.sizes(output);
    push(cx, id, spec, input, site, &dims)
}

/// The input with channels last and zeros around its depth.
fn padded(cx: &mut Lower<'_>, input: View, depth: &Window) -> Result<View> {
    let order = channels_last(5);
    let input = cx.in_arena(input);
    if depth.pad_begin == 0 && depth.pad_end == 0 {
        return Ok(input.permuted(&order));
    }
    let stored = input.permuted(&order);
    let stored = if stored.is_dense() && stored.layout.offset == 0 {
        stored
    } else {
        cx.copied(&input, &order).permuted(&order)
    };
    let mut dims = stored.dims().to_vec();
    dims[1] += depth.pad_begin + depth.pad_end;
    let zero = Tensor::from_bytes(DType::F32, vec![], vec![0; 4].into());
    let zero = cx.constant_view(&zero.map_err(|e| SpecError { reason: e.to_string() })?);
    let target = cx.allocate(DType::F32, &dims);
    let amount = |n: usize| isize::try_from(n).unwrap_or(isize::MAX);
    let (before, after) = ([0, amount(depth.pad_begin), 0, 0, 0], [0, amount(depth.pad_end), 0, 0, 0]);
    let (isa, from, to) = (cx.isa, stored.clone(), target.clone());
    cx.push(&[&stored], &[&target], None, move |spans| {
        let (source, fill, target) = (spans.operand(&from), spans.operand(&zero), spans.tail(&to)?);
        let mode = PadMode::Constant(fill);
        let spec = CopySpec::pad(4, source, from.dims(), &before, &after, &mode, target)?;
        Ok(Box::new(CopyStep::new(spec, isa)?))
    });
    Ok(target)
}

/// From batch, depth, height, width, channels to one image per batch and output depth, of pixels that hold the slices
/// under the kernel; with the elements from one pixel to the next.
fn slices(cx: &mut Lower<'_>, source: &View, depth: &Window) -> Option<(View, usize)> {
    let ([n, d, h, w, c], [sn, sd, sh, sw, sc]) = (source.dims(), source.layout.strides.as_slice()) else {
        return None;
    };
    let reach = (depth.kernel - 1) * depth.dilation + 1;
    if depth.output.checked_sub(1)? * depth.stride + reach > *d {
        return None;
    }
    let step = |count: usize| sd.checked_mul(isize::try_from(count).ok()?);
    let layout = Layout {
        dims: vec![*n, depth.output, *h, *w, depth.kernel, *c],
        strides: vec![*sn, step(depth.stride)?, *sh, *sw, step(depth.dilation)?, *sc],
        offset: source.layout.offset,
    };
    let view = source.with_layout(layout);
    let image = [n * depth.output, *h, *w, depth.kernel * c];
    if let Some(flat) = view.reshaped(&image)
        && let Some((.., stride)) = flat.rows()
    {
        return Some((flat, stride));
    }
    let copied = cx.copied(&view, &[0, 1, 2, 3, 4, 5]).reshaped(&image)?;
    Some((copied, image[3]))
}

/// Weights of output channels, channels, depth, height and width with the depth before the channels.
pub(super) fn depth_first<T: Copy>(weights: &[T], [o, c, d, h, w]: [usize; 5]) -> Vec<T> {
    let plane = h * w;
    let mut found = Vec::with_capacity(weights.len());
    for output in 0..o {
        for depth in 0..d {
            for channel in 0..c {
                let at = ((output * c + channel) * d + depth) * plane;
                found.extend_from_slice(&weights[at..at + plane]);
            }
        }
    }
    found
}
