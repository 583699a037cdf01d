//! `LpPool`: the p-norm of every window.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__LpPool.html>.

use super::windows::{self, Covered, Windows};
use crate::attributes::{INTS, int, text};
use crate::inference::FLOATS;
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::Tensor;

static SCHEMA: Schema = Schema::onnx("LpPool", &[1, 2, 11, 18, 22], (1, 1), (1, 1)).with(&[
    ("auto_pad", text("NOTSET")),
    ("ceil_mode", int(0)),
    ("dilations", INTS),
    ("kernel_shape", INTS),
    ("p", int(2)),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct LpPool;

impl Op for LpPool {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        windows::infer(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let windows = Windows::new(cx.attrs, x.shape())?;
        let p = cx.attrs.int_or("p", 2) as f64;
        dispatch!(floats, x.dtype(), T => {
            let elements = x.elements::<T>()?;
            let mut values = vec![T::ZERO; windows.planes * windows.pixels];
            windows.each(|window: Covered<'_>| {
                for plane in 0..windows.planes {
                    let source = &elements[plane * windows.area..][..windows.area];
                    let covered = window.positions.iter().map(|at| Number::to_f64(source[*at]));
                    values[plane * windows.pixels + window.pixel] = T::from_f64(covered.map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p));
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
        windows::downgrade(edit, 18, 18)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, run};
    use fusebox_ir::Attrs;

    #[test]
    fn takes_the_norm_of_windows() {
        let x = from_fn(&[1, 1, 4], |i| [3.0, -4.0, 0.0, 5.0][i]);
        let attrs = Attrs::new().with("kernel_shape", vec![2i64]).with("strides", vec![2i64]);
        close(&run(&LpPool, &attrs, std::slice::from_ref(&x)), &[5.0, 5.0]);
        close(&run(&LpPool, &attrs.with("p", 1i64), &[x]), &[7.0, 5.0]);
    }
}
