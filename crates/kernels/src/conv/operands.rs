//! Operands of a convolution: their extents and strides, checked before anything runs, and the size of a tile's block.
//!
//! Everything that the unsafe code of the gather and the step relies on is established here.

use super::gather::Gather;
use super::{ConvSpec, DepthOrder, ImageLayout};
use crate::gemm::driver::Driver;
use crate::gemm::operands::{extent, is_injective};
use crate::gemm::{GemmError, GemmSpec, Matrix, Rhs};

/// Output pixels of a block, for activations that stay f32 and for converted ones (whose rows are kept whole).
const BLOCK_ROWS: usize = 96;
/// Bytes of converted rows that a block may hold.
const CONVERTED_BYTES: usize = 256 * 1024;
/// Tiles that a convolution should at least be split into, where its size allows.
const TILES: usize = 32;
/// Multiply-adds below which a tile is not split further.
const TILE_WORK: usize = 256 * 1024;

impl ConvSpec {
    /// The product that a 1×1 convolution is; `None` when sizes overflow.
    pub(super) fn as_product(&self) -> Option<GemmSpec> {
        let ImageLayout::Nhwc { pixel_stride } = self.input_layout else { return None };
        let [height, width] = self.geometry.input;
        let rows = self.batch.checked_mul(height)?.checked_mul(width)?;
        let (k, n) = (self.weights.input_channels(), self.weights.output_channels());
        let weights = self.weights.group_handle(0);
        let mut spec = GemmSpec::new(rows, n, k, self.input, Rhs::Packed(weights), self.output);
        spec.a.row_stride = pixel_stride;
        spec.c = Matrix { span: self.output, row_stride: self.output_stride };
        spec.epilogue = self.epilogue.clone();
        spec.scratch = self.scratch;
        spec.force = self.force;
        Some(spec)
    }
}

/// Rows and columns of a tile's block. Columns are split last: every block of columns gathers its rows again.
pub(super) fn block(
    driver: &Driver,
    pixels: usize,
    channels: usize,
    depth: usize,
    groups: usize,
) -> (usize, usize) {
    let (mr, tile_columns) = driver.tile();
    let converted = driver.precision.padded_k(depth) * driver.precision.activation_bytes();
    let most = match driver.precision.activation_bytes() {
        4 => BLOCK_ROWS,
        _ => (CONVERTED_BYTES / converted.max(1)).clamp(mr, BLOCK_ROWS),
    };
    let mut rows = pixels.div_ceil(pixels.div_ceil(most).max(1)).max(1).next_multiple_of(mr);
    let mut columns = channels.max(1).next_multiple_of(tile_columns);
    let tiles = |rows: usize, columns: usize| groups * pixels.div_ceil(rows) * channels.div_ceil(columns);
    while tiles(rows, columns) < TILES && rows * columns * depth / 2 >= TILE_WORK {
        let half_rows = (rows / 2).max(1).next_multiple_of(mr);
        let half_columns = (columns / 2).max(1).next_multiple_of(tile_columns);
        if half_rows < rows && (rows >= 4 * mr || half_columns >= columns) {
            rows = half_rows;
        } else if half_columns < columns {
            columns = half_columns;
        } else {
            break;
        }
    }
    (rows, columns)
}

/// Checks a spec; returns the number of output pixels and the gather.
pub(super) fn check(spec: &ConvSpec) -> Result<(usize, Gather), GemmError> {
    let unsupported = |reason| GemmError::Unsupported { reason };
    let weights = &spec.weights;
    if weights.kernel() != spec.geometry.kernel {
        return Err(unsupported("the packed weights have another kernel size than the geometry"));
    }
    if spec.geometry.dilations.contains(&0) || spec.geometry.strides.contains(&0) {
        return Err(unsupported("strides and dilations of a convolution must be at least 1"));
    }
    let output = spec.geometry.output();
    let output = output.ok_or(unsupported("the kernel of a convolution does not fit its padded input"))?;
    let (channels, outputs) = (weights.input_channels(), weights.output_channels());
    let too_large = GemmError::TooLarge { k: channels, n: outputs };
    let pixels = output[0].checked_mul(output[1]).and_then(|image| image.checked_mul(spec.batch));
    let pixels = pixels.ok_or(too_large.clone())?;
    let [height, width] = spec.geometry.input;
    let image = height.checked_mul(width).ok_or(too_large.clone())?;
    let pixel_stride = match spec.input_layout {
        ImageLayout::Nhwc { pixel_stride } if pixel_stride < channels => {
            return Err(unsupported("pixels of the input overlap: the pixel stride is below the channels"));
        }
        ImageLayout::Nhwc { pixel_stride } => pixel_stride,
        ImageLayout::Nchw => channels,
    };
    if weights.order() == DepthOrder::ChannelsFirst && spec.input_layout != ImageLayout::Nchw {
        return Err(unsupported("weights packed channels first need NCHW images"));
    }
    let inputs = spec.batch.checked_mul(image).ok_or(too_large)?;
    extent("the input", spec.input, &[(inputs, pixel_stride), (channels, 1)])?;
    let places = [(pixels, spec.output_stride), (outputs, 1)];
    extent("the output", spec.output, &places)?;
    if !is_injective(&places) {
        return Err(GemmError::OverlappingC);
    }
    if let Some(residual) = spec.epilogue.residual {
        extent("the residual", residual.span, &[(pixels, residual.row_stride), (outputs, 1)])?;
    }
    if let Some(bias) = spec.epilogue.bias.as_ref().filter(|bias| bias.len() != outputs) {
        return Err(GemmError::VectorLength { what: "bias", expected: outputs, given: bias.len() });
    }
    let gather = Gather {
        geometry: spec.geometry,
        output,
        layout: spec.input_layout,
        order: weights.order(),
        image_channels: channels,
        channels: weights.group_channels(),
    };
    Ok((pixels, gather))
}
