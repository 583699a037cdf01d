//! `SkipLayerNormalization` and `SkipSimplifiedLayerNormalization` of com.microsoft: a sum, its normalisation, and on the
//! side mean, inverse deviation and the sum itself.
//!
//! Spec: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>.

use crate::fused::emit::Emit;
use crate::op::{Body, Op, Schema};
use fusebox_ir::{Graph, ValueId};

static LAYER: Schema = super::schema("SkipLayerNormalization", (3, 5), (1, 4));
static RMS: Schema = super::schema("SkipSimplifiedLayerNormalization", (3, 4), (1, 4));

/// One of the two.
pub(crate) struct SkipNorm {
    schema: &'static Schema,
}

/// With the mean subtracted.
pub(crate) static SKIP_LAYER_NORM: SkipNorm = SkipNorm { schema: &LAYER };
/// Without.
pub(crate) static SKIP_RMS_NORM: SkipNorm = SkipNorm { schema: &RMS };

impl Op for SkipNorm {
    fn schema(&self) -> &'static Schema {
        self.schema
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let is_layer = std::ptr::eq(self.schema, &raw const LAYER);
        let names: &[&str] =
            if is_layer { &["x", "skip", "gamma", "beta", "bias"] } else { &["x", "skip", "gamma", "bias"] };
        let mut e = super::emit(cx, names)?;
        let (x, skip, gamma) = (e.input(0)?, e.input(1)?, e.input(2)?);
        let (beta, bias) = if is_layer { (e.input(3), e.input(4)) } else { (None, e.input(3)) };
        let mut sum = e.op("Add", &[x, skip]);
        if let Some(bias) = bias {
            sum = e.op("Add", &[sum, bias]);
        }
        let mean = e.reduce("ReduceMean", sum, &[-1]);
        let centred = if is_layer { e.op("Sub", &[sum, mean]) } else { sum };
        let inverse = inverse_deviation(&mut e, centred, f64::from(cx.attrs.float_or("epsilon", 1e-12)));
        let y = e.op("Mul", &[centred, inverse]);
        let mut y = e.op("Mul", &[y, gamma]);
        if let Some(beta) = beta {
            y = e.op("Add", &[y, beta]);
        }
        Some(e.finish(&[y, mean, inverse, sum][..cx.outputs.clamp(1, 4)]))
    }
}

fn inverse_deviation(e: &mut Emit<'_>, centred: ValueId, epsilon: f64) -> ValueId {
    let square = e.op("Mul", &[centred, centred]);
    let variance = e.reduce("ReduceMean", square, &[-1]);
    let epsilon = e.scalar(epsilon);
    let shifted = e.op("Add", &[variance, epsilon]);
    let deviation = e.op("Sqrt", &[shifted]);
    e.op("Reciprocal", &[deviation])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run_all, t};
    use fusebox_ir::Attrs;

    #[test]
    fn sums_are_normalised() {
        let (x, skip) = (t(&[1, 1, 2], &[1f32, 2.0]), t(&[1, 1, 2], &[0f32, 1.0]));
        let (gamma, beta) = (t(&[2], &[1f32, 2.0]), t(&[2], &[0f32, 1.0]));
        let inputs = [Some(x.clone()), Some(skip.clone()), Some(gamma.clone()), Some(beta)];
        let outputs = run_all(&SKIP_LAYER_NORM, &Attrs::new(), &inputs, 4).unwrap();
        close(&outputs[0], &[-1.0, 3.0]);
        close(&outputs[1], &[2.0]);
        close(&outputs[3], &[1.0, 3.0]);
        let outputs = run_all(&SKIP_RMS_NORM, &Attrs::new(), &inputs[..3], 1).unwrap();
        let root = 5f64.sqrt();
        close(&outputs[0], &[1.0 / root, 6.0 / root]);
    }
}
