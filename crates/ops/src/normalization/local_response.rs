//! `LRN`: `x / (bias + alpha/size · Σ x²)^beta`, the sum over neighbouring channels.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__LRN.html>.

use crate::attributes::{INT, float};
use crate::elementwise::unary;
use crate::inference::{FLOATS, same_as_first};
use crate::lanes::map_lanes;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::one;
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::Attrs;

static SCHEMA: Schema = Schema::onnx("LRN", &[1, 13], (1, 1), (1, 1)).with(&[
    ("alpha", float(0.0001)),
    ("beta", float(0.75)),
    ("bias", float(1.0)),
    ("size", INT),
]);

pub(crate) struct Lrn;

fn window(attrs: &Attrs) -> Result<usize, InferError> {
    let size = attrs.int("size").and_then(|s| usize::try_from(s).ok()).filter(|s| *s > 0);
    size.ok_or_else(|| InferError::Attribute { name: "size".into(), expected: "at least 1".into() })
}

impl Op for Lrn {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        window(cx.attrs)?;
        same_as_first(cx, FLOATS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, size) = (cx.tensor(0)?, window(cx.attrs)?);
        if x.shape().len() < 2 {
            return Err(EvalError::value(format!("LRN needs a channel axis, the shape is {:?}", x.shape())));
        }
        let attr = |name, default| f64::from(cx.attrs.float_or(name, default));
        let (alpha, beta, bias) = (attr("alpha", 1e-4), attr("beta", 0.75), attr("bias", 1.0));
        let (before, after) = ((size - 1) / 2, size / 2);
        one(map_lanes(x, 1, |lane| {
            let squares: Vec<f64> = lane.iter().map(|x| x * x).collect();
            for (channel, value) in lane.iter_mut().enumerate() {
                let last = channel.saturating_add(after).min(squares.len() - 1);
                let sum: f64 = squares[channel.saturating_sub(before)..=last].iter().sum();
                *value /= (bias + alpha / size as f64 * sum).powf(beta);
            }
        })?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let window = window(shapes.attrs).unwrap_or(1) as f64;
        unary::transcendental_flops(shapes) + 2.0 * window * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};

    #[test]
    fn sums_over_neighbouring_channels() {
        let x = t(&[1, 3, 1], &[1f32, 2.0, 3.0]);
        let attrs = Attrs::new().with("size", 2i64).with("alpha", 2f32).with("beta", 1f32);
        close(&run(&Lrn, &attrs, &[x]), &[1.0 / 6.0, 2.0 / 14.0, 0.3]);
    }
}
