//! `STFT`: Fourier transforms of overlapping, windowed frames of a signal.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__STFT.html>.

use super::dft::along;
use super::size;
use crate::attributes::int;
use crate::inference::{FLOATS, expect, expect_same};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Dim, TensorType};
use ndarray::{Array, ArrayD, IxDyn};

static SCHEMA: Schema = Schema::onnx("STFT", &[17], (2, 4), (1, 1)).with(&[("onesided", int(1))]);

pub(crate) struct Stft;

/// Frames of `[batch, length, parts]`, each multiplied with the window: `[batch, frames, window, parts]`.
fn frames(signal: &ArrayD<f64>, window: &[f64], step: usize) -> Result<ArrayD<f64>, EvalError> {
    let &[batch, length, parts] = signal.shape() else {
        let reason = format!("the signal must have three axes, its shape is {:?}", signal.shape());
        return Err(EvalError::value(reason));
    };
    let count = length.checked_sub(window.len()).map_or(0, |travel| travel / step + 1);
    let shape = [batch, count, window.len(), parts];
    checked_count(DType::F64, &shape)?;
    let at = |i: ndarray::IxDyn| signal[[i[0], i[1] * step + i[2], i[3]]] * window[i[2]];
    Ok(Array::from_shape_fn(IxDyn(&shape), at))
}

impl Op for Stft {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        expect_same(cx, 0, 2)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        if shape.len() != 3 {
            return Err(InferError::shape(format!(
                "the signal must have three axes, its shape is {shape:?}"
            )));
        }
        let first = |index: usize| cx.dims(index).and_then(|dims| dims.first().cloned());
        let window = cx.tensor(2).and_then(|ty| ty.shape.as_ref()?.first().cloned());
        let frame = match (cx.input(3), cx.input(2)) {
            (Some(_), _) => first(3),
            (None, Some(_)) => window,
            (None, None) => Some(shape[1].clone()),
        };
        let frame = frame.unwrap_or_else(|| (cx.fresh)());
        let one = Dim::known(1);
        let step = first(1).filter(|step| step.value().is_none_or(|step| step > 0));
        let count = step.map(|step| shape[1].sub(&frame).floor_div(&step).add(&one).larger(&Dim::known(0)));
        let count = count.unwrap_or_else(|| (cx.fresh)());
        let onesided = cx.attrs.int_or("onesided", 1) != 0;
        let bins = if onesided { frame.floor_div(&Dim::known(2)).add(&one) } else { frame };
        Ok(vec![TensorType::new(x.dtype, [shape[0].clone(), count, bins, Dim::known(2)]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let step = size(cx, 1, "frame_step", 1)?;
        let window: Option<Vec<f64>> =
            cx.optional(2)?.map(to_f64).transpose()?.map(|w| w.into_iter().collect());
        let given = if cx.optional(3)?.is_some() { Some(size(cx, 3, "frame_length", 1)?) } else { None };
        let length = given.or(window.as_ref().map(Vec::len)).or(x.shape().get(1).copied()).unwrap_or(0);
        checked_count(DType::F64, &[length])?;
        let window = window.unwrap_or_else(|| vec![1.0; length]);
        if window.len() != length || length == 0 {
            let found = window.len();
            let reason =
                format!("the window must be as long as a frame ({length}) and not empty, it has {found}");
            return Err(EvalError::value(reason));
        }
        let frames = frames(&to_f64(x)?, &window, step)?;
        let onesided = cx.attrs.int_or("onesided", 1) != 0;
        one(from_f64(x.dtype(), &along(&frames, 2, length, false, onesided)?)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let bins = shapes.output(0).and_then(|sizes| sizes.get(2).copied()).unwrap_or(2.0);
        5.0 * shapes.output_elements(0) * bins.max(2.0).log2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, refusal, run, run_all, t};
    use fusebox_ir::Attrs;

    #[test]
    fn frames_overlap() {
        let x = from_fn(&[1, 6, 1], |i| i as f32);
        let window = t(&[4], &[1f32, 2.0, 2.0, 1.0]);
        let found = run(&Stft, &Attrs::new(), &[x.clone(), t(&[], &[2i64]), window.clone()]);
        assert_eq!(found.shape(), [1, 2, 3, 2]);
        // Frames 0 2 4 3 and 2 6 8 5.
        close(&found, &[9., 0., -4., 1., -1., 0., 21., 0., -6., -1., -1., 0.]);
        let both = run(&Stft, &Attrs::new().with("onesided", 0), &[x.clone(), t(&[], &[2i64]), window]);
        assert_eq!(both.shape(), [1, 2, 4, 2]);
        let plain = [Some(x.clone()), Some(t(&[], &[1i64])), None, Some(t(&[], &[2i64]))];
        let plain = run_all(&Stft, &Attrs::new(), &plain, 1).unwrap().remove(0);
        assert_eq!(plain.shape(), [1, 5, 2, 2]);
        let message = refusal(&Stft, &Attrs::new(), &[x, t(&[], &[0i64]), t(&[2], &[1f32; 2])]);
        assert_eq!(message, "frame_step must be at least 1, it is 0");
    }
}
