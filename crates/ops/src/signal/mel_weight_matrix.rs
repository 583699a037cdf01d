//! `MelWeightMatrix`: triangular filters, evenly spaced on the mel scale, over the bins of a onesided spectrum.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html>.

use super::size;
use crate::attributes::int;
use crate::movement::{cast, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{DType, Dim, Tensor, TensorType};

static SCHEMA: Schema =
    Schema::onnx("MelWeightMatrix", &[17], (5, 5), (1, 1)).with(&[("output_datatype", int(1))]);

pub(crate) struct MelWeightMatrix;

fn mel(hertz: f64) -> f64 {
    2595.0 * (hertz / 700.0).ln_1p() / std::f64::consts::LN_10
}

fn hertz(mel: f64) -> f64 {
    700.0 * (mel / 2595.0 * std::f64::consts::LN_10).exp_m1()
}

fn frequency(cx: &Eval<'_>, index: usize) -> Result<f64, EvalError> {
    let tensor = cx.tensor(index)?;
    match tensor.floats().as_deref() {
        Some([value]) => Ok(*value),
        _ => Err(EvalError::value(format!("input {index} must be one float, found {}", tensor.ty()))),
    }
}

/// Writes a triangle over the bins from `low` over `centre` to `high` into column `column`.
fn triangle(weights: &mut [f64], bands: usize, column: usize, [low, centre, high]: [usize; 3]) {
    let mut set = |bin: usize, weight: f64| weights[bin * bands + column] = weight;
    if low == centre {
        set(centre, 1.0);
    } else {
        (low..=centre).for_each(|bin| set(bin, (bin - low) as f64 / (centre - low) as f64));
    }
    if high > centre {
        (centre..high).for_each(|bin| set(bin, (high - bin) as f64 / (high - centre) as f64));
    }
}

impl Op for MelWeightMatrix {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let dtype = dtype_attr(cx.attrs, "output_datatype")?.unwrap_or(DType::F32);
        let first = |index: usize| cx.dims(index).and_then(|dims| dims.first().cloned());
        let bins = first(1).map(|length| length.floor_div(&Dim::known(2)).add(&Dim::known(1)));
        let bins = bins.unwrap_or_else(|| (cx.fresh)());
        Ok(vec![TensorType::new(dtype, [bins, first(0).unwrap_or_else(|| (cx.fresh)())]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let dtype = dtype_attr(cx.attrs, "output_datatype")?.unwrap_or(DType::F32);
        let bands = size(cx, 0, "num_mel_bins", 0)?;
        let length = size(cx, 1, "dft_length", 0)?;
        let rate = size(cx, 2, "sample_rate", 1)? as f64;
        let (low, high) = (mel(frequency(cx, 3)?), mel(frequency(cx, 4)?));
        let bins = length / 2 + 1;
        let mut weights = vec![0f64; checked_count(DType::F64, &[bins, bands])?];
        let step = (high - low) / (bands as f64 + 2.0);
        let edge = |index: usize| -> Result<usize, EvalError> {
            let hertz = hertz(index as f64 * step + low);
            let bin = ((length as f64 + 1.0) * hertz / rate).floor();
            if bin >= 0.0 && bin < bins as f64 {
                return Ok(bin as usize);
            }
            let reason =
                format!("an edge at {hertz:.1} Hz is outside the spectrum of {bins} bins at {rate} Hz");
            Err(EvalError::value(reason))
        };
        let edges: Vec<usize> = (0..bands + 2).map(edge).collect::<Result<_, _>>()?;
        for column in 0..bands {
            triangle(&mut weights, bands, column, [edges[column], edges[column + 1], edges[column + 2]]);
        }
        one(cast(&Tensor::from_vec(vec![bins, bands], weights)?, dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    fn matrix(high: f32) -> [Tensor; 5] {
        let scalar = |value: i32| t(&[], &[value]);
        [scalar(2), scalar(8), scalar(8192), t(&[], &[0f32]), t(&[], &[high])]
    }

    #[test]
    fn triangles_peak_at_their_centres() {
        let found = run(&MelWeightMatrix, &Attrs::new(), &matrix(4096.0));
        assert_eq!(found.shape(), [5, 2]);
        close(&found, &[1., 0., 0., 1., 0., 0., 0., 0., 0., 0.]);
    }

    #[test]
    fn edges_stay_inside_the_spectrum() {
        let message = refusal(&MelWeightMatrix, &Attrs::new(), &matrix(1e6));
        assert!(message.contains("is outside the spectrum of 5 bins"), "{message}");
    }
}
