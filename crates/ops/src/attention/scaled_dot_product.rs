//! `Attention` of opset 23: scaled-dot-product attention with grouped queries, caches, masks, causal and sliding windows.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Attention.html>. Defined by its body. √scale goes to q and to k; a row all
//! of whose keys are hidden gives zeros, as the newest version says.

use super::bias::{Positions, emit_bias};
use crate::attributes::{FLOAT, INT, float, int};
use crate::forms::{drop_int, existed, inexpressible};
use crate::fused::emit::Emit;
use crate::movement::dtype_attr;
use crate::op::{Body, Edit, Infer, Inferred, Op, Schema};
use crate::sizes::unknown;
use crate::{InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, DType, Dim, Graph, TensorType, ValueId};

static SCHEMA: Schema = Schema::onnx("Attention", &[23, 24, 25], (3, 7), (1, 4)).with(&[
    ("is_causal", int(0)),
    ("kv_num_heads", INT),
    ("left_window_size", int(-1)),
    ("q_num_heads", INT),
    ("qk_matmul_output_mode", int(0)),
    ("right_window_size", int(-1)),
    ("scale", FLOAT),
    ("softcap", float(0.0)),
    ("softmax_precision", INT),
]);

pub(crate) struct Attention;

impl Op for Attention {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let shape = |index: usize| cx.tensor(index).and_then(|ty| ty.shape.as_deref());
        let (Some(q), Some(k), Some(v)) = (shape(0), shape(1), shape(2)) else { return Ok(unknown(cx)) };
        let (Some(q_type), Some(k_type), Some(v_type)) = (cx.dtype(0)?, cx.dtype(1)?, cx.dtype(2)?) else {
            return Ok(unknown(cx));
        };
        let q_heads = split(cx.attrs, "q_num_heads", q)?;
        let (k_heads, v_heads) = (split(cx.attrs, "kv_num_heads", k)?, split(cx.attrs, "kv_num_heads", v)?);
        let past = match cx.input(4) {
            None => Dim::known(0),
            Some(_) => shape(4).and_then(|p| p.get(2)).cloned().unwrap_or_else(|| (cx.fresh)()),
        };
        let keys = k_heads[2].add(&past);
        let y = if q.len() == 3 {
            vec![q[0].clone(), q[1].clone(), q_heads[1].mul(&v_heads[3])]
        } else {
            vec![q[0].clone(), q[1].clone(), q[2].clone(), v_heads[3].clone()]
        };
        let present = |heads: &[Dim; 4]| [heads[0].clone(), heads[1].clone(), keys.clone(), heads[3].clone()];
        let scores = [q[0].clone(), q_heads[1].clone(), q_heads[2].clone(), keys.clone()];
        let mut outputs: Vec<Inferred> = vec![
            TensorType::new(q_type, y).into(),
            TensorType::new(k_type, present(&k_heads)).into(),
            TensorType::new(v_type, present(&v_heads)).into(),
            TensorType::new(q_type, scores).into(),
        ];
        outputs.truncate(cx.outputs);
        Ok(outputs)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let keys = shapes.input(1).and_then(|k| Some(*k.get(k.len().checked_sub(2)?)?)).unwrap_or(0.0);
        2.0 * keys * (shapes.input_elements(0) + shapes.output_elements(0))
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let names = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"];
        let e = Emit::new(cx, &names)?;
        emit(e, cx.attrs, cx.outputs)
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        if edit.opset < 25 {
            drop_int(&SCHEMA, edit, "left_window_size", -1)?;
            drop_int(&SCHEMA, edit, "right_window_size", -1)?;
        }
        if edit.opset < 24 && edit.node().input(6).is_some() {
            return Err(inexpressible(&SCHEMA, edit, "nonpad_kv_seqlen does not exist there"));
        }
        Ok(())
    }
}

/// Shape with the heads on an axis of their own, `[B, H, S, D]`.
fn split(attrs: &Attrs, name: &str, shape: &[Dim]) -> Result<[Dim; 4], InferError> {
    match shape {
        [b, h, s, d] => Ok([b.clone(), h.clone(), s.clone(), d.clone()]),
        [b, s, width] => {
            let wrong =
                || InferError::Attribute { name: name.into(), expected: format!("a divisor of {width}") };
            let heads = Dim::known(attrs.int(name).filter(|heads| *heads > 0).ok_or_else(wrong)?);
            let depth = width.exact_div(&heads);
            let depth =
                if width.value().is_some() { depth.ok_or_else(wrong)? } else { width.floor_div(&heads) };
            Ok([b.clone(), heads, s.clone(), depth])
        }
        _ => Err(InferError::shape(format!("shape {shape:?} must have 3 or 4 axes"))),
    }
}

/// The body; `None` when it needs a rank or a head count that is not known.
fn emit(mut e: Emit<'_>, attrs: &Attrs, outputs: usize) -> Option<Graph> {
    let q_shape = split(attrs, "q_num_heads", e.ty(0)?.shape.as_deref()?).ok()?;
    let k_shape = split(attrs, "kv_num_heads", e.ty(1)?.shape.as_deref()?).ok()?;
    let is_flat = e.ty(0)?.rank()? == 3;
    let (mut q, mut k, mut v) = (e.input(0)?, e.input(1)?, e.input(2)?);
    if is_flat {
        let (heads, kv_heads) = (q_shape[1].value()?, k_shape[1].value()?);
        q = crate::fused::attention::split_heads(&mut e, q, heads);
        k = crate::fused::attention::split_heads(&mut e, k, kv_heads);
        v = crate::fused::attention::split_heads(&mut e, v, kv_heads);
    }
    let along = || Attrs::new().with("axis", 2);
    if let (Some(past_k), Some(past_v)) = (e.input(4), e.input(5)) {
        k = e.op_with("Concat", &[past_k, k], along());
        v = e.op_with("Concat", &[past_v, v], along());
    }
    let (present_k, present_v) = (k, v);
    let group = q_shape[1].value()?.checked_div(k_shape[1].value()?)?;
    if group > 1 {
        k = crate::fused::attention::repeat_heads(&mut e, k, group);
        v = crate::fused::attention::repeat_heads(&mut e, v, group);
    }
    let scores = emit_scores(&mut e, attrs, q, k, &q_shape[3])?;
    let bounded = crate::fused::attention::emit_softcap(&mut e, scores, attrs.float_or("softcap", 0.0));
    let past = e.input(4);
    let biased = emit_bias(&mut e, attrs, bounded, &Positions { q, keys: k, past })?;
    let weights = emit_softmax(&mut e, attrs, biased)?;
    if e.ty(2)?.dtype != e.dtype {
        v = e.cast(v, e.dtype);
    }
    let mut y = e.op("MatMul", &[weights, v]);
    if is_flat {
        let rows = e.transpose(y, &[0, 2, 1, 3]);
        y = e.reshape(rows, &[0, 0, -1]);
    }
    let shown = match attrs.int_or("qk_matmul_output_mode", 0) {
        0 => scores,
        1 => bounded,
        2 => biased,
        _ => weights,
    };
    Some(e.finish(&[y, present_k, present_v, shown][..outputs.clamp(1, 4)]))
}

fn emit_scores(e: &mut Emit<'_>, attrs: &Attrs, q: ValueId, k: ValueId, depth: &Dim) -> Option<ValueId> {
    let scale = match attrs.float("scale") {
        Some(scale) => f64::from(scale),
        None => 1.0 / (depth.value()? as f64).sqrt(),
    };
    let root = e.scalar(scale.sqrt());
    let q = e.op("Mul", &[q, root]);
    let k = e.transpose(k, &[0, 1, 3, 2]);
    let k = e.op("Mul", &[k, root]);
    Some(e.op("MatMul", &[q, k]))
}

/// Softmax in the precision that is asked for, rows without a visible key zero.
fn emit_softmax(e: &mut Emit<'_>, attrs: &Attrs, scores: ValueId) -> Option<ValueId> {
    let own = e.dtype;
    let precision = dtype_attr(attrs, "softmax_precision").ok()?.filter(|dtype| *dtype != own);
    let wide = precision.map_or(scores, |dtype| e.cast(scores, dtype));
    let weights = e.op_with("Softmax", &[wide], Attrs::new().with("axis", -1));
    let weights = precision.map_or(weights, |_| e.cast(weights, own));
    let highest = e.reduce("ReduceMax", scores, &[-1]);
    let (hidden, zero) = (e.scalar(f64::NEG_INFINITY), e.scalar(0.0));
    let is_hidden = e.op("Equal", &[highest, hidden]);
    Some(e.op("Where", &[is_hidden, zero, weights]))
}

/// Whether the mask is boolean.
pub(super) fn has_bool_mask(e: &Emit<'_>) -> bool {
    e.ty(3).is_some_and(|ty| ty.dtype == DType::Bool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, run_all, t};
    use fusebox_ir::Tensor;

    fn attend(attrs: &Attrs, inputs: &[Option<Tensor>]) -> Tensor {
        run_all(&Attention, attrs, inputs, 1).unwrap().remove(0)
    }

    #[test]
    fn equal_keys_average_the_values() {
        let q = t(&[1, 1, 2, 2], &[1f32, 0.0, 0.0, 1.0]);
        let k = t(&[1, 1, 2, 2], &[1f32, 1.0, 1.0, 1.0]);
        let v = t(&[1, 1, 2, 1], &[2f32, 4.0]);
        let inputs = [q, k, v].map(Some);
        close(&attend(&Attrs::new(), &inputs), &[3.0, 3.0]);
        close(&attend(&Attrs::new().with("is_causal", 1), &inputs), &[2.0, 3.0]);
        // Values may have a type of their own; the result has that of the queries.
        let [q, k, _] = inputs;
        let wide = attend(&Attrs::new(), &[q, k, Some(t(&[1, 1, 2, 1], &[2f64, 4.0]))]);
        assert_eq!(wide, t(&[1, 1, 2, 1], &[3f32, 3.0]));
    }

    #[test]
    fn flat_and_split_layouts_agree_with_grouped_heads() {
        let (q, k) = (from_fn(&[1, 3, 8], |i| (i % 5) as f32), from_fn(&[1, 3, 4], |i| (i % 3) as f32));
        let v = from_fn(&[1, 3, 4], |i| i as f32);
        let attrs = Attrs::new().with("q_num_heads", 4).with("kv_num_heads", 2).with("scale", 0.5f32);
        let flat = attend(&attrs, &[Some(q.clone()), Some(k.clone()), Some(v.clone())]);
        let heads = |x: &Tensor, heads: usize| {
            let split = x.reshaped(vec![1, 3, heads, 2]).unwrap();
            let perm = Attrs::new().with("perm", vec![0, 2, 1, 3]);
            crate::check::run(crate::op(&fusebox_ir::OpName::onnx("Transpose")).unwrap(), &perm, &[split])
        };
        let split = attend(
            &Attrs::new().with("scale", 0.5f32),
            &[&heads(&q, 4), &heads(&k, 2), &heads(&v, 2)].map(|x| Some(x.clone())),
        );
        let (flat, split) = (flat.floats().unwrap(), split.floats().unwrap());
        for (at, value) in flat.iter().enumerate() {
            let (row, head, column) = (at / 8, at / 2 % 4, at % 2);
            assert!((value - split[head * 6 + row * 2 + column]).abs() < 1e-5);
        }
    }

    #[test]
    fn hidden_rows_are_zero_and_caches_are_kept() {
        let q = t(&[1, 1, 1, 1], &[1f32]);
        let (k, v) = (t(&[1, 1, 1, 1], &[1f32]), t(&[1, 1, 1, 1], &[8f32]));
        let hidden = Tensor::from_bools(vec![1, 1], [false]).unwrap();
        let inputs = [Some(q.clone()), Some(k.clone()), Some(v.clone()), Some(hidden)];
        close(&attend(&Attrs::new(), &inputs), &[0.0]);
        let past = t(&[1, 1, 1, 1], &[4f32]);
        let inputs = [Some(q), Some(k.clone()), Some(v), None, Some(k), Some(past)];
        let outputs = run_all(&Attention, &Attrs::new().with("is_causal", 1), &inputs, 3).unwrap();
        close(&outputs[0], &[6.0]);
        close(&outputs[2], &[4.0, 8.0]);
    }
}
