//! `CausalConvWithState`: a depthwise convolution along a sequence that sees only what came before, and hands on the end
//! of it for the next step.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html>.

use crate::attributes::text;
use crate::inference::{FLOATS, expect, expect_same};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::view::{from_f64, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, TensorType};
use ndarray::{ArrayD, IxDyn};

static SCHEMA: Schema =
    Schema::onnx("CausalConvWithState", &[27], (2, 4), (2, 2)).with(&[("activation", text("none"))]);

pub(crate) struct CausalConvWithState;

fn is_activated(attrs: &Attrs) -> Result<bool, InferError> {
    match attrs.str("activation").unwrap_or("none") {
        "none" => Ok(false),
        "silu" | "swish" => Ok(true),
        _ => Err(InferError::Attribute { name: "activation".into(), expected: "none, silu or swish".into() }),
    }
}

/// An optional input of a given shape, zeros when absent.
fn floats(cx: &Eval<'_>, index: usize, name: &str, shape: &[usize]) -> Result<Vec<f64>, EvalError> {
    let count = checked_count(DType::F64, shape)?;
    match cx.optional(index)? {
        None => Ok(vec![0.0; count]),
        Some(tensor) if tensor.shape() == shape => Ok(to_f64(tensor)?.into_iter().collect()),
        Some(tensor) => {
            let found = tensor.shape();
            Err(EvalError::value(format!("{name} must have shape {shape:?}, found {found:?}")))
        }
    }
}

impl Op for CausalConvWithState {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        is_activated(cx.attrs)?;
        expect(cx, 0, FLOATS)?;
        (1..4).try_for_each(|index| expect_same(cx, 0, index))?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let axes = |index: usize| match cx.tensor(index).and_then(|ty| ty.shape.as_deref()) {
            Some(shape) if shape.len() != 3 => {
                Err(InferError::shape(format!("input {index} must have three axes, its shape is {shape:?}")))
            }
            shape => Ok(shape),
        };
        let (data, weights) = (axes(0)?, axes(1)?);
        let past = axes(3)?.map(|shape| shape[2].clone());
        let kept = weights.map(|shape| shape[2].sub(&Dim::known(1))).or(past).unwrap_or_else(|| (cx.fresh)());
        let state = match data {
            Some(shape) => TensorType::new(x.dtype, [shape[0].clone(), shape[1].clone(), kept]),
            None => TensorType::unranked(x.dtype),
        };
        Ok([x.clone().into(), state.into()].into_iter().take(cx.outputs).collect())
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, weights) = (cx.tensor(0)?, cx.tensor(1)?);
        let activated = is_activated(cx.attrs)?;
        let (&[batch, channels, length], &[_, _, taps]) = (x.shape(), weights.shape()) else {
            let (x, w) = (x.shape(), weights.shape());
            let reason = format!("input and weight must have three axes, their shapes are {x:?} and {w:?}");
            return Err(EvalError::value(reason));
        };
        let kept = taps.checked_sub(1).ok_or_else(|| EvalError::value("the weight has no taps"))?;
        let w = floats(cx, 1, "weight", &[channels, 1, taps])?;
        let bias = floats(cx, 2, "bias", &[channels])?;
        let past = floats(cx, 3, "past_state", &[batch, channels, kept])?;
        let data: Vec<f64> = to_f64(x)?.into_iter().collect();
        let (mut y, mut present) = (Vec::with_capacity(data.len()), Vec::with_capacity(past.len()));
        for plane in 0..batch * channels {
            let channel = plane % channels;
            let seen = [&past[plane * kept..][..kept], &data[plane * length..][..length]].concat();
            let filter = &w[channel * taps..][..taps];
            let sums = seen.windows(taps).map(|window| {
                let sum = window.iter().zip(filter).map(|(x, w)| x * w).sum::<f64>() + bias[channel];
                if activated { sum / (1.0 + (-sum).exp()) } else { sum }
            });
            y.extend(sums);
            present.extend(&seen[seen.len() - kept..]);
        }
        let shaped = |shape: &[usize], values: Vec<f64>| {
            from_f64(x.dtype(), &ArrayD::from_shape_vec(IxDyn(shape), values)?)
        };
        Ok(vec![shaped(x.shape(), y)?.into(), shaped(&[batch, channels, kept], present)?.into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let taps = shapes.input(1).and_then(|sizes| sizes.last().copied()).unwrap_or(1.0);
        2.0 * taps * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run_all, t};

    #[test]
    fn the_state_continues_a_sequence() {
        let x = [1f32, 2., 3., 4.];
        let weights = || Some(t(&[1, 1, 3], &[1f32, 10., 100.]));
        let run = |part: &[f32], past: Option<fusebox_ir::Tensor>| {
            let inputs = [Some(t(&[1, 1, part.len()], part)), weights(), Some(t(&[1], &[0.5f32])), past];
            run_all(&CausalConvWithState, &Attrs::new(), &inputs, 2).unwrap()
        };
        let whole = run(&x, None);
        close(&whole[0], &[100.5, 210.5, 321.5, 432.5]);
        close(&whole[1], &[3., 4.]);
        let first = run(&x[..1], None);
        close(&first[1], &[0., 1.]);
        let rest = run(&x[1..], Some(first[1].clone()));
        close(&rest[0], &[210.5, 321.5, 432.5]);
        let message = refusal(
            &CausalConvWithState,
            &Attrs::new(),
            &[t(&[1, 2, 1], &[0f32; 2]), t(&[1, 1, 3], &[0f32; 3])],
        );
        assert_eq!(message, "weight must have shape [2, 1, 3], found [1, 1, 3]");
    }
}
