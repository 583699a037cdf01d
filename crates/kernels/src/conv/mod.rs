//! Convolution as an implicit product: rows of A are gathered from the image block by block, never stored whole.
//!
//! Owns geometry, the gather and the packing of OIHW weights; multiplication and epilogue are the GEMM family's. Images
//! are NHWC (or NCHW on the way in), results NHWC, so a 1×1 convolution is a plain product and batches are rows.
//! Depthwise convolution is a family of its own: here a group costs a product of its own.

mod gather;
mod operands;
mod step;
#[cfg(test)]
mod tests;
mod weights;

pub use step::ConvStep;
pub use weights::{DepthOrder, PackedConv};

use crate::arena::Span;
use crate::gemm::{Epilogue, GemmError};
use crate::isa::Isa;
use std::sync::Arc;

/// Order of an image's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageLayout {
    /// Channels of a pixel are contiguous.
    Nhwc {
        /// Elements from one pixel to the next, at least the number of channels.
        pixel_stride: usize,
    },
    /// Planes per channel. For inputs that arrive so, such as the first layer's; weights packed
    /// [`DepthOrder::ChannelsFirst`] gather it faster.
    Nchw,
}

/// Sizes and steps along height and width. A 1-D convolution has height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub strides: [usize; 2],
    /// Steps between the kernel's taps.
    pub dilations: [usize; 2],
    /// Zeros before the first row and column.
    pub pads_begin: [usize; 2],
    /// Zeros after the last row and column.
    pub pads_end: [usize; 2],
}

impl Geometry {
    /// Height and width of the output; `None` when a kernel does not fit its padded input or a size is 0 or too large.
    pub fn output(&self) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let reach =
                self.kernel[axis].checked_sub(1)?.checked_mul(self.dilations[axis])?.checked_add(1)?;
            let padded =
                self.input[axis].checked_add(self.pads_begin[axis])?.checked_add(self.pads_end[axis])?;
            Some(padded.checked_sub(reach)?.checked_div(self.strides[axis])? + 1)
        };
        Some([along(0)?, along(1)?])
    }
}

/// What to convolve.
#[derive(Clone, Debug)]
pub struct ConvSpec {
    /// Number of images.
    pub batch: usize,
    /// Sizes and steps.
    pub geometry: Geometry,
    /// f32 images with `groups · channels per group` channels.
    pub input: Span,
    /// Order of the input.
    pub input_layout: ImageLayout,
    /// Packed weights, which also say channels and groups.
    pub weights: Arc<PackedConv>,
    /// f32 result, NHWC. Overlaps nothing that is read.
    pub output: Span,
    /// Elements from one pixel of the output to the next.
    pub output_stride: usize,
    /// Fused tail; rows of a residual are pixels of the output.
    pub epilogue: Epilogue,
    /// Scratch of at least [`ConvSpec::scratch_bytes`]; may be `None` when that is 0.
    pub scratch: Option<Span>,
    /// Instruction set to use instead of the best one.
    pub force: Option<Isa>,
}

impl ConvSpec {
    /// A convolution of contiguous images, NCHW when the weights are packed channels first, without an epilogue.
    pub fn new(
        batch: usize,
        geometry: Geometry,
        input: Span,
        weights: Arc<PackedConv>,
        output: Span,
    ) -> Self {
        Self {
            batch,
            geometry,
            input,
            input_layout: match weights.order() {
                DepthOrder::ChannelsLast => ImageLayout::Nhwc { pixel_stride: weights.input_channels() },
                DepthOrder::ChannelsFirst => ImageLayout::Nchw,
            },
            output,
            output_stride: weights.output_channels(),
            weights,
            epilogue: Epilogue::default(),
            scratch: None,
            force: None,
        }
    }

    /// Whether the input is the left-hand side of a product as it stands.
    fn is_product(&self) -> bool {
        let geometry = &self.geometry;
        matches!(self.input_layout, ImageLayout::Nhwc { .. })
            && self.weights.groups() == 1
            && geometry.kernel == [1, 1]
            && geometry.strides == [1, 1]
            && geometry.pads_begin == [0, 0]
            && geometry.pads_end == [0, 0]
    }

    /// Bytes of scratch that the step needs, 64-byte aligned.
    pub fn scratch_bytes(&self) -> usize {
        if self.is_product() { self.as_product().map_or(0, |spec| spec.scratch_bytes()) } else { 0 }
    }

    /// Checks the operands, picks kernels and tile sizes.
    ///
    /// # Errors
    /// The first rule that an operand breaks.
    pub fn build(self) -> Result<ConvStep, GemmError> {
        ConvStep::new(self)
    }
}
