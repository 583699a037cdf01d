//! `Relu`: `max(0, x)`, elementwise, on floats and signed integers.
//!
//! NaN stays NaN. Spec: <https://onnx.ai/onnx/operators/onnx__Relu.html>.

use crate::inference::{SIGNED, same_as_first};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{input_type, refuse};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError, VersionError};

static SCHEMA: Schema = Schema::onnx("Relu", &[1, 6, 13, 14], (1, 1), (1, 1));

pub(crate) struct Relu;

impl Op for Relu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        same_as_first(cx, SIGNED)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        dispatch!(signed, x.dtype(), T => one(tensor(view::<T>(x)?.mapv(|x| x.larger(T::ZERO)))?))
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let integer = input_type(edit, 0).tensor().is_some_and(|ty| ty.dtype.is_integer());
        if edit.opset < 14 && integer {
            return Err(refuse(edit, "integers came with opset 14"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn cuts_below_zero_and_keeps_nan() {
        close(&run(&Relu, &Attrs::new(), &[t(&[3], &[-1f32, 2.0, f32::NAN])]), &[0.0, 2.0, f64::NAN]);
        assert_eq!(run(&Relu, &Attrs::new(), &[t(&[2], &[-1i32, 2])]), t(&[2], &[0i32, 2]));
    }
}
