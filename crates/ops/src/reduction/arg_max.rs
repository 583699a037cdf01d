//! `ArgMax`: the position of the largest element along an axis, the first or the last of equals.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ArgMax.html>.

use super::position;
use crate::attributes::int;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("ArgMax", &[1, 11, 12, 13], (1, 1), (1, 1)).with(&[
    ("axis", int(0)),
    ("keepdims", int(1)),
    ("select_last_index", int(0)),
]);

pub(crate) struct ArgMax;

impl Op for ArgMax {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        position::infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        position::eval(cx, std::cmp::Ordering::Greater)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.input_elements(0)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        position::downgrade(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn finds_positions_along_an_axis() {
        let x = t(&[2, 3], &[1f32, 5.0, 5.0, 2.0, 7.0, 7.0]);
        let find = |attrs: &Attrs| run(&ArgMax, attrs, std::slice::from_ref(&x));
        let rows = Attrs::new().with("axis", -1i64).with("keepdims", 0i64);
        assert_eq!(find(&rows), t(&[2], &[1i64, 1]));
        assert_eq!(find(&Attrs::new()).shape(), [1, 3]);
        assert_eq!(find(&rows.with("select_last_index", 1i64)), t(&[2], &[2i64, 2]));
    }
}
