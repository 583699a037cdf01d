//! `SwiGLU`: `a · sigmoid(alpha · a) · b`: a gate through Swish times a linear branch of the same shape.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__SwiGLU.html>.

use crate::attributes::float;
use crate::inference::{FLOATS, expect_same, same_as_first};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::sizes::same_size;
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("SwiGLU", &[28], (2, 2), (1, 1)).with(&[("alpha", float(1.0))]);

pub(crate) struct SwiGlu;

fn different(a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug) -> InferError {
    InferError::shape(format!("gate and value must have one shape, they have {a:?} and {b:?}"))
}

impl Op for SwiGlu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect_same(cx, 0, 1)?;
        let shape = |index: usize| cx.tensor(index).and_then(|ty| ty.shape.as_ref());
        if let (Some(a), Some(b)) = (shape(0), shape(1)) {
            let fits = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_size(a, b).is_some());
            if !fits {
                return Err(different(a, b));
            }
        }
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        if a.shape() != b.shape() {
            return Err(different(&a.shape(), &b.shape()).into());
        }
        let alpha = f64::from(cx.attrs.float_or("alpha", 1.0));
        let mut product = to_f64(a)?;
        product.zip_mut_with(&to_f64(b)?, |a, b| *a = *a / (1.0 + (-alpha * *a).exp()) * b);
        one(from_f64(a.dtype(), &product)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        11.0 * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn the_gate_is_swish() {
        let (a, b) = (t(&[3], &[0f32, 1.0, -2.0]), t(&[3], &[5f32, 2.0, 3.0]));
        let silu = |x: f64| x / (1.0 + (-x).exp());
        close(
            &run(&SwiGlu, &Attrs::new(), &[a.clone(), b.clone()]),
            &[0.0, 2.0 * silu(1.0), 3.0 * silu(-2.0)],
        );
        let steep = run(&SwiGlu, &Attrs::new().with("alpha", 2f32), &[a.clone(), b]);
        close(&steep, &[0.0, silu(2.0), 1.5 * silu(-4.0)]);
        let message = refusal(&SwiGlu, &Attrs::new(), &[a, t(&[1], &[1f32])]);
        assert_eq!(message, "gate and value must have one shape, they have [3] and [1]");
    }
}
