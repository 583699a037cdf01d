//! `HannWindow`, `HammingWindow`, `BlackmanWindow`: sums of cosines over `0..size`.
//!
//! A periodic window is the first `size` points of the symmetric one of `size + 1`.
//! Spec: <https://onnx.ai/onnx/operators/onnx__HannWindow.html> and its neighbours.

use super::size;
use crate::attributes::int;
use crate::movement::{cast, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{DType, Tensor, TensorType};

static HANN_SCHEMA: Schema = Schema::onnx("HannWindow", &[17], (1, 1), (1, 1))
    .with(&[("output_datatype", int(1)), ("periodic", int(1))]);
static HAMMING_SCHEMA: Schema = Schema::onnx("HammingWindow", &[17], (1, 1), (1, 1))
    .with(&[("output_datatype", int(1)), ("periodic", int(1))]);
static BLACKMAN_SCHEMA: Schema = Schema::onnx("BlackmanWindow", &[17], (1, 1), (1, 1))
    .with(&[("output_datatype", int(1)), ("periodic", int(1))]);

/// One of the three.
pub(crate) struct WindowFunction {
    schema: &'static Schema,
    /// Weights of `cos(2πkn/N)` for k = 0, 1, 2.
    cosines: [f64; 3],
}

/// A raised cosine.
pub(crate) static HANN: WindowFunction = WindowFunction { schema: &HANN_SCHEMA, cosines: [0.5, -0.5, 0.0] };
/// A cosine on a pedestal.
pub(crate) static HAMMING: WindowFunction =
    WindowFunction { schema: &HAMMING_SCHEMA, cosines: [25.0 / 46.0, -21.0 / 46.0, 0.0] };
/// Two cosines.
pub(crate) static BLACKMAN: WindowFunction =
    WindowFunction { schema: &BLACKMAN_SCHEMA, cosines: [0.42, -0.5, 0.08] };

impl Op for WindowFunction {
    fn schema(&self) -> &'static Schema {
        self.schema
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let dtype = dtype_attr(cx.attrs, "output_datatype")?.unwrap_or(DType::F32);
        let size = cx.dims(0).and_then(|dims| dims.first().cloned()).unwrap_or_else(|| (cx.fresh)());
        Ok(vec![TensorType::new(dtype, [size]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let dtype = dtype_attr(cx.attrs, "output_datatype")?.unwrap_or(DType::F32);
        let size = size(cx, 0, "size", 0)?;
        checked_count(DType::F64, &[size])?;
        let periodic = cx.attrs.int_or("periodic", 1) != 0;
        // A symmetric window of one point has no period.
        let period = if periodic { size } else { size.saturating_sub(1) }.max(1) as f64;
        let point = |n: usize| {
            let phase = std::f64::consts::TAU * n as f64 / period;
            self.cosines.iter().enumerate().map(|(k, weight)| weight * (k as f64 * phase).cos()).sum::<f64>()
        };
        one(cast(&Tensor::vector((0..size).map(point).collect()), dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn known_windows() {
        let four = t(&[], &[4i32]);
        let symmetric = Attrs::new().with("periodic", 0);
        let run =
            |op: &WindowFunction, attrs: &Attrs, size: &Tensor| run(op, attrs, std::slice::from_ref(size));
        close(&run(&HANN, &Attrs::new(), &four), &[0.0, 0.5, 1.0, 0.5]);
        close(&run(&HANN, &symmetric, &four), &[0.0, 0.75, 0.75, 0.0]);
        close(&run(&HAMMING, &Attrs::new(), &four), &[4.0 / 46.0, 25.0 / 46.0, 1.0, 25.0 / 46.0]);
        close(&run(&BLACKMAN, &Attrs::new(), &four), &[0.0, 0.34, 1.0, 0.34]);
        let wide = Attrs::new().with("output_datatype", i64::from(DType::F64.to_onnx()));
        assert_eq!(run(&HANN, &wide, &t(&[], &[2i64])), t(&[2], &[0f64, 1.0]));
        assert!(refusal(&HANN, &wide, &[t(&[], &[-1i64])]).contains("size must be at least 0"));
    }
}
