//! Adds windows back to the image that they overlap in: the second half of a transposed convolution (col2im).
//!
//! Contract: f32, channels last. Each element of the image gathers the windows that cover it, in a fixed order, so tiles
//! share nothing. Knows no weights: the product that makes the windows is the GEMM family's.

#[cfg(test)]
mod tests;

use crate::arena::{Memory, Span};
use crate::isa::{Isa, Kernel, Method, VECTOR_KERNELS, select};
use crate::layout::Layout;
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use crate::window::Window;
use std::sync::Arc;

/// Best first.
pub static KERNELS: &[Kernel<Method>] = VECTOR_KERNELS;

/// Additions of one tile, about.
const TILE: usize = 32 << 10;

/// Windows over a batch of images. A [`Window`]'s input is the image, its output the number of windows.
#[derive(Clone, Debug)]
pub struct SpreadSpec {
    /// Images.
    pub batch: usize,
    /// Channels of the image.
    pub channels: usize,
    /// Vertical windows; [`Window::NONE`] for one-dimensional images.
    pub height: Window,
    /// Horizontal windows.
    pub width: Window,
    /// `[batch, windows down, windows across, taps down, taps across, channels]`.
    pub columns: Operand,
    /// Added to every element of a channel.
    pub bias: Option<Arc<[f32]>>,
    /// `[batch, height, width, channels]`.
    pub output: Span,
}

/// A [`SpreadSpec`] ready to run.
pub struct SpreadStep {
    batch: usize,
    channels: usize,
    height: Window,
    width: Window,
    columns: Source<f32>,
    count: usize,
    bias: Vec<f32>,
    output: Target<f32>,
    /// Pixels of one row that a tile computes, and rows.
    across: usize,
    down: usize,
    isa: Isa,
    method: Method,
}

/// Some pixels of one row of an image.
struct Pixels<'a> {
    step: &'a SpreadStep,
    /// Windows of the image.
    columns: &'a [f32],
    row: usize,
    first: usize,
    output: &'a mut [f32],
}

/// Windows and taps that reach an element of the image, as (window, tap).
fn covering(window: &Window, at: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    (0..window.kernel).filter_map(move |tap| {
        let place = (at + window.pad_begin).checked_sub(tap * window.dilation)?;
        let index = place / window.stride;
        (place % window.stride == 0 && index < window.output).then_some((index, tap))
    })
}

impl Pixels<'_> {
    #[inline(always)]
    fn gather(self) {
        let SpreadStep { channels, height, width, bias, .. } = self.step;
        for (offset, pixel) in self.output.chunks_exact_mut(*channels).enumerate() {
            pixel.copy_from_slice(bias);
            for (down, tap_down) in covering(height, self.row) {
                for (across, tap_across) in covering(width, self.first + offset) {
                    let window = (down * width.output + across) * height.kernel + tap_down;
                    let at = (window * width.kernel + tap_across) * channels;
                    let source = &self.columns[at..][..*channels];
                    pixel.iter_mut().zip(source).for_each(|(sum, x)| *sum += x);
                }
            }
        }
    }
}

impl pulp::WithSimd for Pixels<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.gather();
    }
}

impl SpreadStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// Windows without taps or stride, extents that overflow, operands that are too small, or a `FUSEBOX_KERNEL` this CPU
    /// cannot run.
    pub fn new(spec: SpreadSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        let SpreadSpec { batch, channels, height, width, columns, bias, output } = spec;
        if [height, width].iter().any(|w| [w.kernel, w.stride, w.dilation].contains(&0)) || channels == 0 {
            return Err(SpecError::new(
                "spread: windows need taps, a stride and a dilation, images channels",
            ));
        }
        let dims = [batch, height.output, width.output, height.kernel, width.kernel, channels];
        let count = Layout::contiguous(&dims).reach("spread windows")?;
        let image = Layout::contiguous(&[batch, height.input, width.input, channels]);
        let outputs = image.reach("spread output")?;
        for window in [&height, &width] {
            // Taps past any element that fits memory would overflow the arithmetic of positions.
            let reach = (window.kernel - 1).checked_mul(window.dilation);
            if reach
                .and_then(|reach| reach.checked_add(window.input)?.checked_add(window.pad_begin))
                .is_none()
            {
                return Err(SpecError::new("spread: the extents of a window overflow"));
            }
        }
        let bias = bias.map_or_else(|| vec![0.0; channels], |bias| bias.to_vec());
        if bias.len() != channels {
            return Err(SpecError::new(format!("spread: bias of {} for {channels} channels", bias.len())));
        }
        let work = channels.saturating_mul(height.kernel).saturating_mul(width.kernel);
        let pixels = (TILE / work.max(1)).max(1);
        let across = pixels.min(width.input.max(1));
        Ok(Self {
            columns: Source::new(columns, count, "spread windows")?,
            output: Target::new(output, outputs, "spread output")?,
            down: (pixels / across).max(1),
            across,
            batch,
            channels,
            height,
            width,
            count,
            bias,
            isa,
            method,
        })
    }

    /// Tiles of a row.
    fn blocks(&self) -> usize {
        self.width.input.div_ceil(self.across)
    }

    fn rows(&self) -> usize {
        self.batch * self.height.input
    }
}

// SAFETY: Source and Target hold the windows and the image; tiles write disjoint pixels.
unsafe impl Step for SpreadStep {
    fn name(&self) -> String {
        format!("spread.{}", self.isa)
    }
    fn reads(&self) -> Vec<Span> {
        self.columns.span().into_iter().collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.output.span()]
    }
    fn tiles(&self, _: usize) -> usize {
        self.rows().div_ceil(self.down) * self.blocks()
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        // SAFETY: the operand holds this many elements and nothing writes them.
        let columns = unsafe { std::slice::from_raw_parts(self.columns.locate(memory), self.count) };
        let image = self.count / self.batch;
        let first = tile.index % self.blocks() * self.across;
        let width = self.across.min(self.width.input - first);
        let top = tile.index / self.blocks() * self.down;
        for row in top..(top + self.down).min(self.rows()) {
            let at = (row * self.width.input + first) * self.channels;
            // SAFETY: the pixels are in bounds and this tile's.
            let output = unsafe {
                std::slice::from_raw_parts_mut(self.output.locate(memory).add(at), width * self.channels)
            };
            let columns = &columns[row / self.height.input * image..][..image];
            let pixels = Pixels { step: self, columns, row: row % self.height.input, first, output };
            match self.method {
                Method::Vector(level) => level.dispatch(pixels),
                Method::Scalar => pixels.gather(),
            }
        }
        Ok(())
    }
}
