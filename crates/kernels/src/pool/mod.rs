//! Maximum and average pooling over one- and two-dimensional windows, NCHW and NHWC.
//!
//! Contract: f32, contiguous, explicit output extents, so `ceil_mode` and automatic padding are the caller's. A window
//! that sees no input gives −∞ for a maximum and NaN for an average. NaN wins a maximum. Pooling over everything is a
//! reduction.

mod portable;
mod reference;
#[cfg(test)]
mod tests;

pub use crate::window::{ImageLayout, Window};

use crate::arena::{Memory, Span};
use crate::isa::{Isa, Kernel, Method, VECTOR_KERNELS, select};
use crate::layout::Layout;
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};

/// Best first.
pub static KERNELS: &[Kernel<Method>] = VECTOR_KERNELS;

/// Elements one tile reads, about.
const TILE: usize = 16 << 10;

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Its largest element.
    Max,
    /// Its mean.
    Average {
        /// Whether padding counts as zeros.
        count_include_pad: bool,
    },
}

/// A pooling of a batch of images.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// What becomes of a window.
    pub kind: PoolKind,
    /// Order in memory of input and output.
    pub layout: ImageLayout,
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Vertical window; [`Window::NONE`] for one-dimensional images.
    pub height: Window,
    /// Horizontal window.
    pub width: Window,
    /// The input.
    pub input: Operand,
    /// The output.
    pub output: Span,
}

/// A [`PoolSpec`] ready to run.
pub struct PoolStep {
    spec: PoolSpec,
    input: Source<f32>,
    output: Target<f32>,
    inputs: usize,
    /// Output rows: of one image in NHWC, of one plane in NCHW.
    rows: usize,
    per_tile: usize,
    isa: Isa,
    method: Method,
}

/// Rows of output, and the image or plane they come from.
pub(super) struct PoolRow<'a> {
    pub(super) spec: &'a PoolSpec,
    /// One image (NHWC) or plane (NCHW).
    pub(super) input: &'a [f32],
    /// Vertical output position.
    pub(super) row: usize,
    /// The row.
    pub(super) output: &'a mut [f32],
}

impl PoolSpec {
    /// What the folded window is divided by.
    fn divisor(&self, row: usize, column: usize) -> f32 {
        let count = match self.kind {
            PoolKind::Max => 1,
            PoolKind::Average { count_include_pad: true } => {
                self.height.padded_taps(row) * self.width.padded_taps(column)
            }
            PoolKind::Average { count_include_pad: false } => {
                self.height.taps(row).len() * self.width.taps(column).len()
            }
        };
        crate::element::convert::<u64, f32>(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Independent images or planes, and elements of an output row of one.
    fn images(&self) -> (usize, usize) {
        match self.layout {
            ImageLayout::Nchw => (self.batch * self.channels, self.width.output),
            ImageLayout::Nhwc => (self.batch, self.width.output * self.channels),
        }
    }
}

impl PoolStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// A window without taps, extents that overflow, operands that are too small, or a `FUSEBOX_KERNEL` this CPU cannot
    /// run.
    pub fn new(spec: PoolSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        spec.height.check("pool height")?;
        spec.width.check("pool width")?;
        let extent = |h: usize, w: usize, what: &str| {
            Layout::contiguous(&[spec.batch, spec.channels, h, w]).reach(what)
        };
        let inputs = extent(spec.height.input, spec.width.input, "pool input")?;
        let outputs = extent(spec.height.output, spec.width.output, "pool output")?;
        let input = Source::new(spec.input.clone(), inputs, "pool input")?;
        let output = Target::new(spec.output, outputs, "pool output")?;
        let (images, row) = spec.images();
        let rows = if outputs == 0 { 0 } else { images * spec.height.output };
        let work = row.saturating_mul(spec.height.kernel).saturating_mul(spec.width.kernel);
        Ok(Self { per_tile: (TILE / work.max(1)).max(1), spec, input, output, inputs, rows, isa, method })
    }
}

// SAFETY: Source and Target hold the input and the output; tiles write disjoint rows.
unsafe impl Step for PoolStep {
    fn name(&self) -> String {
        let kind = if self.spec.kind == PoolKind::Max { "max" } else { "average" };
        format!("{kind}pool.{:?}.{}", self.spec.layout, self.isa).to_lowercase()
    }
    fn reads(&self) -> Vec<Span> {
        self.input.span().into_iter().collect()
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
        let (images, width) = self.spec.images();
        let image = self.inputs / images;
        let first = tile.index * self.per_tile;
        for index in first..(first + self.per_tile).min(self.rows) {
            let (source, row) = (index / self.spec.height.output, index % self.spec.height.output);
            // SAFETY: the row is in bounds and this tile's.
            let output = unsafe {
                std::slice::from_raw_parts_mut(self.output.locate(memory).add(index * width), width)
            };
            let pool = PoolRow { spec: &self.spec, input: &input[source * image..][..image], row, output };
            match self.method {
                Method::Vector(level) => level.dispatch(pool),
                Method::Scalar => reference::pool(pool),
            }
        }
        Ok(())
    }
}
