//! `AveragePool`: the mean of every window.
//!
//! With `count_include_pad` the padding counts into the mean, but not what a last window of `ceil_mode` has past it.
//! Spec: <https://onnx.ai/onnx/operators/onnx__AveragePool.html>.

use super::windows::{self, Covered, Windows};
use crate::attributes::{INTS, int, text};
use crate::inference::FLOATS;
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::refuse;
use crate::view::{dispatch, one};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::Tensor;

static SCHEMA: Schema = Schema::onnx("AveragePool", &[1, 7, 10, 11, 19, 22], (1, 1), (1, 1)).with(&[
    ("auto_pad", text("NOTSET")),
    ("ceil_mode", int(0)),
    ("count_include_pad", int(0)),
    ("dilations", INTS),
    ("kernel_shape", INTS),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct AveragePool;

impl Op for AveragePool {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        windows::infer(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let windows = Windows::new(cx.attrs, x.shape())?;
        let padding_counts = cx.attrs.int_or("count_include_pad", 0) != 0;
        dispatch!(floats, x.dtype(), T => {
            let elements = x.elements::<T>()?;
            let mut values = vec![T::ZERO; windows.planes * windows.pixels];
            windows.each(|window: Covered<'_>| {
                for plane in 0..windows.planes {
                    let source = &elements[plane * windows.area..][..windows.area];
                    let covered = window.positions.iter().map(|at| Number::to_f64(source[*at]));
                    values[plane * windows.pixels + window.pixel] = T::from_f64({ let count = if padding_counts { window.padded } else { window.positions.len() }; covered.sum::<f64>() / count.max(1) as f64 });
                }
            });
            one(Tensor::from_vec(windows.shape, values)?)
        })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let taps: i64 = shapes.attrs.ints("kernel_shape").unwrap_or(&[1]).iter().product();
        taps as f64 * shapes.output_elements(0)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 7 {
            if edit.node().attrs.int_or("count_include_pad", 0) != 0 {
                return Err(refuse(edit, "count_include_pad came with opset 7"));
            }
            edit.node().attrs.remove("count_include_pad");
        }
        windows::downgrade(edit, 19, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, run};
    use fusebox_ir::Attrs;

    #[test]
    fn padding_counts_where_asked() {
        let x = from_fn(&[1, 2, 3], |i| i as f32 + 1.0);
        let attrs = Attrs::new().with("kernel_shape", vec![2i64]).with("pads", vec![1i64, 0]);
        close(&run(&AveragePool, &attrs, std::slice::from_ref(&x)), &[1.0, 1.5, 2.5, 4.0, 4.5, 5.5]);
        let counted = attrs.with("count_include_pad", 1i64);
        close(&run(&AveragePool, &counted, &[x]), &[0.5, 1.5, 2.5, 2.0, 4.5, 5.5]);
    }

    #[test]
    fn a_last_window_past_the_padding_counts_only_what_is_there() {
        let x = from_fn(&[1, 1, 4], |i| i as f32);
        let attrs = Attrs::new().with("kernel_shape", vec![3i64]).with("strides", vec![2i64]);
        let attrs = attrs.with("ceil_mode", 1i64).with("count_include_pad", 1i64);
        close(&run(&AveragePool, &attrs, &[x]), &[1.0, 2.5]);
    }
}
