//! Where each element of a resized axis comes from: coordinate transformations, rounding and interpolation weights.
//!
//! Refuses to know tensors. Formulas: <https://onnx.ai/onnx/operators/onnx__Resize.html>.

use crate::InferError;
use fusebox_ir::Attrs;

/// How values between elements are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// The nearest element, by a rounding.
    Nearest(Rounding),
    /// Linear interpolation.
    Linear,
    /// Cubic convolution with this coefficient.
    Cubic(f64),
}

/// Which element is nearest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rounding {
    HalfDown,
    HalfUp,
    Floor,
    Ceil,
}

/// Coordinate of the input that an index of the output stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Transform {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    HalfPixelForNearest,
    CropAndResize,
}

/// Attributes of Resize that hold for every axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) mode: Mode,
    pub(super) transform: Transform,
    pub(super) is_antialiased: bool,
    pub(super) excludes_outside: bool,
}

impl Method {
    /// Reads the attributes.
    ///
    /// # Errors
    /// When one has an unknown value.
    pub(super) fn from_attrs(attrs: &Attrs) -> Result<Self, InferError> {
        let wrong = |name: &str, expected: &str| InferError::Attribute {
            name: name.into(),
            expected: expected.into(),
        };
        let rounding = match attrs.str("nearest_mode").unwrap_or("round_prefer_floor") {
            "round_prefer_floor" => Rounding::HalfDown,
            "round_prefer_ceil" => Rounding::HalfUp,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            _ => return Err(wrong("nearest_mode", "round_prefer_floor, round_prefer_ceil, floor or ceil")),
        };
        let mode = match attrs.str("mode").unwrap_or("nearest") {
            "nearest" => Mode::Nearest(rounding),
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic(f64::from(attrs.float_or("cubic_coeff_a", -0.75))),
            _ => return Err(wrong("mode", "nearest, linear or cubic")),
        };
        let transform = match attrs.str("coordinate_transformation_mode").unwrap_or("half_pixel") {
            "half_pixel" => Transform::HalfPixel,
            "half_pixel_symmetric" => Transform::HalfPixelSymmetric,
            "pytorch_half_pixel" => Transform::PytorchHalfPixel,
            "align_corners" => Transform::AlignCorners,
            "asymmetric" => Transform::Asymmetric,
            "tf_half_pixel_for_nn" => Transform::HalfPixelForNearest,
            "tf_crop_and_resize" => Transform::CropAndResize,
            _ => return Err(wrong("coordinate_transformation_mode", "a mode of the specification")),
        };
        let flag = |name: &str| attrs.int_or(name, 0) != 0;
        let (is_antialiased, excludes_outside) = (flag("antialias"), flag("exclude_outside"));
        Ok(Self { mode, transform, is_antialiased, excludes_outside })
    }
}

/// One axis being resized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Size before.
    pub(super) input: usize,
    /// Size after.
    pub(super) output: usize,
    /// Scale, which need not be the ratio of the sizes.
    pub(super) scale: f64,
    /// Region of interest, in shares of the axis.
    pub(super) roi: (f64, f64),
}

/// Elements of the input that make one of the output, with weights; `None` is outside of the region of interest.
pub(super) type Taps = Option<Vec<(usize, f64)>>;

impl Axis {
    /// Taps of every output element.
    pub(super) fn taps(&self, method: &Method) -> Vec<Taps> {
        (0..self.output).map(|index| self.taps_of(index, method)).collect()
    }

    fn taps_of(&self, index: usize, method: &Method) -> Taps {
        let x = self.coordinate(index as f64, method.transform);
        let last = self.input as f64 - 1.0;
        if method.transform == Transform::CropAndResize && !(0.0..=last).contains(&x) {
            return None;
        }
        let clamped = |x: f64| x.clamp(0.0, last) as usize;
        if let Mode::Nearest(rounding) = method.mode {
            let nearest = match rounding {
                Rounding::HalfDown => (x - 0.5).ceil(),
                Rounding::HalfUp => (x + 0.5).floor(),
                Rounding::Floor => x.floor(),
                Rounding::Ceil => x.ceil(),
            };
            return Some(vec![(clamped(nearest), 1.0)]);
        }
        let mut taps = Vec::new();
        let (mut total, mut whole) = (0.0, 0.0);
        for (position, weight) in self.weights(x, method) {
            whole += weight;
            let is_outside = position < 0.0 || position > last;
            if !(is_outside && method.excludes_outside) {
                total += weight;
                taps.push((clamped(position), weight));
            }
        }
        // An interpolation kernel sums to one but for rounding; a stretched or cut one must be made to.
        let divisor = if method.excludes_outside { total } else { whole };
        taps.iter_mut().for_each(|tap| tap.1 /= divisor);
        Some(taps)
    }

    /// Positions around `x`, also outside of the axis, with the kernel's value there.
    fn weights(&self, x: f64, method: &Method) -> impl Iterator<Item = (f64, f64)> {
        let reach = if method.mode == Mode::Linear { 1.0 } else { 2.0 };
        let stretch = if method.is_antialiased { self.scale.min(1.0) } else { 1.0 };
        let base = x.ceil() - 1.0;
        let ratio = x - base;
        let start = (-reach / stretch).floor() as i64 + 1;
        let mode = method.mode;
        (start..2 - start)
            .map(move |step| (base + step as f64, kernel(mode, (step as f64 - ratio) * stretch)))
    }

    fn coordinate(&self, x: f64, transform: Transform) -> f64 {
        let (input, scale) = (self.input as f64, self.scale);
        let output = scale * input;
        let (start, end) = self.roi;
        match transform {
            Transform::HalfPixel => (x + 0.5) / scale - 0.5,
            Transform::HalfPixelSymmetric => {
                let offset = input / 2.0 * (1.0 - self.output as f64 / output);
                offset + (x + 0.5) / scale - 0.5
            }
            Transform::PytorchHalfPixel if output == 1.0 => -0.5,
            Transform::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Transform::AlignCorners if output == 1.0 => 0.0,
            Transform::AlignCorners => x * (input - 1.0) / (output - 1.0),
            Transform::Asymmetric => x / scale,
            Transform::HalfPixelForNearest => (x + 0.5) / scale,
            Transform::CropAndResize if self.output <= 1 => (start + end) * (input - 1.0) / 2.0,
            Transform::CropAndResize => {
                start * (input - 1.0) + x * (end - start) * (input - 1.0) / (self.output as f64 - 1.0)
            }
        }
    }
}

fn kernel(mode: Mode, x: f64) -> f64 {
    let x = x.abs();
    match mode {
        Mode::Cubic(a) if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        Mode::Cubic(a) if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        Mode::Cubic(_) => 0.0,
        _ => (1.0 - x).max(0.0),
    }
}
