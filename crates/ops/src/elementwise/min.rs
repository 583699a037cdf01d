//! `Min`: the smallest of any number of inputs, elementwise with broadcasting.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Min.html>.

use super::variadic::{self, Fold};
use crate::inference::{NUMBERS, elementwise, first_is, map_elements};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("Min", &[1, 6, 8, 12, 13], (1, usize::MAX), (1, 1));

pub(crate) struct Min;

impl Fold for Min {
    fn apply<T: Number>(a: T, b: T) -> T {
        a.smaller(b)
    }
}

impl Op for Min {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let ty = elementwise(cx, NUMBERS)?;
        let dims = map_elements(cx, &ty, |x| Some(x[1..].iter().fold(x[0].clone(), |a, b| a.smaller(b))));
        Ok(first_is(cx, Inferred { ty, dims }))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        variadic::eval::<Self>(cx)
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
    fn folds_and_propagates_nan() {
        let inputs = [t(&[3], &[1f32, 5.0, f32::NAN]), t(&[1], &[3f32])];
        let found = run(&Min, &Attrs::new(), &inputs).floats().unwrap();
        assert_eq!(found[..2], [1.0, 3.0]);
        assert!(found[2].is_nan());
        let inputs = [t(&[2], &[1i64, 5]), t(&[2], &[3i64, 3]), t(&[], &[2i64])];
        assert_eq!(run(&Min, &Attrs::new(), &inputs), t(&[2], &[1i64, 2]));
    }
}
