//! The step of a convolution: a plain product where the input allows it, else gather and multiply tile by tile.
//!
//! A tile is a block of output pixels × a block of output channels of one group. It gathers its rows block of K by
//! block of K into the worker's own memory; precisions that convert activations gather and convert whole rows first.

use super::ConvSpec;
use super::gather::Gather;
use super::operands::{block, check};
use crate::arena::{Memory, Span};
use crate::gemm::driver::{Driver, Part};
use crate::gemm::{Dequant, Finish, GemmError, GemmStep, PANEL, Precision, PrepareRow, Prologue, RowQuant};
use crate::isa::{IsaError, Level};
use crate::program::{Step, StepError, Tile};
use crate::scratch::{Slot, with_slots};

/// A convolution bound to its operands.
pub struct ConvStep(Kind);

enum Kind {
    Product(Box<GemmStep>),
    Gathered(Box<Gathered>),
}

struct Gathered {
    spec: ConvSpec,
    gather: Gather,
    driver: Driver,
    level: Level,
    /// Output pixels of all images.
    pixels: usize,
    /// K of a group.
    depth: usize,
    rows: usize,
    columns: usize,
    /// Bias with a panel of padding at the end.
    bias: Option<Vec<f32>>,
}

impl ConvStep {
    pub(super) fn new(spec: ConvSpec) -> Result<Self, GemmError> {
        let (pixels, gather) = check(&spec)?;
        if spec.is_product() {
            let (k, n) = (spec.weights.input_channels(), spec.weights.output_channels());
            let product = spec.as_product().ok_or(GemmError::TooLarge { k, n })?;
            return Ok(Self(Kind::Product(Box::new(product.build()?))));
        }
        let weights = &spec.weights;
        let (depth, columns) = (weights.group(0).k(), weights.group(0).n());
        let driver = Driver::new(weights.precision(), pixels, columns, depth, spec.force)?;
        let level = driver.isa.level().ok_or(GemmError::Isa(IsaError::Missing { isa: driver.isa }))?;
        let bias = spec.epilogue.bias.as_ref().map(|bias| {
            let mut padded = bias.to_vec();
            padded.resize(bias.len() + PANEL, 0.0);
            padded
        });
        let (rows, columns) = block(&driver, pixels, columns, depth, weights.groups());
        let gathered = Gathered { gather, driver, level, pixels, depth, rows, columns, bias, spec };
        Ok(Self(Kind::Gathered(Box::new(gathered))))
    }
}

/// Elements between gathered rows: an odd number of cache lines, so that rows of a strip spread over the cache's sets.
fn row_stride(count: usize) -> usize {
    (count.div_ceil(PANEL) | 1) * PANEL
}

/// A block of output: pixels and channels of one group.
#[derive(Clone, Copy)]
struct Target {
    group: usize,
    first_row: usize,
    rows: usize,
    first_column: usize,
    columns: usize,
}

impl Gathered {
    fn row_blocks(&self) -> usize {
        self.pixels.div_ceil(self.rows)
    }

    fn column_blocks(&self) -> usize {
        self.spec.weights.group(0).n().div_ceil(self.columns)
    }

    fn target(&self, tile: usize) -> Target {
        let (row_blocks, column_blocks) = (self.row_blocks(), self.column_blocks());
        let first_row = tile % row_blocks * self.rows;
        let first_column = tile / row_blocks % column_blocks * self.columns;
        Target {
            group: tile / (row_blocks * column_blocks),
            first_row,
            rows: self.rows.min(self.pixels - first_row),
            first_column,
            columns: self.columns.min(self.spec.weights.group(0).n() - first_column),
        }
    }

    fn run(&self, tile: usize, memory: &Memory<'_>) {
        let target = self.target(tile);
        let precision = self.driver.precision;
        // Rows of one block of K with their spacing, or whole converted rows; one row before its conversion.
        let block = self.driver.k_blocks().map(|(_, count)| row_stride(count) * 4).max().unwrap_or(0);
        let row = precision.padded_k(self.depth) * precision.activation_bytes();
        let rows = target.rows * if precision.activation_bytes() == 4 { block } else { row };
        let bytes = rows.max(self.depth * 4).max(target.rows * size_of::<RowQuant>());
        with_slots(3, bytes, |slots| {
            let [rows, row, quants] = slots else { return };
            let quants: &mut [RowQuant] = &mut bytemuck::cast_slice_mut(quants.floats_mut())[..target.rows];
            // SAFETY: `check` proved that every pixel of input, residual and output lies in its span and that no two
            // outputs share a place, `Program::new` that the output overlaps nothing that is read; this tile alone
            // writes its pixels' channels and the worker's own slots.
            unsafe {
                if precision.activation_bytes() == 4 {
                    self.multiply_gathered(target, rows, memory);
                } else {
                    self.convert(target, rows, row, quants, memory);
                    self.multiply_converted(target, rows, memory);
                }
                self.finish(target, quants, memory);
            }
        });
    }

    /// First element of C of a target's first pixel, at the group's first channel.
    fn output(&self, target: Target, memory: &Memory<'_>) -> *mut f32 {
        let (c, _) = memory.locate::<f32>(self.spec.output);
        let channel = target.group * self.spec.weights.group(0).n();
        c.wrapping_add(target.first_row * self.spec.output_stride + channel)
    }

    /// Gathers one block of K at a time and multiplies it with every block of columns.
    ///
    /// # Safety
    /// As established in `run`.
    unsafe fn multiply_gathered(&self, target: Target, rows: &mut Slot, memory: &Memory<'_>) {
        let (images, _) = memory.locate::<f32>(self.spec.input);
        let first_channel = target.group * self.gather.channels;
        for (first, count) in self.driver.k_blocks() {
            let stride = row_stride(count);
            let buffer = &mut rows.floats_mut()[..target.rows * stride];
            let pixels = target.first_row..target.first_row + target.rows;
            // SAFETY: the pixels lie in the images, the buffer holds rows × stride elements.
            unsafe {
                let out = (buffer.as_mut_ptr(), stride);
                self.gather.block(images, pixels, first_channel, first..first + count, out);
            }
            // SAFETY: the buffer was just filled for these groups of K.
            unsafe { self.multiply(target, buffer.as_ptr().cast(), stride, (first, count), memory) };
        }
    }

    /// Gathers whole rows and converts them.
    ///
    /// # Safety
    /// As established in `run`.
    unsafe fn convert(
        &self,
        target: Target,
        rows: &mut Slot,
        row: &mut Slot,
        quants: &mut [RowQuant],
        memory: &Memory<'_>,
    ) {
        let (images, _) = memory.locate::<f32>(self.spec.input);
        let precision = self.driver.precision;
        let row_bytes = precision.padded_k(self.depth) * precision.activation_bytes();
        let first_channel = target.group * self.gather.channels;
        let converted: &mut [u8] = bytemuck::cast_slice_mut(rows.floats_mut());
        let values = &mut row.floats_mut()[..self.depth];
        for (index, quant) in quants.iter_mut().enumerate() {
            // SAFETY: the row's pixel lies in the images, `values` holds a whole row.
            unsafe {
                let row = target.first_row + index;
                let out = (values.as_mut_ptr(), self.depth);
                self.gather.block(images, row..row + 1, first_channel, 0..self.depth, out);
            }
            *quant = self.level.dispatch(PrepareRow {
                prologue: &Prologue::None,
                precision,
                input: &[],
                values,
                output: &mut converted[index * row_bytes..][..row_bytes],
                range: None,
                levels: None,
            });
        }
    }

    /// Multiplies converted rows.
    ///
    /// # Safety
    /// As established in `run`.
    unsafe fn multiply_converted(&self, target: Target, rows: &Slot, memory: &Memory<'_>) {
        let precision = self.driver.precision;
        let stride = precision.padded_k(self.depth);
        let group_bytes = precision.k_group() * precision.activation_bytes();
        for (first, count) in self.driver.k_blocks() {
            // SAFETY: rows of `stride` elements were converted.
            unsafe {
                let a = rows.floats().as_ptr().cast::<u8>().add(first * group_bytes);
                self.multiply(target, a, stride, (first, count), memory);
            }
        }
    }

    /// Multiplies rows at `a`, `stride` elements apart, with every block of columns of the target.
    ///
    /// # Safety
    /// Rows of A are readable for the groups; the rest as established in `run`.
    unsafe fn multiply(
        &self,
        target: Target,
        a: *const u8,
        stride: usize,
        k: (usize, usize),
        memory: &Memory<'_>,
    ) {
        let end = target.first_column + target.columns;
        for first_column in (target.first_column..end).step_by(self.driver.cached_columns()) {
            let part = Part {
                a,
                a_row: stride,
                rows: target.rows,
                b: self.spec.weights.group(target.group).as_ptr(),
                first_column,
                end_column: end.min(first_column + self.driver.cached_columns()),
                first_group: k.0,
                groups: k.1,
                c: self.output(target, memory),
                c_row: self.spec.output_stride,
            };
            // SAFETY: A as promised by the caller, B holds every column of the group, C as established in `run`.
            unsafe { self.driver.multiply(&part) };
        }
    }

    /// Runs the epilogue over the target.
    ///
    /// # Safety
    /// As established in `run`.
    unsafe fn finish(&self, target: Target, quants: &[RowQuant], memory: &Memory<'_>) {
        let weights = self.spec.weights.group(target.group);
        let channel = target.group * weights.n() + target.first_column;
        let residual = self.spec.epilogue.residual.map(|residual| {
            let (base, _) = memory.locate::<f32>(residual.span);
            let offset = target.first_row * residual.row_stride + channel;
            (base.wrapping_add(offset).cast_const(), residual.row_stride, residual.order)
        });
        let dequant = (self.driver.precision == Precision::Int8).then(|| Dequant {
            rows: quants,
            scales: &weights.scales()[target.first_column..],
            sums: &weights.sums()[target.first_column..],
        });
        let finish = Finish {
            c: self.output(target, memory).wrapping_add(target.first_column),
            c_row: self.spec.output_stride,
            rows: target.rows,
            columns: target.columns,
            alpha: self.spec.epilogue.alpha,
            bias: self.bias.as_ref().map(|bias| &bias[channel..]),
            residual,
            activation: self.spec.epilogue.activation,
            dequant,
        };
        // SAFETY: as established in `run`.
        unsafe { finish.run(self.level) };
    }
}

// SAFETY: run touches only the spans declared; tiles write distinct pixels or channels of the output, which `check`
// proved free of shared elements.
unsafe impl Step for ConvStep {
    fn name(&self) -> String {
        match &self.0 {
            Kind::Product(product) => product.name().replacen("gemm", "conv1x1", 1),
            Kind::Gathered(conv) => {
                let (mr, columns) = conv.driver.tile();
                format!("conv.{}.{}.{mr}x{columns}", conv.driver.precision, conv.driver.isa)
            }
        }
    }

    fn reads(&self) -> Vec<Span> {
        match &self.0 {
            Kind::Product(product) => product.reads(),
            Kind::Gathered(conv) => {
                let residual = conv.spec.epilogue.residual.map(|residual| residual.span);
                std::iter::once(conv.spec.input).chain(residual).collect()
            }
        }
    }

    fn writes(&self) -> Vec<Span> {
        match &self.0 {
            Kind::Product(product) => product.writes(),
            Kind::Gathered(conv) => vec![conv.spec.output],
        }
    }

    fn phases(&self) -> usize {
        match &self.0 {
            Kind::Product(product) => product.phases(),
            Kind::Gathered(_) => 1,
        }
    }

    fn tiles(&self, phase: usize) -> usize {
        match &self.0 {
            Kind::Product(product) => product.tiles(phase),
            Kind::Gathered(conv) => conv.spec.weights.groups() * conv.row_blocks() * conv.column_blocks(),
        }
    }

    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        match &self.0 {
            Kind::Product(product) => product.run(tile, memory),
            Kind::Gathered(conv) => {
                conv.run(tile.index, memory);
                Ok(())
            }
        }
    }
}
