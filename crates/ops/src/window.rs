//! Windows that slide over spatial axes, for convolutions and pools: attributes, symbolic and concrete output sizes.
//!
//! Axis 0 is the batch and axis 1 the channels; everything here is per spatial axis. The rules for `auto_pad` and
//! `ceil_mode` are those of <https://onnx.ai/onnx/operators/onnx__MaxPool.html> and
//! <https://onnx.ai/onnx/operators/onnx__Conv.html>.

use crate::InferError;
use fusebox_ir::{Attrs, Dim};

/// How padding is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoPad {
    /// As the `pads` attribute says.
    Explicit,
    /// Output is input over stride; the odd element of padding goes to the end.
    SameUpper,
    /// Output is input over stride; the odd element of padding goes to the beginning.
    SameLower,
    /// None.
    Valid,
}

/// Attributes of a window, one entry per spatial axis.
#[derive(Clone, Debug)]
pub struct Window {
    /// Window sizes.
    pub kernel: Vec<Dim>,
    /// Steps between windows, at least 1.
    pub strides: Vec<i64>,
    /// Steps between elements of a window, at least 1.
    pub dilations: Vec<i64>,
    /// Explicit padding before the first element.
    pub begins: Vec<i64>,
    /// Explicit padding after the last element.
    pub ends: Vec<i64>,
    /// How padding is chosen.
    pub auto_pad: AutoPad,
    /// Whether a last window may reach past the padding.
    pub ceil_mode: bool,
}

/// A window on one axis of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Elements of the input.
    pub input: i64,
    /// Windows.
    pub output: i64,
    /// Elements of a window.
    pub kernel: i64,
    /// Step between windows.
    pub stride: i64,
    /// Step between elements of a window.
    pub dilation: i64,
    /// Padding before.
    pub begin: i64,
    /// Padding after.
    pub end: i64,
}

impl Axis {
    /// Input position of element `tap` of window `index`; outside `0..input` it lies in the padding.
    pub fn position(&self, index: i64, tap: i64) -> i64 {
        index * self.stride + tap * self.dilation - self.begin
    }
}

/// Largest stride, dilation, pad or window that is taken seriously: products of three stay within i64.
const MAX_EXTENT: i64 = 1 << 20;

fn list(attrs: &Attrs, name: &str, count: usize, default: i64, least: i64) -> Result<Vec<i64>, InferError> {
    let Some(values) = attrs.ints(name) else { return Ok(vec![default; count]) };
    if values.len() != count || values.iter().any(|v| !(least..=MAX_EXTENT).contains(v)) {
        let expected = format!("{count} integers from {least} to {MAX_EXTENT}, it is {values:?}");
        return Err(InferError::Attribute { name: name.into(), expected });
    }
    Ok(values.to_vec())
}

impl Window {
    /// Reads the attributes for windows of the given sizes.
    ///
    /// # Errors
    /// Lists of the wrong length, values out of range, an unknown `auto_pad`.
    pub fn read(attrs: &Attrs, kernel: &[Dim]) -> Result<Self, InferError> {
        let rank = kernel.len();
        let auto_pad = match attrs.str("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" | "" => AutoPad::Explicit,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            _ => {
                let expected = "NOTSET, SAME_UPPER, SAME_LOWER or VALID".into();
                return Err(InferError::Attribute { name: "auto_pad".into(), expected });
            }
        };
        let explicit = auto_pad == AutoPad::Explicit;
        let pads = if explicit { list(attrs, "pads", 2 * rank, 0, 0)? } else { vec![0; 2 * rank] };
        Ok(Self {
            kernel: kernel.to_vec(),
            strides: list(attrs, "strides", rank, 1, 1)?,
            dilations: list(attrs, "dilations", rank, 1, 1)?,
            begins: pads[..rank].to_vec(),
            ends: pads[rank..].to_vec(),
            auto_pad,
            ceil_mode: attrs.int_or("ceil_mode", 0) != 0,
        })
    }

    /// Window sizes of the required `kernel_shape` attribute.
    ///
    /// # Errors
    /// When it is absent or has sizes out of range.
    pub fn kernel_attribute(attrs: &Attrs) -> Result<Vec<Dim>, InferError> {
        let kernel = attrs.ints("kernel_shape").unwrap_or_default();
        if kernel.is_empty() || kernel.iter().any(|k| !(1..=MAX_EXTENT).contains(k)) {
            let expected = format!("present, with sizes from 1 to {MAX_EXTENT}");
            return Err(InferError::Attribute { name: "kernel_shape".into(), expected });
        }
        Ok(kernel.iter().copied().map(Dim::known).collect())
    }

    /// Number of windows along spatial axis `axis` of size `input`.
    ///
    /// # Errors
    /// When the window is larger than the padded axis.
    pub fn output(&self, axis: usize, input: &Dim) -> Result<Dim, InferError> {
        let (one, stride) = (Dim::known(1), Dim::known(self.strides[axis]));
        if matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
            return Ok(input.ceil_div(&stride));
        }
        let extent = self.kernel[axis].sub(&one).mul(&Dim::known(self.dilations[axis])).add(&one);
        let padded = input.add(&Dim::known(self.begins[axis] + self.ends[axis]));
        let travel = padded.sub(&extent);
        if travel.value().is_some_and(|v| v < 0) {
            return Err(InferError::shape(format!(
                "a window of extent {extent} does not fit into spatial axis {axis} of size {input} with padding {} and {}",
                self.begins[axis], self.ends[axis]
            )));
        }
        if !self.ceil_mode {
            return Ok(travel.floor_div(&stride).add(&one));
        }
        // A window that would start in the padding after the input is left out.
        let started = input.add(&Dim::known(self.begins[axis])).ceil_div(&stride);
        Ok(travel.ceil_div(&stride).add(&one).smaller(&started))
    }

    /// Number of windows along each spatial axis.
    ///
    /// # Errors
    /// As [`Window::output`], and when the number of axes differs.
    pub fn outputs(&self, spatial: &[Dim]) -> Result<Vec<Dim>, InferError> {
        if spatial.len() != self.kernel.len() {
            return Err(InferError::shape(format!(
                "the window has {} spatial axes, the input has {} after batch and channels",
                self.kernel.len(),
                spatial.len()
            )));
        }
        spatial.iter().enumerate().map(|(axis, input)| self.output(axis, input)).collect()
    }

    /// The windows over known sizes, with automatic padding resolved.
    ///
    /// # Errors
    /// As [`Window::outputs`].
    pub fn axes(&self, spatial: &[usize]) -> Result<Vec<Axis>, InferError> {
        let dims: Vec<Dim> =
            spatial.iter().map(|size| Dim::known(i64::try_from(*size).unwrap_or(i64::MAX))).collect();
        let outputs = self.outputs(&dims)?;
        let known =
            |dim: &Dim| dim.value().ok_or_else(|| InferError::shape(format!("size {dim} is not known")));
        let axis = |(index, (input, output)): (usize, (&Dim, &Dim))| {
            let (input, output, kernel) = (known(input)?, known(output)?, known(&self.kernel[index])?);
            let (stride, dilation) = (self.strides[index], self.dilations[index]);
            let total = ((output - 1) * stride + (kernel - 1) * dilation + 1 - input).max(0);
            let (begin, end) = match self.auto_pad {
                AutoPad::SameUpper => (total / 2, total - total / 2),
                AutoPad::SameLower => (total - total / 2, total / 2),
                AutoPad::Explicit | AutoPad::Valid => (self.begins[index], self.ends[index]),
            };
            Ok(Axis { input, output, kernel, stride, dilation, begin, end })
        };
        dims.iter().zip(&outputs).enumerate().map(axis).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(attrs: &Attrs, kernel: i64, input: i64) -> (i64, i64, i64) {
        let window = Window::read(attrs, &[Dim::known(kernel)]).unwrap();
        let axis = window.axes(&[input as usize]).unwrap()[0];
        (axis.output, axis.begin, axis.end)
    }

    #[test]
    fn paddings_resolve() {
        let strided = Attrs::new().with("strides", vec![2i64]);
        assert_eq!(sizes(&strided.clone().with("pads", vec![1i64, 1]), 3, 8), (4, 1, 1));
        assert_eq!(sizes(&strided.clone().with("auto_pad", "SAME_UPPER"), 3, 8), (4, 0, 1));
        assert_eq!(sizes(&strided.clone().with("auto_pad", "SAME_LOWER"), 3, 8), (4, 1, 0));
        assert_eq!(sizes(&strided.with("auto_pad", "VALID"), 3, 8), (3, 0, 0));
    }

    #[test]
    fn ceil_mode_adds_a_window_only_if_it_starts_inside() {
        let ceil = Attrs::new().with("ceil_mode", 1i64).with("strides", vec![2i64]);
        assert_eq!(sizes(&ceil, 3, 6).0, 3);
        assert_eq!(sizes(&ceil.with("pads", vec![0i64, 1]), 1, 4).0, 2);
    }

    #[test]
    fn symbolic_sizes_stay_expressions() {
        let attrs = Attrs::new().with("strides", vec![2i64]).with("pads", vec![1i64, 1]);
        let window = Window::read(&attrs, &[Dim::known(3)]).unwrap();
        let output = window.output(0, &Dim::symbol("h")).unwrap();
        assert_eq!(output.substitute(&|_| Some(Dim::known(224))).value(), Some(112));
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let window = Window::read(&Attrs::new(), &[Dim::known(5)]).unwrap();
        let message = window.output(0, &Dim::known(3)).unwrap_err().to_string();
        assert!(message.contains("extent 5 does not fit into spatial axis 0 of size 3"), "{message}");
        let attrs = Attrs::new().with("strides", vec![0i64]);
        assert!(Window::read(&attrs, &[Dim::known(1)]).unwrap_err().to_string().contains("strides"));
    }
}
