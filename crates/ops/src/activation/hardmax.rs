//! `Hardmax`: 1 at the first largest element and 0 elsewhere, along an axis.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Hardmax.html>.

use super::softmax_family;
use crate::attributes::int;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("Hardmax", &[1, 11, 13], (1, 1), (1, 1)).with(&[("axis", int(-1))]);

pub(crate) struct Hardmax;

fn hardmax(lane: &mut [f64]) {
    let mut best = 0;
    for (index, value) in lane.iter().enumerate() {
        if *value > lane[best] {
            best = index;
        }
    }
    lane.fill(0.0);
    if let Some(slot) = lane.get_mut(best) {
        *slot = 1.0;
    }
}

impl Op for Hardmax {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        softmax_family::infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        softmax_family::eval(cx, hardmax)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.output_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        softmax_family::upgrade(edit)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        softmax_family::downgrade(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn marks_the_first_of_equals() {
        let x = t(&[2, 3], &[1f32, 2.0, 2.0, 5.0, 0.0, -1.0]);
        close(&run(&Hardmax, &Attrs::new(), &[x]), &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }
}
