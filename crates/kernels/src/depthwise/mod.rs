//! Depthwise convolution: every channel its own filter, bias, residual and activation fused.
//!
//! Contract: f32, contiguous images in NHWC or NCHW, explicit output extents, zero padding. Weights come as ONNX has
//! them, `[C, 1, kh, kw]`, and are packed once per layout. Dense and grouped convolutions are the `conv` family's.

mod portable;
mod reference;
#[cfg(test)]
mod tests;

pub use crate::gemm::ResidualOrder;
pub use crate::window::{ImageLayout, Window};

use crate::arena::{Memory, Span};
use crate::isa::{Isa, Kernel, Method, VECTOR_KERNELS, select};
use crate::layout::Layout;
use crate::math::Activation;
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use std::sync::Arc;

/// Best first.
pub static KERNELS: &[Kernel<Method>] = VECTOR_KERNELS;

/// Multiply-adds of one tile, about.
const TILE: usize = 64 << 10;

/// Filters in the order a layout reads them.
#[derive(Clone, Debug)]
pub struct DepthwiseWeights {
    layout: ImageLayout,
    channels: usize,
    taps: usize,
    /// NHWC: `[taps][channels]`; NCHW: `[channels][taps]`.
    values: Vec<f32>,
    bias: Vec<f32>,
}

impl DepthwiseWeights {
    /// Packs filters `[channels, taps]` and a bias per channel (zero where absent).
    ///
    /// # Errors
    /// Lengths that do not fit the channels.
    pub fn pack(
        weights: &[f32],
        bias: Option<&[f32]>,
        channels: usize,
        layout: ImageLayout,
    ) -> Result<Self, SpecError> {
        let taps = weights.len().checked_div(channels).unwrap_or(0);
        if channels == 0 || taps * channels != weights.len() {
            let reason = format!("depthwise: {} weights for {channels} channels", weights.len());
            return Err(SpecError::new(reason));
        }
        let bias = bias.map_or_else(|| vec![0.0; channels], <[f32]>::to_vec);
        if bias.len() != channels {
            return Err(SpecError::new(format!("depthwise: bias of {} for {channels} channels", bias.len())));
        }
        let values = match layout {
            ImageLayout::Nchw => weights.to_vec(),
            ImageLayout::Nhwc => {
                let tap = |t: usize| (0..channels).map(move |c| weights[c * taps + t]);
                (0..taps).flat_map(tap).collect()
            }
        };
        Ok(Self { layout, channels, taps, values, bias })
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        (self.values.len() + self.bias.len()) * size_of::<f32>()
    }
}

/// A depthwise convolution of a batch of images.
#[derive(Clone, Debug)]
pub struct DepthwiseSpec {
    /// Images.
    pub batch: usize,
    /// Vertical window; [`Window::NONE`] for one-dimensional images.
    pub height: Window,
    /// Horizontal window.
    pub width: Window,
    /// Filters and bias; their layout is the images'.
    pub weights: Arc<DepthwiseWeights>,
    /// The input.
    pub input: Operand,
    /// Added to the result, in its layout.
    pub residual: Option<(Operand, ResidualOrder)>,
    /// Applied to the result.
    pub activation: Option<Activation>,
    /// The output.
    pub output: Span,
}

/// A [`DepthwiseSpec`] ready to run.
pub struct DepthwiseStep {
    batch: usize,
    height: Window,
    width: Window,
    weights: Arc<DepthwiseWeights>,
    input: Source<f32>,
    residual: Option<(Source<f32>, ResidualOrder)>,
    activation: Option<Activation>,
    output: Target<f32>,
    inputs: usize,
    rows: usize,
    per_tile: usize,
    isa: Isa,
    method: Method,
}

/// One row of output, and the image (NHWC) or plane (NCHW) it comes from.
pub(super) struct DepthwiseRow<'a> {
    pub(super) height: &'a Window,
    pub(super) width: &'a Window,
    pub(super) weights: &'a DepthwiseWeights,
    pub(super) input: &'a [f32],
    /// Vertical output position.
    pub(super) row: usize,
    /// Channel of the plane; 0 in NHWC.
    pub(super) channel: usize,
    pub(super) residual: Option<(&'a [f32], ResidualOrder)>,
    pub(super) activation: Option<Activation>,
    pub(super) output: &'a mut [f32],
}

impl DepthwiseStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// Windows that do not fit the filters, extents that overflow, operands that are too small, or a `FUSEBOX_KERNEL`
    /// this CPU cannot run.
    pub fn new(spec: DepthwiseSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        let DepthwiseSpec { batch, height, width, weights, input, residual, activation, output } = spec;
        height.check("depthwise height")?;
        width.check("depthwise width")?;
        if height.kernel.checked_mul(width.kernel) != Some(weights.taps) {
            let (kh, kw, taps) = (height.kernel, width.kernel, weights.taps);
            return Err(SpecError::new(format!("depthwise: a {kh}x{kw} window over filters of {taps} taps")));
        }
        let extent =
            |h: usize, w: usize, what: &str| Layout::contiguous(&[batch, weights.channels, h, w]).reach(what);
        let inputs = extent(height.input, width.input, "depthwise input")?;
        let outputs = extent(height.output, width.output, "depthwise output")?;
        let residual = residual.map(|(operand, order)| {
            Source::new(operand, outputs, "depthwise residual").map(|source| (source, order))
        });
        let (images, row) = match weights.layout {
            ImageLayout::Nchw => (batch * weights.channels, width.output),
            ImageLayout::Nhwc => (batch, width.output * weights.channels),
        };
        Ok(Self {
            batch,
            input: Source::new(input, inputs, "depthwise input")?,
            residual: residual.transpose()?,
            output: Target::new(output, outputs, "depthwise output")?,
            rows: if outputs == 0 { 0 } else { images * height.output },
            per_tile: (TILE / row.saturating_mul(weights.taps).max(1)).max(1),
            height,
            width,
            weights,
            activation,
            inputs,
            isa,
            method,
        })
    }

    fn images(&self) -> usize {
        match self.weights.layout {
            ImageLayout::Nchw => self.batch * self.weights.channels,
            ImageLayout::Nhwc => self.batch,
        }
    }
}

// SAFETY: the operands hold input, residual and output; tiles write disjoint rows.
unsafe impl Step for DepthwiseStep {
    fn name(&self) -> String {
        format!("depthwise.{:?}.{}", self.weights.layout, self.isa).to_lowercase()
    }
    fn reads(&self) -> Vec<Span> {
        let residual = self.residual.as_ref().and_then(|(source, _)| source.span());
        self.input.span().into_iter().chain(residual).collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.output.span()]
    }
    fn tiles(&self, _: usize) -> usize {
        self.rows.div_ceil(self.per_tile)
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        // SAFETY: the operand holds this many elements and nothing writes them.
        let input = unsafe { std::slice::from_raw_parts(self.input.locate(memory), self.inputs) };
        let image = self.inputs / self.images();
        let length = match self.weights.layout {
            ImageLayout::Nchw => self.width.output,
            ImageLayout::Nhwc => self.width.output * self.weights.channels,
        };
        let first = tile.index * self.per_tile;
        for index in first..(first + self.per_tile).min(self.rows) {
            let (source, row) = (index / self.height.output, index % self.height.output);
            let residual = self.residual.as_ref().map(|(residual, order)| {
                // SAFETY: the residual has the output's extent and nothing writes it.
                let row = unsafe {
                    std::slice::from_raw_parts(residual.locate(memory).add(index * length), length)
                };
                (row, *order)
            });
            // SAFETY: the row is in bounds and this tile's.
            let output = unsafe {
                std::slice::from_raw_parts_mut(self.output.locate(memory).add(index * length), length)
            };
            let row = DepthwiseRow {
                height: &self.height,
                width: &self.width,
                weights: &self.weights,
                input: &input[source * image..][..image],
                row,
                channel: if self.weights.layout == ImageLayout::Nchw {
                    source % self.weights.channels
                } else {
                    0
                },
                residual,
                activation: self.activation,
                output,
            };
            match self.method {
                Method::Vector(level) => level.dispatch(row),
                Method::Scalar => reference::convolve(row),
            }
        }
        Ok(())
    }
}
