//! `LogSoftmax`: `x - ln Σ e^x` along an axis.
//!
//! A lane is shifted by its largest element, so nothing overflows.
//! Spec: <https://onnx.ai/onnx/operators/onnx__LogSoftmax.html>.

use super::softmax_family::{self, shift};
use crate::attributes::int;
use crate::elementwise::unary;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("LogSoftmax", &[1, 11, 13], (1, 1), (1, 1)).with(&[("axis", int(-1))]);

pub(crate) struct LogSoftmax;

fn log_softmax(lane: &mut [f64]) {
    let top = shift(lane);
    let sum: f64 = lane.iter().map(|x| (x - top).exp()).sum();
    lane.iter_mut().for_each(|x| *x = *x - top - sum.ln());
}

impl Op for LogSoftmax {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        softmax_family::infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        softmax_family::eval(cx, log_softmax)
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
            &run(&LogSoftmax, &Attrs::new(), std::slice::from_ref(&x)),
            &[-2.4076059644443806, -1.4076059644443804, -0.4076059644443804, 0.0, -1000.0, -2000.0],
        );
        close(
            &run(&LogSoftmax, &Attrs::new().with("axis", 0i64), &[x]),
            &[-999.0, -0.1269280110429726, 0.0, 0.0, -2.1269280110429727, -1003.0],
        );
    }
}
