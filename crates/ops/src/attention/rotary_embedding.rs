//! `RotaryEmbedding` of opset 23: rotates pairs of elements of each head by the angles of its position.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html>. Defined by its body.

use crate::attributes::{INT, int};
use crate::forms::existed;
use crate::fused::emit::Emit;
use crate::op::{Body, Edit, Infer, Inferred, Op, Schema};
use crate::{InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, Graph, OpName, Type, ValueId};

static SCHEMA: Schema = Schema::onnx("RotaryEmbedding", &[23], (3, 4), (1, 1)).with(&[
    ("interleaved", int(0)),
    ("num_heads", INT),
    ("rotary_embedding_dim", int(0)),
]);

pub(crate) struct RotaryEmbedding;

impl Op for RotaryEmbedding {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        match cx.tensor(0).and_then(fusebox_ir::TensorType::rank) {
            Some(3) if cx.attrs.int_or("num_heads", 0) < 1 => {
                let expected = "positive, as the input has 3 axes".into();
                return Err(InferError::Attribute { name: "num_heads".into(), expected });
            }
            None | Some(3 | 4) => {}
            Some(rank) => {
                return Err(InferError::shape(format!("the input has {rank} axes, expected 3 or 4")));
            }
        }
        Ok(vec![cx.input(0).map_or(Type::Unknown, |arg| arg.ty.clone()).into()])
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        3.0 * shapes.output_elements(0)
    }

    fn body(&self, cx: &Body<'_>) -> Option<Graph> {
        let mut e = Emit::new(cx, &["X", "cos_cache", "sin_cache", "position_ids"])?;
        let rank = e.ty(0)?.rank()?;
        let mut x = e.input(0)?;
        if rank == 3 {
            x = e.reshape(x, &[0, 0, cx.attrs.int("num_heads").filter(|heads| *heads > 0)?, -1]);
        }
        // Heads come before the sequence in four axes and after it in three.
        let head_axis = if rank == 4 { 1 } else { 2 };
        let (cos, sin) = (angles(&mut e, 1, head_axis)?, angles(&mut e, 2, head_axis)?);
        let width = cx.attrs.int_or("rotary_embedding_dim", 0);
        let mut y = if width > 0 {
            let (front, back) = (cut(&mut e, x, 0, width, 1), cut(&mut e, x, width, i64::MAX, 1));
            let turned = rotate(&mut e, front, cos, sin, cx.attrs);
            e.op_with("Concat", &[turned, back], Attrs::new().with("axis", -1))
        } else {
            rotate(&mut e, x, cos, sin, cx.attrs)
        };
        if rank == 3 {
            y = e.reshape(y, &[0, 0, -1]);
        }
        Some(e.finish(&[y]))
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)
    }
}

/// Cosines or sines of each position, with an axis for the heads.
fn angles(e: &mut Emit<'_>, index: usize, head_axis: i64) -> Option<ValueId> {
    let cache = e.input(index)?;
    let rows = match e.input(3) {
        Some(positions) => e.op("Gather", &[cache, positions]),
        None => cache,
    };
    Some(e.unsqueeze(rows, &[head_axis]))
}

/// Elements `start..end` of the last axis.
pub(crate) fn cut(e: &mut Emit<'_>, x: ValueId, start: i64, end: i64, step: i64) -> ValueId {
    let bounds = [start, end, -1, step].map(|bound| e.b.i64s(&[bound]));
    e.op("Slice", &[x, bounds[0], bounds[1], bounds[2], bounds[3]])
}

/// Pairs of elements of the last axis of `x` (four axes) turned by angles that broadcast against half of it.
pub(crate) fn rotate(e: &mut Emit<'_>, x: ValueId, cos: ValueId, sin: ValueId, attrs: &Attrs) -> ValueId {
    let is_interleaved = attrs.int_or("interleaved", 0) != 0;
    let (first, second) = if is_interleaved {
        (cut(e, x, 0, i64::MAX, 2), cut(e, x, 1, i64::MAX, 2))
    } else {
        let halves = Attrs::new().with("axis", -1);
        let halves = if e.opset() >= 18 { halves.with("num_outputs", 2) } else { halves };
        let parts = e.b.node(OpName::onnx("Split"), &[Some(x)], 2, halves);
        (parts[0], parts[1])
    };
    let product = |e: &mut Emit<'_>, a: ValueId, b: ValueId| e.op("Mul", &[a, b]);
    let (a, b) = (product(e, cos, first), product(e, sin, second));
    let real = e.op("Sub", &[a, b]);
    let (a, b) = (product(e, sin, first), product(e, cos, second));
    let imaginary = e.op("Add", &[a, b]);
    if !is_interleaved {
        return e.op_with("Concat", &[real, imaginary], Attrs::new().with("axis", -1));
    }
    let (real, imaginary) = (e.unsqueeze(real, &[-1]), e.unsqueeze(imaginary, &[-1]));
    let pairs = e.op_with("Concat", &[real, imaginary], Attrs::new().with("axis", -1));
    e.reshape(pairs, &[0, 0, 0, -1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run, t};
    use fusebox_ir::Tensor;

    fn quarter_turn() -> (Tensor, Tensor) {
        (t(&[2, 1], &[1f32, 0.0]), t(&[2, 1], &[0f32, 1.0]))
    }

    #[test]
    fn halves_and_pairs_are_turned() {
        let (cos, sin) = quarter_turn();
        let positions = t(&[1, 2], &[0i64, 1]);
        let x = t(&[1, 1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
        let inputs = [x.clone(), cos.clone(), sin.clone(), positions.clone()];
        close(&run(&RotaryEmbedding, &Attrs::new(), &inputs), &[1.0, 2.0, -4.0, 3.0]);
        let wide = t(&[1, 1, 2, 4], &[0f32, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0]);
        let twice = |x: &Tensor| {
            let values = x.elements::<f32>().unwrap();
            t(&[2, 2], &[values[0], values[0], values[1], values[1]])
        };
        let inputs = [wide, twice(&cos), twice(&sin), positions];
        let halves = run(&RotaryEmbedding, &Attrs::new(), &inputs);
        close(&halves, &[0.0, 1.0, 2.0, 3.0, -3.0, -4.0, 1.0, 2.0]);
        let pairs = run(&RotaryEmbedding, &Attrs::new().with("interleaved", 1), &inputs);
        close(&pairs, &[0.0, 1.0, 2.0, 3.0, -2.0, 1.0, -4.0, 3.0]);
    }

    #[test]
    fn flat_inputs_and_partial_rotation() {
        let (cos, sin) = quarter_turn();
        let x = t(&[1, 2, 3], &[1f32, 2.0, 9.0, 3.0, 4.0, 9.0]);
        let cache = |x: &Tensor| x.reshaped(vec![1, 2, 1]).unwrap();
        let attrs = Attrs::new().with("num_heads", 1).with("rotary_embedding_dim", 2);
        let result = run(&RotaryEmbedding, &attrs, &[x, cache(&cos), cache(&sin)]);
        close(&result, &[1.0, 2.0, 9.0, -4.0, 3.0, 9.0]);
    }
}
