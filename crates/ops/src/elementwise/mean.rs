//! `Mean`: the mean of any number of inputs, elementwise with broadcasting.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Mean.html>.

use super::variadic;
use crate::inference::{FLOATS, elementwise, first_is};

use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("Mean", &[1, 6, 8, 13], (1, usize::MAX), (1, 1));

pub(crate) struct Mean;

impl Op for Mean {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(first_is(cx, elementwise(cx, FLOATS)?.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        variadic::eval_sum(cx, f64::recip)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.inputs.len() as f64 * shapes.output_elements(0)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        variadic::downgrade(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn adds_up() {
        let inputs = [t(&[2], &[1f32, 2.0]), t(&[1], &[10f32]), t(&[], &[100f32])];
        assert_eq!(run(&Mean, &Attrs::new(), &inputs), t(&[2], &[37f32, 37.333332]));
    }
}
