//! `SkipLayerNormalization` and `SkipSimplifiedLayerNormalization`: a sum, its normalisation, and on the side mean, inverse
//! deviation and the sum itself; and `SimplifiedLayerNormalization`, which ONNX Runtime also has in ai.onnx.

use super::{Defined, per_element};
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole, Schema};
use fusebox_ir::{Attrs, Graph, OpName, ValueId};

static LAYER: Schema = super::schema("SkipLayerNormalization", (3, 5), (1, 4));
static RMS: Schema = super::schema("SkipSimplifiedLayerNormalization", (3, 4), (1, 4));
static PLAIN: Schema = super::schema("SimplifiedLayerNormalization", (2, 2), (1, 2));
static PLAIN_ONNX: Schema = Schema::onnx("SimplifiedLayerNormalization", &[1], (2, 2), (1, 2));

const fn defined(schema: &'static Schema, define: for<'a> fn(&Body<'a>) -> Option<Graph>) -> Defined {
    Defined { schema, flops: per_element, role: QuantRole::StaysFloat, define }
}

/// With the mean subtracted.
pub(crate) static SKIP_LAYER_NORM: Defined = defined(&LAYER, |cx| skip(cx, true));
/// Without.
pub(crate) static SKIP_RMS_NORM: Defined = defined(&RMS, |cx| skip(cx, false));
/// Without a sum.
pub(crate) static RMS_NORM: Defined = defined(&PLAIN, plain);
/// The same under the name that files from before opset 23 use.
pub(crate) static RMS_NORM_ONNX: Defined = defined(&PLAIN_ONNX, plain);

fn skip(cx: &Body<'_>, is_layer: bool) -> Option<Graph> {
    let names: &[&str] =
        if is_layer { &["x", "skip", "gamma", "beta", "bias"] } else { &["x", "skip", "gamma", "bias"] };
    let mut e = super::emit(cx, names)?;
    let (x, skip) = (e.input(0)?, e.input(1)?);
    let (beta, bias) = if is_layer { (e.input(3), e.input(4)) } else { (None, e.input(3)) };
    let mut sum = x;
    if let Some(bias) = bias {
        sum = e.op("Add", &[sum, bias]);
    }
    sum = e.op("Add", &[sum, skip]);
    let epsilon = cx.attrs.float_or("epsilon", 1e-12);
    let (y, mut side) = if is_layer {
        layer_norm(&mut e, sum, beta, epsilon, cx.outputs)
    } else {
        (rms_norm(&mut e, sum, -1, epsilon)?, Vec::new())
    };
    if cx.outputs > 1 && !is_layer {
        let mean = e.reduce("ReduceMean", sum, &[-1]);
        side = vec![mean, inverse_rms(&mut e, sum, &[-1], epsilon)];
    }
    let outputs: Vec<ValueId> = [y].into_iter().chain(side).chain([sum]).collect();
    // Without statistics the sum is the last output only where all four are asked for.
    Some(e.finish(&outputs[..cx.outputs.clamp(1, outputs.len())]))
}

/// Result, and mean and inverse deviation where they are asked for.
fn layer_norm(
    e: &mut Emit<'_>,
    sum: ValueId,
    beta: Option<ValueId>,
    epsilon: f32,
    outputs: usize,
) -> (ValueId, Vec<ValueId>) {
    let attrs = Attrs::new().with("axis", -1).with("epsilon", epsilon);
    let inputs = [Some(sum), e.input(2), beta];
    let count = if outputs > 1 { 3 } else { 1 };
    let results = e.b.node(OpName::onnx("LayerNormalization"), &inputs, count, attrs);
    (results[0], results[1..].to_vec())
}

/// `x/√(mean x² + ε)·gamma`, gamma being input 1 or 2; spelled out before opset 23.
fn rms_norm(e: &mut Emit<'_>, x: ValueId, axis: i64, epsilon: f32) -> Option<ValueId> {
    let gamma = e.input(2).or(e.input(1))?;
    if e.opset() >= 23 {
        let attrs = Attrs::new().with("axis", axis).with("epsilon", epsilon);
        return Some(e.op_with("RMSNormalization", &[x, gamma], attrs));
    }
    let axes: Vec<i64> = (axis..0).collect();
    let inverse = inverse_rms(e, x, &axes, epsilon);
    let y = e.op("Mul", &[x, inverse]);
    Some(e.op("Mul", &[y, gamma]))
}

fn inverse_rms(e: &mut Emit<'_>, x: ValueId, axes: &[i64], epsilon: f32) -> ValueId {
    let square = e.op("Mul", &[x, x]);
    let mean = e.reduce("ReduceMean", square, axes);
    let epsilon = e.scalar(f64::from(epsilon));
    let shifted = e.op("Add", &[mean, epsilon]);
    let root = e.op("Sqrt", &[shifted]);
    e.op("Reciprocal", &[root])
}

fn plain(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &["x", "scale"])?;
    let axis = cx.attrs.int_or("axis", -1);
    let axis = if axis < 0 { axis } else { axis - e.ty(0)?.rank()? as i64 };
    let epsilon = cx.attrs.float_or("epsilon", 1e-5);
    let x = e.input(0)?;
    let y = rms_norm(&mut e, x, axis, epsilon)?;
    if cx.outputs < 2 {
        return Some(e.finish(&[y]));
    }
    let axes: Vec<i64> = (axis..0).collect();
    let inverse = inverse_rms(&mut e, x, &axes, epsilon);
    Some(e.finish(&[y, inverse]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, run_all, t};

    #[test]
    fn sums_are_normalised() {
        let (x, skip) = (t(&[1, 1, 2], &[1f32, 2.0]), t(&[1, 1, 2], &[0f32, 1.0]));
        let (gamma, beta) = (t(&[2], &[1f32, 2.0]), t(&[2], &[0f32, 1.0]));
        let inputs = [Some(x.clone()), Some(skip.clone()), Some(gamma.clone()), Some(beta)];
        let outputs = run_all(&SKIP_LAYER_NORM, &Attrs::new(), &inputs, 4).unwrap();
        close(&outputs[0], &[-1.0, 3.0]);
        close(&outputs[1], &[2.0]);
        close(&outputs[3], &[1.0, 3.0]);
        let root = 5f64.sqrt();
        let outputs = run_all(&SKIP_RMS_NORM, &Attrs::new(), &inputs[..3], 4).unwrap();
        close(&outputs[0], &[1.0 / root, 6.0 / root]);
        close(&outputs[3], &[1.0, 3.0]);
    }

    #[test]
    fn the_plain_form_is_a_root_mean_square() {
        let inputs = [t(&[1, 2], &[1f32, 3.0]), t(&[2], &[1f32, 2.0])];
        let root = 5f64.sqrt();
        for op in [&RMS_NORM, &RMS_NORM_ONNX] {
            close(&run(op, &Attrs::new(), &inputs), &[1.0 / root, 6.0 / root]);
        }
    }
}
