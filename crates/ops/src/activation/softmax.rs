//! `Softmax`: `e^x / Σ e^x` along an axis.
//!
//! A lane is shifted by its largest element, so nothing overflows; a lane of minus infinities is NaN.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Softmax.html>.

use super::softmax_family::{self, shift};
use crate::attributes::int;
use crate::elementwise::unary;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("Softmax", &[1, 11, 13], (1, 1), (1, 1)).with(&[("axis", int(-1))]);

pub(crate) struct Softmax;

fn softmax(lane: &mut [f64]) {
    let top = shift(lane);
    lane.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: f64 = lane.iter().sum();
    lane.iter_mut().for_each(|x| *x /= sum);
}

impl Op for Softmax {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        softmax_family::infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        softmax_family::eval(cx, softmax)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        unary::transcendental_flops(shapes) + 4.0 * shapes.output_elements(0)
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
    fn works_along_either_axis_without_overflow() {
        let x = t(&[2, 3], &[1f32, 2.0, 3.0, 1000.0, 0.0, -1000.0]);
        close(
            &run(&Softmax, &Attrs::new(), std::slice::from_ref(&x)),
            &[0.09003057317038046, 0.24472847105479764, 0.6652409557748218, 1.0, 0.0, 0.0],
        );
        close(
            &run(&Softmax, &Attrs::new().with("axis", 0i64), &[x]),
            &[0.0, 0.8807970779778823, 1.0, 1.0, 0.11920292202211755, 0.0],
        );
    }

    #[test]
    fn a_fully_masked_row_is_nan() {
        let x = t(&[2], &[f32::NEG_INFINITY, f32::NEG_INFINITY]);
        close(&run(&Softmax, &Attrs::new(), &[x]), &[f64::NAN, f64::NAN]);
    }
}
