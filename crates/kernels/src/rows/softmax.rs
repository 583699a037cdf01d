//! Softmax and log-softmax along one axis, with the scale and the additive mask before it fused in.
//!
//! The last axis goes row by row, an inner axis by strips of columns. Owns the checks and the walks; the arithmetic is
//! the kernels'.

use super::{KERNELS, TILE, portable, reference, strip};
use crate::arena::{Memory, Span};
use crate::isa::{Isa, Method, select};
use crate::layout::{Layout, Odometer};
use crate::operand::{Operand, Source, SpecError, Target};
use crate::program::{Step, StepError, Tile};
use crate::scratch::{Slot, with_slots};
use std::ops::Range;

/// Columns of the strip that a softmax over an inner axis works on.
const STRIP: usize = 256;

/// An additive f32 mask.
#[derive(Clone, Debug)]
pub struct SoftmaxMask {
    /// Its values.
    pub operand: Operand,
    /// Their layout over the softmax's dims; stride 0 broadcasts.
    pub layout: Layout,
}

/// `softmax(scale·x + mask)` along `axis` of a contiguous f32 tensor. A row whose largest value is infinite or which
/// holds NaN gives NaN, as ONNX's definition does.
#[derive(Clone, Debug)]
pub struct SoftmaxSpec {
    /// Shape of input and output.
    pub dims: Vec<usize>,
    /// The axis that sums to one.
    pub axis: usize,
    /// The logarithm of the result.
    pub log: bool,
    /// Factor before the mask.
    pub scale: f32,
    /// Added after the scale; only where `axis` is the last.
    pub mask: Option<SoftmaxMask>,
    /// The input.
    pub input: Span,
    /// The output; may be the input.
    pub output: Span,
}

struct Mask {
    source: Source<f32>,
    layout: Layout,
}

/// A [`SoftmaxSpec`] ready to run.
pub struct SoftmaxStep {
    outer: usize,
    extent: usize,
    inner: usize,
    log: bool,
    scale: f32,
    mask: Option<Mask>,
    input: Source<f32>,
    output: Target<f32>,
    isa: Isa,
    method: Method,
}

impl SoftmaxStep {
    /// Checks the spec.
    ///
    /// # Errors
    /// An axis out of range, operands that are too small, an output that overlaps its input in part, a mask with an
    /// axis that is not the last, or a `FUSEBOX_KERNEL` this CPU cannot run.
    pub fn new(spec: SoftmaxSpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        let SoftmaxSpec { dims, axis, log, scale, mask, input, output } = spec;
        if axis >= dims.len() {
            return Err(SpecError::new(format!("softmax axis {axis} of {} dims", dims.len())));
        }
        let count = Layout::contiguous(&dims).reach("softmax")?;
        if input.overlaps(output) && input != output {
            return Err(SpecError::new(format!("softmax: {output:?} overlaps {input:?} in part")));
        }
        let inner: usize = dims[axis + 1..].iter().product();
        let mask = match mask {
            Some(_) if inner != 1 => {
                return Err(SpecError::new(format!("softmax: a mask needs the last axis, not {axis}")));
            }
            Some(mask) => Some(bind_mask(mask, &dims, output)?),
            None => None,
        };
        let (input, output) = (
            Source::new(input.into(), count, "softmax input")?,
            Target::new(output, count, "softmax output")?,
        );
        let outer = if count == 0 { 0 } else { dims[..axis].iter().product() };
        Ok(Self { outer, extent: dims[axis], inner, log, scale, mask, input, output, isa, method })
    }

    /// Rows of one tile, where the axis is the last.
    fn rows_per_tile(&self) -> usize {
        (TILE / self.extent.max(1)).max(1)
    }

    /// # Safety
    /// The rows belong to this thread and nothing writes the input's other rows.
    unsafe fn rows(&self, rows: Range<usize>, staged: &mut [f32], memory: &Memory<'_>) {
        let n = self.extent;
        let (input, output) = (self.input.locate(memory), self.output.locate(memory));
        let empty = (&[][..], &[][..]);
        let (dims, strides) = self.mask.as_ref().map_or(empty, |mask| {
            let last = mask.layout.dims.len() - 1;
            (&mask.layout.dims[..last], &mask.layout.strides[..last])
        });
        let offset = self.mask.as_ref().map_or(0, |mask| mask.layout.offset);
        let mut walk = Odometer::new(dims, [strides], [offset], rows.start);
        for row in rows {
            // SAFETY: the row is in bounds; the borrow ends before the output is written.
            staged.copy_from_slice(unsafe { std::slice::from_raw_parts(input.add(row * n), n) });
            if self.scale != 1.0 {
                staged.iter_mut().for_each(|value| *value *= self.scale);
            }
            if let Some(mask) = &self.mask {
                // SAFETY: the walk stays inside the mask's layout, which was checked against its operand.
                unsafe {
                    add_mask(
                        staged,
                        mask.source.locate(memory).offset(walk.at[0]),
                        mask.layout.strides[dims.len()],
                    );
                };
                walk.advance();
            }
            // SAFETY: the row is in bounds and this thread's.
            let output = unsafe { std::slice::from_raw_parts_mut(output.add(row * n), n) };
            let staged = &mut *staged;
            match self.method {
                Method::Vector(level) => {
                    level.dispatch(portable::Softmax { row: staged, output, log: self.log });
                }
                Method::Scalar => reference::softmax(staged, output, self.log),
            }
        }
    }

    /// One strip of columns of an outer index, where the axis is an inner one.
    ///
    /// # Safety
    /// The strip belongs to this thread.
    unsafe fn strip(&self, outer: usize, columns: Range<usize>, slots: &mut [Slot], memory: &Memory<'_>) {
        let (width, first) = (columns.len(), columns.start);
        let start = outer * self.extent * self.inner + first;
        let (input, output) = (self.input.locate(memory), self.output.locate(memory));
        let columns = strip::Strip {
            // SAFETY: extent rows of width elements, inner apart, are in bounds.
            input: unsafe { input.add(start) },
            // SAFETY: as above.
            output: unsafe { output.add(start) },
            extent: self.extent,
            stride: self.inner,
            width,
            scale: self.scale,
            log: self.log,
            slots,
        };
        match self.method {
            Method::Vector(level) => level.dispatch(columns),
            // SAFETY: the strip's pointers are good for what it describes.
            Method::Scalar => unsafe { reference::softmax_strip(&columns) },
        }
    }
}

fn bind_mask(mask: SoftmaxMask, dims: &[usize], output: Span) -> Result<Mask, SpecError> {
    let what = "softmax mask";
    if mask.layout.dims != dims {
        let reason = format!("{what} has dims {:?}, the input {dims:?}", mask.layout.dims);
        return Err(SpecError::new(reason));
    }
    if mask.operand.span().is_some_and(|span| span.overlaps(output)) {
        return Err(SpecError::new("softmax: the output overlaps the mask"));
    }
    let source = Source::new(mask.operand, mask.layout.reach(what)?, what)?;
    Ok(Mask { source, layout: mask.layout })
}

/// # Safety
/// `mask + i·stride` is readable for every `i` below the row's length.
unsafe fn add_mask(row: &mut [f32], mask: *const f32, stride: isize) {
    match stride {
        // SAFETY: the caller's promise.
        0 => row.iter_mut().for_each(|value| *value += unsafe { *mask }),
        1 => {
            // SAFETY: the caller's promise.
            let mask = unsafe { std::slice::from_raw_parts(mask, row.len()) };
            row.iter_mut().zip(mask).for_each(|(value, mask)| *value += mask);
        }
        _ => {
            let mut at = 0;
            for value in row {
                // SAFETY: the caller's promise.
                *value += unsafe { *mask.offset(at) };
                at += stride;
            }
        }
    }
}

// SAFETY: input and output hold the whole tensor, tiles are disjoint rows or strips of it, and each is read before the
// same elements are written.
unsafe impl Step for SoftmaxStep {
    fn name(&self) -> String {
        format!("{}softmax.{}", if self.log { "log" } else { "" }, self.isa)
    }
    fn reads(&self) -> Vec<Span> {
        self.input.span().into_iter().chain(self.mask.as_ref().and_then(|mask| mask.source.span())).collect()
    }
    fn writes(&self) -> Vec<Span> {
        vec![self.output.span()]
    }
    fn in_place(&self) -> bool {
        self.input.span() == Some(self.output.span())
    }
    fn tiles(&self, _: usize) -> usize {
        match self.inner {
            1 => self.outer.div_ceil(self.rows_per_tile()),
            inner => self.outer * inner.div_ceil(STRIP),
        }
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        if self.inner == 1 {
            let start = tile.index * self.rows_per_tile();
            let rows = start..(start + self.rows_per_tile()).min(self.outer);
            with_slots(1, self.extent * size_of::<f32>(), |slots| {
                // SAFETY: these rows belong to this tile.
                unsafe { self.rows(rows, &mut slots[0].floats_mut()[..self.extent], memory) };
            });
        } else {
            let strips = self.inner.div_ceil(STRIP);
            let (outer, start) = (tile.index / strips, tile.index % strips * STRIP);
            let columns = start..(start + STRIP).min(self.inner);
            with_slots(strip::SLOTS, STRIP * size_of::<f32>(), |slots| {
                // SAFETY: this strip belongs to this tile.
                unsafe { self.strip(outer, columns, slots, memory) };
            });
        }
        Ok(())
    }
}
