//! Evaluation over sliding windows: which input positions every window covers, computed once for all channels.
//!
//! Refuses to know what is done with them.

use crate::broadcast::check_elements;
use crate::inference::{Kinds, expect, first_is};
use crate::op::{Infer, Inferred};
use crate::window::{Axis, Window};
use crate::{EvalError, InferError};
use fusebox_ir::{Attrs, Dim, TensorType};

/// Output type of a pool, given its attributes.
pub(super) fn infer(cx: &Infer<'_>, kinds: Kinds) -> Result<Vec<Inferred>, InferError> {
    expect(cx, 0, kinds)?;
    let kernel = Window::kernel_attribute(cx.attrs)?;
    let window = Window::read(cx.attrs, &kernel)?;
    let Some(ty) = cx.tensor(0) else { return Ok(first_is(cx, Inferred::default())) };
    let Some(shape) = &ty.shape else { return Ok(first_is(cx, TensorType::unranked(ty.dtype).into())) };
    Ok(first_is(cx, TensorType::new(ty.dtype, output_dims(&window, shape)?).into()))
}

fn output_dims(window: &Window, shape: &[Dim]) -> Result<Vec<Dim>, InferError> {
    if shape.len() < 3 {
        let reason = format!("a pool needs batch, channels and spatial axes, the shape is {shape:?}");
        return Err(InferError::shape(reason));
    }
    Ok(shape[..2].iter().cloned().chain(window.outputs(&shape[2..])?).collect())
}

/// Windows over an input of known sizes.
pub(super) struct Windows {
    /// Per spatial axis.
    pub axes: Vec<Axis>,
    /// Shape of the output.
    pub shape: Vec<usize>,
    /// Batch times channels.
    pub planes: usize,
    /// Elements of an input plane.
    pub area: usize,
    /// Elements of an output plane.
    pub pixels: usize,
}

/// One window.
pub(super) struct Covered<'a> {
    /// Its place in an output plane.
    pub pixel: usize,
    /// Positions in an input plane, in order.
    pub positions: &'a [usize],
    /// Positions with those in the padding.
    pub padded: usize,
}

impl Windows {
    /// The windows that the attributes describe.
    ///
    /// # Errors
    /// When they do not fit.
    pub(super) fn new(attrs: &Attrs, shape: &[usize]) -> Result<Self, EvalError> {
        let kernel = Window::kernel_attribute(attrs)?;
        let window = Window::read(attrs, &kernel)?;
        let dims: Vec<Dim> = shape.iter().map(|s| Dim::known(*s as i64)).collect();
        let output: Vec<usize> =
            output_dims(&window, &dims)?.iter().map(|d| d.value().unwrap_or(0).max(0) as usize).collect();
        check_elements(&output)?;
        let axes = window.axes(&shape[2..])?;
        let count = |sizes: &[usize]| sizes.iter().product();
        Ok(Self {
            axes,
            planes: count(&shape[..2]),
            area: count(&shape[2..]),
            pixels: count(&output[2..]),
            shape: output,
        })
    }

    /// Calls `f` with every window.
    pub(super) fn each(&self, mut f: impl FnMut(Covered<'_>)) {
        let rank = self.axes.len();
        let mut index = vec![0i64; rank];
        let mut positions = Vec::new();
        for pixel in 0..self.pixels {
            let mut rest = pixel;
            for (digit, axis) in index.iter_mut().zip(&self.axes).rev() {
                *digit = (rest % axis.output as usize) as i64;
                rest /= axis.output as usize;
            }
            positions.clear();
            positions.push(0);
            let mut padded = 1;
            for (axis, index) in self.axes.iter().zip(&index) {
                let taps: Vec<i64> = (0..axis.kernel).map(|tap| axis.position(*index, tap)).collect();
                padded *= taps.iter().filter(|p| **p < axis.input + axis.end).count();
                let inside = |p: &&i64| (0..axis.input).contains(*p);
                positions = positions
                    .iter()
                    .flat_map(|base| {
                        taps.iter().filter(inside).map(move |p| base * axis.input as usize + *p as usize)
                    })
                    .collect();
            }
            f(Covered { pixel, positions: &positions, padded });
        }
    }
}

/// Refuses or removes dilations and ceiling where the opset does not know them.
///
/// # Errors
/// When they are in use.
pub(super) fn downgrade(
    edit: &mut crate::op::Edit<'_>,
    dilations_since: i64,
    ceil_since: i64,
) -> Result<(), crate::VersionError> {
    let attrs = &mut edit.node().attrs;
    let dilated = attrs.ints("dilations").is_some_and(|d| d.iter().any(|d| *d != 1));
    let ceil = attrs.int_or("ceil_mode", 0) != 0;
    if edit.opset < dilations_since {
        if dilated {
            return Err(crate::versions::refuse(
                edit,
                format!("dilations came with opset {dilations_since}"),
            ));
        }
        edit.node().attrs.remove("dilations");
    }
    if edit.opset < ceil_since {
        if ceil {
            return Err(crate::versions::refuse(edit, format!("ceil_mode came with opset {ceil_since}")));
        }
        edit.node().attrs.remove("ceil_mode");
    }
    Ok(())
}
