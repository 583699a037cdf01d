//! Sliding windows over images: which input positions an output position sees.
//!
//! Owns the arithmetic of strides, pads and dilations along one axis; knows no memory.

use crate::operand::SpecError;
use std::ops::Range;

/// Order of an image batch in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageLayout {
    /// Batch, channels, height, width.
    Nchw,
    /// Batch, height, width, channels.
    Nhwc,
}

/// A window sliding along one axis. Output `o` sees inputs `o·stride − pad_begin + k·dilation` for `k < kernel`, as far
/// as they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extent of the input.
    pub input: usize,
    /// Extent of the output, as `ceil_mode` or explicit sizes have it.
    pub output: usize,
    /// Taps.
    pub kernel: usize,
    /// Inputs from one output to the next.
    pub stride: usize,
    /// Inputs from one tap to the next.
    pub dilation: usize,
    /// Padding before the input.
    pub pad_begin: usize,
    /// Padding after the input; only averages that count padding look at it.
    pub pad_end: usize,
}

impl Window {
    /// The axis that a lower-dimensional image lacks.
    pub const NONE: Self =
        Self { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, pad_begin: 0, pad_end: 0 };

    pub(crate) fn check(&self, what: &str) -> Result<(), SpecError> {
        let Self { output, kernel, stride, dilation, pad_begin, input, pad_end } = *self;
        if kernel == 0 || stride == 0 || dilation == 0 {
            return Err(SpecError::new(format!(
                "{what}: kernel, stride and dilation must be positive: {self:?}"
            )));
        }
        let last = output.checked_mul(stride).zip(kernel.checked_mul(dilation));
        let reach = last.and_then(|(a, b)| a.checked_add(b));
        let padded = input.checked_add(pad_begin).and_then(|n| n.checked_add(pad_end));
        let fits = |n: Option<usize>| n.is_some_and(|n| n < usize::MAX / 4);
        if fits(reach) && fits(padded) {
            return Ok(());
        }
        Err(SpecError::new(format!("{what}: the extents of {self:?} overflow")))
    }

    /// Taps of output `o` that lie on the input.
    #[inline]
    pub(crate) fn taps(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        let low = self.pad_begin.saturating_sub(start).div_ceil(self.dilation);
        let high = (self.input + self.pad_begin).saturating_sub(start).div_ceil(self.dilation);
        low.min(self.kernel)..high.min(self.kernel).max(low.min(self.kernel))
    }

    /// Input position of a tap that lies on the input.
    #[inline]
    pub(crate) fn position(&self, o: usize, tap: usize) -> usize {
        o * self.stride + tap * self.dilation - self.pad_begin
    }

    /// Outputs whose tap `k` lies on the input.
    #[inline]
    pub(crate) fn outputs(&self, tap: usize) -> Range<usize> {
        let reach = tap * self.dilation;
        let low = self.pad_begin.saturating_sub(reach).div_ceil(self.stride);
        let high = (self.input + self.pad_begin).saturating_sub(reach).div_ceil(self.stride);
        low.min(self.output)..high.min(self.output).max(low.min(self.output))
    }

    /// Taps of output `o` that lie on the input or its padding.
    #[inline]
    pub(crate) fn padded_taps(&self, o: usize) -> usize {
        let end = self.input + self.pad_begin + self.pad_end;
        end.saturating_sub(o * self.stride).div_ceil(self.dilation).min(self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_and_outputs_agree_with_counting() {
        for (input, kernel, stride, dilation, pad_begin) in
            [(7, 3, 1, 1, 1), (7, 3, 2, 1, 1), (9, 2, 3, 2, 3), (1, 5, 1, 1, 2), (4, 3, 2, 3, 0)]
        {
            let window = Window { input, output: 9, kernel, stride, dilation, pad_begin, pad_end: 1 };
            let on_input = |o: usize, k: usize| {
                let at = o * stride + k * dilation;
                at >= pad_begin && at < pad_begin + input
            };
            for o in 0..window.output {
                let counted: Vec<usize> = (0..kernel).filter(|&k| on_input(o, k)).collect();
                assert_eq!(window.taps(o).collect::<Vec<_>>(), counted, "{window:?} {o}");
                let padded =
                    (0..kernel).filter(|k| o * stride + k * dilation < pad_begin + input + 1).count();
                assert_eq!(window.padded_taps(o), padded, "{window:?} {o}");
            }
            for k in 0..kernel {
                let counted: Vec<usize> = (0..window.output).filter(|&o| on_input(o, k)).collect();
                assert_eq!(window.outputs(k).collect::<Vec<_>>(), counted, "{window:?} tap {k}");
            }
        }
    }
}
