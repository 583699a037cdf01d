//! `LpNormalization`: `x` over its L1 or L2 norm along an axis; zeros where the norm is zero.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>.

use crate::attributes::int;
use crate::axis::normalize;
use crate::inference::{FLOATS, same_as_first};
use crate::lanes::map_lanes;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::one;
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::Attrs;

static SCHEMA: Schema =
    Schema::onnx("LpNormalization", &[1, 22], (1, 1), (1, 1)).with(&[("axis", int(-1)), ("p", int(2))]);

pub(crate) struct LpNormalization;

fn is_l1(attrs: &Attrs) -> Result<bool, InferError> {
    match attrs.int_or("p", 2) {
        1 => Ok(true),
        2 => Ok(false),
        _ => Err(InferError::Attribute { name: "p".into(), expected: "1 or 2".into() }),
    }
}

impl Op for LpNormalization {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        is_l1(cx.attrs)?;
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, l1) = (cx.tensor(0)?, is_l1(cx.attrs)?);
        let axis = normalize(cx.attrs.int_or("axis", -1), x.shape().len())?;
        one(map_lanes(x, axis, |lane| {
            let norm = match l1 {
                true => lane.iter().map(|x| x.abs()).sum::<f64>(),
                false => lane.iter().map(|x| x * x).sum::<f64>().sqrt(),
            };
            lane.iter_mut().for_each(|x| *x = if norm == 0.0 { 0.0 } else { *x / norm });
        })?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        3.0 * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};

    #[test]
    fn divides_by_either_norm() {
        let x = t(&[2, 2], &[3f32, -4.0, 0.0, 0.0]);
        close(&run(&LpNormalization, &Attrs::new(), std::slice::from_ref(&x)), &[0.6, -0.8, 0.0, 0.0]);
        let l1 = Attrs::new().with("p", 1i64).with("axis", 0i64);
        close(&run(&LpNormalization, &l1, &[x]), &[1.0, -1.0, 0.0, 0.0]);
    }
}
