//! Convolution windows laid out as matrix columns (im2col) and added back (col2im), in any number of spatial axes.
//!
//! A matrix row is a channel and a tap of the window; a column is an output position. Columns are made for a range of
//! output rows at a time, so that memory stays bounded on large images.

use crate::number::Number;
use crate::window::Axis;
use ndarray::{Array2, ArrayView2};

/// Elements of a column matrix beyond which the output is cut into ranges.
const MAX_COLUMN_ELEMENTS: usize = 1 << 24;

/// The geometry of one convolution: all spatial axes, the last one apart.
pub(super) struct Columns<'a> {
    axes: &'a [Axis],
    outer: &'a [Axis],
    last: Axis,
}

fn product(axes: &[Axis], size: impl Fn(&Axis) -> i64) -> usize {
    axes.iter().map(|axis| size(axis) as usize).product()
}

/// Digits of `index` in the mixed radix of `sizes`, last fastest.
fn digits(mut index: usize, axes: &[Axis], size: impl Fn(&Axis) -> i64, out: &mut [i64]) {
    for (axis, digit) in axes.iter().zip(out.iter_mut()).rev() {
        let radix = size(axis) as usize;
        *digit = (index % radix) as i64;
        index /= radix;
    }
}

impl<'a> Columns<'a> {
    /// The geometry over `axes`; `None` when there is no spatial axis.
    pub(super) fn new(axes: &'a [Axis]) -> Option<Self> {
        let (last, outer) = axes.split_last()?;
        Some(Self { axes, outer, last: *last })
    }

    /// Taps of a window.
    pub(super) fn taps(&self) -> usize {
        product(self.axes, |axis| axis.kernel)
    }

    /// Elements of one input channel.
    pub(super) fn inputs(&self) -> usize {
        product(self.axes, |axis| axis.input)
    }

    /// Elements of one output channel.
    pub(super) fn outputs(&self) -> usize {
        product(self.axes, |axis| axis.output)
    }

    /// Rows of output positions: all axes but the last.
    pub(super) fn rows(&self) -> usize {
        product(self.outer, |axis| axis.output)
    }

    /// Output positions of a row.
    pub(super) fn row_width(&self) -> usize {
        self.last.output as usize
    }

    /// Rows whose columns fit the memory bound, for a number of channels.
    pub(super) fn rows_at_once(&self, channels: usize) -> usize {
        (MAX_COLUMN_ELEMENTS / (channels * self.taps() * self.row_width()).max(1)).max(1)
    }

    /// Calls `f` with the matrix row, the first column, the input position of that column's tap and the tap's place
    /// on the last axis, for every tap and every output row whose tap lies inside the outer axes.
    fn visit(
        &self,
        channels: usize,
        rows: std::ops::Range<usize>,
        mut f: impl FnMut(usize, usize, usize, i64),
    ) {
        let rank = self.axes.len();
        let (mut tap, mut row_at) = (vec![0i64; rank], vec![0i64; self.outer.len()]);
        let (taps, inputs, width) = (self.taps(), self.inputs(), self.row_width());
        for tap_index in 0..taps {
            digits(tap_index, self.axes, |axis| axis.kernel, &mut tap);
            for row in rows.clone() {
                digits(row, self.outer, |axis| axis.output, &mut row_at);
                let mut base = Some(0usize);
                for (axis, (index, tap)) in self.outer.iter().zip(row_at.iter().zip(&tap)) {
                    let position = axis.position(*index, *tap);
                    let inside = (0..axis.input).contains(&position);
                    base = base.filter(|_| inside).map(|b| b * axis.input as usize + position as usize);
                }
                let Some(base) = base else { continue };
                for channel in 0..channels {
                    let start = channel * inputs + base * self.last.input as usize;
                    f(channel * taps + tap_index, (row - rows.start) * width, start, tap[rank - 1]);
                }
            }
        }
    }

    /// Columns of shape `[channels · taps, rows · row_width]` from `[channels · inputs]` elements.
    pub(super) fn gather<T: Number>(
        &self,
        input: &[T],
        channels: usize,
        rows: std::ops::Range<usize>,
    ) -> Array2<T> {
        let width = self.row_width();
        let columns = rows.len() * width;
        let mut matrix = Array2::from_elem((channels * self.taps(), columns), T::ZERO);
        let elements = matrix.as_slice_mut().expect("a new matrix is contiguous");
        self.visit(channels, rows, |matrix_row, column, start, tap| {
            let target = &mut elements[matrix_row * columns + column..][..width];
            for (index, slot) in (0i64..).zip(target) {
                let position = self.last.position(index, tap);
                if (0..self.last.input).contains(&position) {
                    *slot = input[start + position as usize];
                }
            }
        });
        matrix
    }

    /// Adds columns of shape `[channels · taps, outputs]` back to the input positions that they were gathered from.
    pub(super) fn scatter<T: Number>(&self, columns: &ArrayView2<'_, T>, channels: usize, input: &mut [T]) {
        self.visit(channels, 0..self.rows(), |matrix_row, column, start, tap| {
            for index in 0..self.last.output {
                let position = self.last.position(index, tap);
                if (0..self.last.input).contains(&position) {
                    let slot = &mut input[start + position as usize];
                    *slot = slot.plus(columns[[matrix_row, column + index as usize]]);
                }
            }
        });
    }
}
