//! The gather: rows of the implicit matrix A, one per output pixel, copied from the image with its padding as zeros.

use super::{DepthOrder, Geometry, ImageLayout};
use std::ops::Range;

/// Reads one group's channels of a set of images.
#[derive(Clone, Copy)]
pub(super) struct Gather {
    pub(super) geometry: Geometry,
    /// Height and width of the output.
    pub(super) output: [usize; 2],
    pub(super) layout: ImageLayout,
    pub(super) order: DepthOrder,
    /// Channels of the image, of all groups.
    pub(super) image_channels: usize,
    /// Channels of the group.
    pub(super) channels: usize,
}

impl Gather {
    /// Elements of an image from one batch entry to the next.
    fn image_elements(&self) -> usize {
        let [height, width] = self.geometry.input;
        let pixel = match self.layout {
            ImageLayout::Nhwc { pixel_stride } => pixel_stride,
            ImageLayout::Nchw => self.image_channels,
        };
        height * width * pixel
    }

    /// Copies elements `k`, counted in the order of the weights, of row `row` to `out`.
    ///
    /// # Safety
    /// `images` points at images of this geometry that hold the row's pixel, `out` has room for the range, and
    /// `first_channel` starts a group.
    pub(super) unsafe fn row(
        &self,
        images: *const f32,
        row: usize,
        first_channel: usize,
        k: Range<usize>,
        out: *mut f32,
    ) {
        let [out_height, out_width] = self.output;
        let (image, y, x) = (row / out_width / out_height, row / out_width % out_height, row % out_width);
        // SAFETY: the caller vouches for the image, and passes on what it vouches for.
        unsafe {
            let image = images.add(image * self.image_elements());
            match self.order {
                DepthOrder::ChannelsLast => self.taps(image, (y, x), first_channel, k, out),
                DepthOrder::ChannelsFirst => self.planes(image, (y, x), first_channel, k, out),
            }
        }
    }

    /// Runs of kernel columns, plane by plane: what is contiguous in NCHW.
    ///
    /// # Safety
    /// As for `row`, the image being this row's and NCHW.
    unsafe fn planes(
        &self,
        image: *const f32,
        pixel: (usize, usize),
        first_channel: usize,
        k: Range<usize>,
        out: *mut f32,
    ) {
        let ([height, width], [kernel_height, kernel_width]) = (self.geometry.input, self.geometry.kernel);
        let dense = self.geometry.dilations[1] == 1;
        let (mut at, mut out) = (k.start, out);
        while at < k.end {
            let (line, tap_x) = (at / kernel_width, at % kernel_width);
            let count = (kernel_width - tap_x).min(k.end - at);
            let (channel, tap_y) = (line / kernel_height, line % kernel_height);
            let y = self.place(0, pixel.0, tap_y);
            let first_x = self.place(1, pixel.1, tap_x).filter(|x| dense && x + count <= width);
            // SAFETY: the plane and the line lie in the image; a run ends inside the line, single taps were placed.
            unsafe {
                let line =
                    image.wrapping_add((first_channel + channel) * height * width + y.unwrap_or(0) * width);
                match (y, first_x) {
                    (None, _) => out.write_bytes(0, count),
                    (Some(_), Some(x)) => {
                        // Kernel lines are short: a call to copy them would take longer.
                        for i in 0..count {
                            *out.add(i) = *line.add(x + i);
                        }
                    }
                    (Some(_), None) => {
                        for i in 0..count {
                            let x = self.place(1, pixel.1, tap_x + i);
                            *out.add(i) = x.map_or(0.0, |x| *line.add(x));
                        }
                    }
                }
                out = out.add(count);
            }
            at += count;
        }
    }

    /// Channels of one tap after the other, of several taps at once where they lie side by side.
    ///
    /// # Safety
    /// As for `row`, the image being this row's.
    unsafe fn taps(
        &self,
        image: *const f32,
        pixel: (usize, usize),
        first_channel: usize,
        k: Range<usize>,
        out: *mut f32,
    ) {
        let (y, x) = pixel;
        let kernel_width = self.geometry.kernel[1];
        let (mut at, mut out) = (k.start, out);
        while at < k.end {
            let (tap, channel) = (at / self.channels, at % self.channels);
            let (tap_y, tap_x) = (tap / kernel_width, tap % kernel_width);
            let source_y = self.place(0, y, tap_y);
            let source_x = self.place(1, x, tap_x);
            let mut taps = 1;
            if source_y.is_some() && source_x.is_some() {
                taps = self.contiguous_taps(x, tap_x);
            }
            let count = (taps * self.channels - channel).min(k.end - at);
            // SAFETY: the pixel lies in the image, and so do the following ones that `contiguous_taps` counted; the
            // range fits `out`.
            unsafe {
                match source_y.zip(source_x) {
                    Some((y, x)) => self.copy(image, (y, x), first_channel + channel, count, out),
                    None => out.write_bytes(0, count),
                }
                out = out.add(count);
            }
            at += count;
        }
    }

    /// Input coordinate of a tap along an axis, `None` in the padding.
    fn place(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let padded = at * self.geometry.strides[axis] + tap * self.geometry.dilations[axis];
        padded.checked_sub(self.geometry.pads_begin[axis]).filter(|place| *place < self.geometry.input[axis])
    }

    /// How many taps of a kernel row, from one inside the image on, lie side by side in memory.
    fn contiguous_taps(&self, x: usize, tap_x: usize) -> usize {
        let dense = self.layout == ImageLayout::Nhwc { pixel_stride: self.channels };
        if !dense || self.geometry.dilations[1] != 1 {
            return 1;
        }
        let rest = tap_x..self.geometry.kernel[1];
        rest.take_while(|tap| self.place(1, x, *tap).is_some()).count()
    }

    /// Copies `count` elements from a pixel's channel on: of one pixel, or of contiguous ones.
    ///
    /// # Safety
    /// They lie in the image and fit `out`.
    unsafe fn copy(
        &self,
        image: *const f32,
        pixel: (usize, usize),
        channel: usize,
        count: usize,
        out: *mut f32,
    ) {
        let [height, width] = self.geometry.input;
        let (y, x) = pixel;
        // SAFETY: passed on to the caller.
        unsafe {
            match self.layout {
                ImageLayout::Nhwc { pixel_stride } => {
                    let source = image.add((y * width + x) * pixel_stride + channel);
                    source.copy_to_nonoverlapping(out, count);
                }
                ImageLayout::Nchw => {
                    for i in 0..count {
                        *out.add(i) = *image.add(((channel + i) * height + y) * width + x);
                    }
                }
            }
        }
    }
}
