//! `NegativeLogLikelihoodLoss`: the negated log-probability of the target classes.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html>.

use super::weighted;
use crate::attributes::{INT, text};
use crate::inference::first_is;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::sizes::unknown;
use crate::view::{one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("NegativeLogLikelihoodLoss", &[12, 13, 22], (2, 3), (1, 1))
    .with(&[("ignore_index", INT), ("reduction", text("mean"))]);

pub(crate) struct NegativeLogLikelihoodLoss;

impl Op for NegativeLogLikelihoodLoss {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Ok(weighted::infer(cx)?.map_or_else(|| unknown(cx), |ty| first_is(cx, ty.into())))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let log: Vec<f64> = to_f64(cx.tensor(0)?)?.into_iter().collect();
        one(weighted::loss(cx, &log)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        2.0 * shapes.input_elements(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::{Attrs, Tensor};

    fn inputs() -> [Tensor; 3] {
        let log = t(&[2, 2, 2], &[-1f32, -2., -3., -4., -5., -6., -7., -8.]);
        [log, t(&[2, 2], &[0i64, 1, 1, 0]), t(&[2], &[1f32, 0.5])]
    }

    #[test]
    fn reductions_weights_and_ignored_classes() {
        let [log, classes, weights] = inputs();
        let of = |reduction: &str| Attrs::new().with("reduction", reduction);
        let run = |attrs: &Attrs, inputs: &[Tensor]| run(&NegativeLogLikelihoodLoss, attrs, inputs);
        let (plain, weighted) = ([log.clone(), classes.clone()], [log, classes, weights]);
        close(&run(&of("none"), &plain), &[1., 4., 7., 6.]);
        close(&run(&of("sum"), &plain), &[18.]);
        close(&run(&Attrs::new(), &plain), &[4.5]);
        close(&run(&of("none"), &weighted), &[1., 2., 3.5, 6.]);
        close(&run(&of("mean"), &weighted), &[12.5 / 3.0]);
        close(&run(&of("mean").with("ignore_index", 1), &weighted), &[3.5]);
    }

    #[test]
    fn classes_are_checked() {
        let [log, ..] = inputs();
        let message =
            refusal(&NegativeLogLikelihoodLoss, &Attrs::new(), &[log, t(&[2, 2], &[0i64, 2, 0, 0])]);
        assert_eq!(message, "class 2 is outside 0..2 and not ignored");
    }
}
