//! Transposed convolution: one GEMM from pixels to windows, then windows added back to the image.

use super::gemm::{floats, refused};
use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor};
use fusebox_kernels::gemm::{GemmSpec, PackedB, Precision, Rhs, Source};
use fusebox_kernels::spread::{SpreadSpec, SpreadStep};
use fusebox_kernels::window::Window;
use fusebox_kernels::{Span, SpecError};
use std::sync::Arc;

pub(super) static ROWS: &[Row] = &[Row::onnx("ConvTranspose", transposed)];

type Result<T = Lowered> = std::result::Result<T, SpecError>;

const NOWHERE: Span = Span { offset: 0, len: 0 };

fn transposed(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let x = cx.input(id, 0);
    let node = cx.graph.node(id);
    let Some(output) = node.output(0) else { return Ok(Lowered::Done) };
    let (_, dims) = cx.sizes(output);
    let weights = node.input(1).and_then(|value| cx.constant(value)).filter(|t| t.dtype() == DType::F32);
    let Some(weights) = weights.filter(|_| x.dtype == DType::F32 && node.attrs.int_or("group", 1) == 1)
    else {
        return Ok(Lowered::Declined("groups, weights computed at run time, or not f32".into()));
    };
    if !(3..=4).contains(&x.dims().len()) || x.is_empty() || weights.is_empty() || dims.contains(&0) {
        return Ok(Lowered::Declined("images of one or two dimensions only, and none that is empty".into()));
    }
    let bias = match node.input(2) {
        None => None,
        Some(value) => match cx.constant(value).and_then(floats) {
            Some(bias) => Some(bias),
            None => return Ok(Lowered::Declined("the bias is computed at run time".into())),
        },
    };
    let Some((height, width)) = windows(cx, id, x.dims(), weights.shape()) else {
        return Ok(Lowered::Declined("its attributes do not fit its operands".into()));
    };
    let (batch, channels) = (dims[0], dims[1]);
    let columns = products(cx, &x, weights)?;
    let order: Vec<usize> = std::iter::once(0).chain(2..dims.len()).chain([1]).collect();
    let target = cx.allocate_in(DType::F32, &dims, &order);
    let (isa, sink) = (cx.isa, target.clone());
    cx.push(&[&columns.clone()], &[&target], None, move |spans| {
        let (columns, output) = (spans.operand(&columns), spans.tail(&sink)?);
        let spec = SpreadSpec { batch, channels, height, width, columns, bias, output };
        Ok(Box::new(SpreadStep::new(spec, isa)?))
    });
    cx.set(output, target);
    Ok(Lowered::Done)
}

/// Windows down and across; an image of one dimension has one row.
fn windows(cx: &Lower<'_>, id: NodeId, data: &[usize], weights: &[usize]) -> Option<(Window, Window)> {
    let axes = fusebox_ops::transposed_axes(&cx.graph.node(id).attrs, data, weights).ok()?;
    let window = |axis: &fusebox_ops::window::Axis| {
        let size = |value: i64| usize::try_from(value).ok();
        Some(Window {
            input: size(axis.input)?,
            output: size(axis.output)?,
            kernel: size(axis.kernel)?,
            stride: size(axis.stride)?,
            dilation: size(axis.dilation)?,
            pad_begin: size(axis.begin)?,
            pad_end: 0,
        })
    };
    match axes.as_slice() {
        [across] => Some((Window::NONE, window(across)?)),
        [down, across] => Some((window(down)?, window(across)?)),
        _ => None,
    }
}

/// The window that each pixel spreads over: `[pixels, taps, channels]`.
fn products(cx: &mut Lower<'_>, x: &View, weights: &Tensor) -> Result<View> {
    let order: Vec<usize> = std::iter::once(0).chain(2..x.dims().len()).chain([1]).collect();
    let pixels = x.permuted(&order);
    let pixels = if pixels.rows().is_some() { pixels } else { cx.dense(pixels) };
    let pixels = cx.in_arena(pixels);
    let (m, k, row_stride) = pixels.rows().expect("a dense view has rows");
    let channels = weights.shape()[1];
    let taps: usize = weights.shape()[2..].iter().product();
    let n = taps * channels;
    let packed: Arc<PackedB> = cx.weights.get(weights, &format!("spread.{k}x{n}.{taps}"), |tensor| {
        let values = tensor.elements::<f32>().map_err(|e| SpecError { reason: e.to_string() })?;
        let turned: Vec<f32> = values
            .chunks_exact(n)
            .flat_map(|row| (0..n).map(|at| row[at % channels * taps + at / channels]))
            .collect();
        PackedB::pack(Precision::F32, k, n, Source::F32(&turned), false).map_err(|e| refused(&e))
    })?;
    let mut spec = GemmSpec::new(m, n, k, NOWHERE, Rhs::Packed(packed), NOWHERE);
    spec.a.row_stride = row_stride;
    spec.force = cx.isa;
    let bytes = spec.scratch_bytes();
    let scratch = (bytes > 0).then(|| cx.buffer(bytes));
    let target = cx.allocate(DType::F32, &[m, n]);
    let sink = target.clone();
    cx.push(&[&pixels.clone()], &[&target], scratch, move |spans| {
        spec.a.span = spans.tail(&pixels)?;
        spec.c.span = spans.tail(&sink)?;
        spec.scratch = scratch.map(|id| spans.of(id));
        Ok(Box::new(spec.build().map_err(|e| refused(&e))?))
    });
    Ok(target)
}
