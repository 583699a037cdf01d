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

    /// Copies elements `k`, counted in the order of the weights, of every row of `rows` to `out`, rows `stride` apart.
    ///
    /// # Safety
    /// `images` points at images of this geometry that hold the rows' pixels, `out` has room for the rows, and
    /// `first_channel` starts a group.
    pub(super) unsafe fn block(
        &self,
        images: *const f32,
        rows: Range<usize>,
        first_channel: usize,
        k: Range<usize>,
        (out, stride): (*mut f32, usize),
    ) {
        if self.order == DepthOrder::ChannelsFirst {
            // SAFETY: passed on to the caller; `check` admits this order for NCHW only.
            unsafe { self.planes(images, rows, first_channel, k, (out, stride)) };
            return;
        }
        for (index, row) in rows.enumerate() {
            let pixel = self.pixel(row);
            // SAFETY: passed on to the caller.
            unsafe {
                let image = images.add(pixel.image * self.image_elements());
                self.taps(image, (pixel.y, pixel.x), first_channel, k.clone(), out.add(index * stride));
            }
        }
    }

    fn pixel(&self, row: usize) -> Pixel {
        let [height, width] = self.output;
        Pixel { image: row / width / height, y: row / width % height, x: row % width }
    }

    /// Kernel lines, the runs that are contiguous in NCHW: line by line over all rows, so that what a line needs is
    /// worked out once.
    ///
    /// # Safety
    /// As for `block`, the images being NCHW.
    unsafe fn planes(
        &self,
        images: *const f32,
        rows: Range<usize>,
        first_channel: usize,
        k: Range<usize>,
        (out, stride): (*mut f32, usize),
    ) {
        let ([height, width], [kernel_height, kernel_width]) = (self.geometry.input, self.geometry.kernel);
        let dense = self.geometry.dilations[1] == 1;
        let start = self.pixel(rows.start);
        let mut at = k.start;
        while at < k.end {
            let (line, tap_x) = (at / kernel_width, at % kernel_width);
            let count = (kernel_width - tap_x).min(k.end - at);
            let (channel, tap_y) = (first_channel + line / kernel_height, line % kernel_height);
            let copy = copier(count);
            let mut pixel = start;
            let mut y = self.place(0, pixel.y, tap_y);
            for index in 0..rows.len() {
                let x = self.place(1, pixel.x, tap_x).filter(|x| dense && x + count <= width);
                // SAFETY: the image, its plane and the line lie in the images; a whole run ends inside the line,
                // single taps were placed; the row has room from `at` on.
                unsafe {
                    let out = out.add(index * stride + at - k.start);
                    let plane = pixel.image * self.image_elements() + channel * height * width;
                    match (y, x) {
                        (None, _) => out.write_bytes(0, count),
                        (Some(y), Some(x)) => copy(images.add(plane + y * width + x), out, count),
                        (Some(y), None) => {
                            for i in 0..count {
                                let x = self.place(1, pixel.x, tap_x + i);
                                *out.add(i) = x.map_or(0.0, |x| *images.add(plane + y * width + x));
                            }
                        }
                    }
                }
                if self.advance(&mut pixel) {
                    y = self.place(0, pixel.y, tap_y);
                }
            }
            at += count;
        }
    }

    /// Moves to the next output pixel; whether that starts a new line.
    fn advance(&self, pixel: &mut Pixel) -> bool {
        let [height, width] = self.output;
        pixel.x += 1;
        let wraps = pixel.x == width;
        if wraps {
            (pixel.x, pixel.y) = (0, pixel.y + 1);
            if pixel.y == height {
                (pixel.y, pixel.image) = (0, pixel.image + 1);
            }
        }
        wraps
    }

    /// Channels of one tap after the other, of several taps at once where they lie side by side.
    ///
    /// # Safety
    /// As for `block`, the image being this pixel's.
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

/// An output pixel.
#[derive(Clone, Copy)]
struct Pixel {
    image: usize,
    y: usize,
    x: usize,
}

/// Copies `count` elements.
///
/// # Safety
/// They are readable and writable and do not overlap.
type Copy = unsafe fn(*const f32, *mut f32, usize);

/// The copy of short runs, whose length is known to the compiler: a call into the C library would take longer.
fn copier(count: usize) -> Copy {
    /// # Safety
    /// As for `Copy`, `N` being the count.
    unsafe fn fixed<const N: usize>(from: *const f32, to: *mut f32, _: usize) {
        // SAFETY: passed on to the caller.
        unsafe { to.cast::<[f32; N]>().write_unaligned(from.cast::<[f32; N]>().read_unaligned()) }
    }
    /// # Safety
    /// As for `Copy`.
    unsafe fn any(from: *const f32, to: *mut f32, count: usize) {
        // SAFETY: passed on to the caller.
        unsafe { from.copy_to_nonoverlapping(to, count) }
    }
    match count {
        1 => fixed::<1>,
        2 => fixed::<2>,
        3 => fixed::<3>,
        4 => fixed::<4>,
        5 => fixed::<5>,
        7 => fixed::<7>,
        8 => fixed::<8>,
        11 => fixed::<11>,
        14 => fixed::<14>,
        16 => fixed::<16>,
        _ => any,
    }
}
