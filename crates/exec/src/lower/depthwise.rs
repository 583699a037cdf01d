//! Depthwise convolutions, in the layout that the image lies in.

use super::conv::Site;
use super::gemm::activation;
use super::pool::{image, order};
use super::{Lower, Lowered};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor};
use fusebox_kernels::depthwise::{
    DepthwiseSpec, DepthwiseStep, DepthwiseWeights, ImageLayout, ResidualOrder, Window,
};
use fusebox_kernels::{Operand, SpecError};
use std::sync::Arc;

/// Whether every channel has one filter of its own.
pub(super) fn applies(weight: &Tensor, channels: usize, groups: usize) -> bool {
    groups == channels && weight.dtype() == DType::F32 && weight.shape()[..2] == [channels, 1]
}

/// Lowers a depthwise convolution.
pub(super) fn convolve(
    cx: &mut Lower<'_>,
    id: NodeId,
    site: &Site,
    (weight, bias): (&Tensor, Option<&[f32]>),
    windows: &[Window],
) -> Result<Lowered, SpecError> {
    let (height, width) = match windows {
        [width] => (Window::NONE, *width),
        [height, width] => (*height, *width),
        _ => return Ok(Lowered::Declined("depthwise kernels take one or two dimensions".into())),
    };
    let input = cx.input(id, 0);
    let (input, layout) = image(cx, input);
    let output = cx.graph.node(id).output(0).expect("the caller checked that the output is used");
    let (_, dims) = cx.sizes(output);
    let bias_tensor = site.bias.and_then(|value| cx.constant(value));
    let weights = pack(cx, weight, (bias, bias_tensor), dims[1], layout)?;
    let memory = order(layout, dims.len());
    let target = cx.allocate_in(DType::F32, &dims, &memory);
    let residual = match site.residual.map(|value| cx.view(value).broadcast(&dims)) {
        Some(None) => return Ok(Lowered::Declined("the residual does not broadcast".into())),
        Some(Some(view)) => Some(gapless(cx, view, &memory)),
        None => None,
    };
    let residual_order = if site.epilogue.residual_first {
        ResidualOrder::BeforeActivation
    } else {
        ResidualOrder::AfterActivation
    };
    let activation = activation(site.epilogue.activation);
    let reads: Vec<View> = std::iter::once(input.clone()).chain(residual.clone()).collect();
    let (isa, batch, sink) = (cx.isa, dims[0], target.clone());
    cx.push(&reads.iter().collect::<Vec<_>>(), &[&target], None, move |spans| {
        let operand = |view: &View| match view.buffer() {
            Some(_) => spans.tail(view).map(Operand::Arena),
            None => Ok(spans.operand(view)),
        };
        let residual = residual.as_ref().map(|view| Ok::<_, SpecError>((operand(view)?, residual_order)));
        let (input, residual, output) = (operand(&input)?, residual.transpose()?, spans.tail(&sink)?);
        let spec = DepthwiseSpec { batch, height, width, weights, input, residual, activation, output };
        Ok(Box::new(DepthwiseStep::new(spec, isa)?))
    });
    cx.set(output, target);
    Ok(Lowered::Done)
}

/// The view itself when it lies gapless in the given order, else a copy.
fn gapless(cx: &mut Lower<'_>, view: View, memory: &[usize]) -> View {
    let fits = view.layout.offset == 0 && view.permuted(memory).is_dense();
    if fits { view } else { cx.copied(&view, memory) }
}

fn pack(
    cx: &Lower<'_>,
    weight: &Tensor,
    (bias, owner): (Option<&[f32]>, Option<&Tensor>),
    channels: usize,
    layout: ImageLayout,
) -> Result<Arc<DepthwiseWeights>, SpecError> {
    // The bias is packed with the filters, so two convolutions that share filters but not the bias must not share.
    // The model keeps its constants alive, so their address names them.
    let bias_place = owner.map_or(0, |tensor| tensor.data().as_ptr() as usize);
    cx.weights.get(weight, &format!("depthwise.{layout:?}.{channels}.{bias_place}"), |weight| {
        let values = weight.elements::<f32>().map_err(|e| SpecError { reason: e.to_string() })?;
        DepthwiseWeights::pack(&values, bias, channels, layout)
    })
}
