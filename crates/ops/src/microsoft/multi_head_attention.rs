//! `MultiHeadAttention` of com.microsoft over `[B, S, H·D]`, with projection bias and attention bias.
//!
//! Spec: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>. Packed inputs, padding masks and
//! caches have no evaluation.

use crate::Shapes;
use crate::fused::attention::{emit_causal, split_heads};
use crate::fused::emit::Emit;
use crate::op::{Body, Op, Schema};
use fusebox_ir::{Attrs, Graph, OpName, ValueId};

static SCHEMA: Schema = super::schema("MultiHeadAttention", (1, 10), (1, 4));

pub(crate) struct MultiHeadAttention;

impl Op for MultiHeadAttention {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let keys = shapes.input(1).and_then(|k| k.get(1).copied()).unwrap_or(0.0);
        2.0 * keys * (shapes.input_elements(0) + shapes.output_elements(0))
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let mut e = super::emit(cx, &["query", "key", "value", "bias", "", "attention_bias"])?;
        let is_plain =
            cx.inputs.len() <= 6 && cx.inputs.get(4).is_none_or(Option::is_none) && cx.outputs == 1;
        if !is_plain || (0..3).any(|index| e.ty(index).and_then(fusebox_ir::TensorType::rank) != Some(3)) {
            return None;
        }
        let heads = cx.attrs.int("num_heads").filter(|heads| *heads > 0)?;
        let [q, k, v] = projections(&mut e)?.map(|x| split_heads(&mut e, x, heads));
        let scale = match cx.attrs.float("scale").filter(|scale| *scale != 0.0) {
            Some(scale) => f64::from(scale),
            None => {
                let width = e.ty(0)?.shape.as_ref()?.last()?.value()?;
                1.0 / ((width / heads) as f64).sqrt()
            }
        };
        let scale = e.scalar(scale);
        let (scaled, keys) = (e.op("Mul", &[q, scale]), e.transpose(k, &[0, 1, 3, 2]));
        let mut scores = e.op("MatMul", &[scaled, keys]);
        if let Some(bias) = e.input(5) {
            scores = e.op("Add", &[scores, bias]);
        }
        if cx.attrs.int_or("unidirectional", 0) != 0 {
            scores = emit_causal(&mut e, scores, q, k);
        }
        let weights = e.op_with("Softmax", &[scores], Attrs::new().with("axis", -1));
        let y = e.op("MatMul", &[weights, v]);
        let rows = e.transpose(y, &[0, 2, 1, 3]);
        let y = e.reshape(rows, &[0, 0, -1]);
        Some(e.finish(&[y]))
    }
}

/// Query, key and value with their parts of the bias added.
fn projections(e: &mut Emit<'_>) -> Option<[ValueId; 3]> {
    let mut inputs = [e.input(0)?, e.input(1)?, e.input(2)?];
    let Some(bias) = e.input(3) else { return Some(inputs) };
    let attrs = Attrs::new().with("axis", 0);
    let attrs = if e.opset() >= 18 { attrs.with("num_outputs", 3) } else { attrs };
    let width = |index: usize| e.ty(index)?.shape.as_ref()?.last()?.value();
    if width(0)? != width(2)? {
        return None;
    }
    let parts = e.b.node(OpName::onnx("Split"), &[Some(bias)], 3, attrs);
    for (input, part) in inputs.iter_mut().zip(parts) {
        *input = e.op("Add", &[*input, part]);
    }
    Some(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, run_all, t};

    #[test]
    fn it_is_the_fused_attention_with_a_bias_before() {
        let x = |step: f32| from_fn(&[1, 3, 4], |i| (i as f32 * step).sin());
        let (q, k, v, bias) = (x(0.7), x(1.3), x(0.9), from_fn(&[3, 3], |i| i as f32 * 0.1));
        let attrs = Attrs::new().with("num_heads", 2).with("scale", 0.5f32);
        let mask = bias.reshaped(vec![1, 1, 3, 3]).unwrap();
        let zeros = t(&[12], &[0f32; 12]);
        let inputs = [Some(q.clone()), Some(k.clone()), Some(v.clone()), Some(zeros), None, Some(mask)];
        let found = run_all(&MultiHeadAttention, &attrs, &inputs, 1).unwrap().remove(0);
        let fused =
            Attrs::new().with("layout", "bsd").with("q_heads", 2).with("kv_heads", 2).with("scale", 0.5f32);
        let inputs = [Some(q), Some(k), Some(v), Some(bias)];
        let expected = run_all(&crate::fused::attention::Attention, &fused, &inputs, 1).unwrap().remove(0);
        close(&found, &expected.floats().unwrap());
    }
}
