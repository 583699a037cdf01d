//! `FlexAttention` of `ai.onnx.preview`: scaled-dot-product attention whose scores and probabilities pass through
//! subgraphs of the model.
//!
//! Products have the type of the inputs, what lies between has that of `softmax_precision` (at least f32 by default).
//! Spec: the definition in onnx (`onnx/defs/preview`), the only operator of that domain.

use super::body::{region, run};
use crate::attributes::{FLOAT, INT};
use crate::inference::{FLOATS, expect, expect_same};
use crate::movement::{cast, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Tensor, TensorType};
use ndarray::{Array4, ArrayD, Axis, Ix4};

static SCHEMA: Schema = Schema {
    domain: "ai.onnx.preview",
    ..Schema::onnx("FlexAttention", &[1], (3, 3), (1, 1))
        .with(&[("scale", FLOAT), ("softmax_precision", INT)])
};

pub(crate) struct FlexAttention;

/// Type of scores and probabilities.
fn precision(attrs: &Attrs, own: DType) -> Result<DType, InferError> {
    let default = if own == DType::F64 { DType::F64 } else { DType::F32 };
    let given = dtype_attr(attrs, "softmax_precision")?.unwrap_or(default);
    if FLOATS.types.contains(&given) {
        return Ok(given);
    }
    Err(InferError::Attribute { name: "softmax_precision".into(), expected: "a float type".into() })
}

/// Query head `h` reads key head `h / group`.
struct Sizes {
    batch: usize,
    heads: usize,
    group: usize,
    queries: usize,
    keys: usize,
    depth: usize,
    values: usize,
}

fn sizes(q: &[usize], k: &[usize], v: &[usize]) -> Result<Sizes, EvalError> {
    let wrong =
        || EvalError::value(format!("shapes {q:?}, {k:?} and {v:?} of query, key and value do not fit"));
    let (&[batch, heads, queries, depth], &[kb, kh, keys, kd], &[vb, vh, vs, values]) = (q, k, v) else {
        return Err(wrong());
    };
    let group = heads.checked_div(kh).filter(|group| group * kh == heads).ok_or_else(wrong)?;
    if (kb, kd) != (batch, depth) || (vb, vh, vs) != (kb, kh, keys) {
        return Err(wrong());
    }
    Ok(Sizes { batch, heads, group, queries, keys, depth, values })
}

fn four(tensor: &Tensor) -> Result<Array4<f64>, EvalError> {
    Ok(to_f64(tensor)?.into_dimensionality::<Ix4>()?)
}

/// Scores in the type of the inputs; each operand is scaled by the root of the scale.
fn scores(q: &Tensor, k: &Tensor, sizes: &Sizes, scale: f64) -> Result<Tensor, EvalError> {
    let dtype = q.dtype();
    let root = four(&from_f64(dtype, &ArrayD::from_elem(vec![1, 1, 1, 1], scale.sqrt()))?)?[[0, 0, 0, 0]];
    let scaled = |x: &Tensor| four(&from_f64(dtype, &(to_f64(x)? * root))?);
    let (q, k) = (scaled(q)?, scaled(k)?);
    let shape = (sizes.batch, sizes.heads, sizes.queries, sizes.keys);
    checked_count(DType::F64, &[shape.0, shape.1, shape.2, shape.3])?;
    let at = |(b, h, i, j): (usize, usize, usize, usize)| {
        (0..sizes.depth).map(|d| q[[b, h, i, d]] * k[[b, h / sizes.group, j, d]]).sum::<f64>()
    };
    from_f64(dtype, &Array4::from_shape_fn(shape, at).into_dyn())
}

/// A tensor through a subgraph, where there is one.
fn modified(cx: &Eval<'_>, name: &str, x: Tensor) -> Result<Tensor, EvalError> {
    if region(cx.regions, name).is_err() {
        return Ok(x);
    }
    let (shape, dtype) = (x.shape().to_vec(), x.dtype());
    let result = run(cx, name, vec![x.into()])?.pop().ok_or_else(|| EvalError::value("it gives nothing"))?;
    let result = cast(result.tensor()?, dtype)?;
    if result.shape() != shape {
        let found = result.shape();
        return Err(EvalError::value(format!("{name} must keep the shape {shape:?}, it gives {found:?}")));
    }
    Ok(result)
}

fn softmax(x: &Tensor) -> Result<Tensor, EvalError> {
    let mut wide = to_f64(x)?;
    for mut lane in wide.lanes_mut(Axis(3)) {
        let largest = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        lane.mapv_inplace(|score| (score - largest).exp());
        let sum = lane.sum();
        lane.mapv_inplace(|share| share / sum);
    }
    from_f64(x.dtype(), &wide)
}

impl Op for FlexAttention {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        expect_same(cx, 0, 1)?;
        expect_same(cx, 0, 2)?;
        let Some(q) = cx.tensor(0) else { return Ok(unknown(cx)) };
        precision(cx.attrs, q.dtype)?;
        let shape = |index: usize| cx.tensor(index).and_then(|ty| ty.shape.as_ref());
        let (Some(query), Some(value)) = (shape(0), shape(2)) else {
            return Ok(vec![TensorType::unranked(q.dtype).into()]);
        };
        if query.len() != 4 || value.len() != 4 {
            let reason = format!("query and value must have four axes, they have {query:?} and {value:?}");
            return Err(InferError::shape(reason));
        }
        let dims = query[..3].iter().chain(&value[3..]).cloned();
        Ok(vec![TensorType::new(q.dtype, dims).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (q, k, v) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let sizes = sizes(q.shape(), k.shape(), v.shape())?;
        let scale = cx.attrs.float("scale").map_or(1.0 / (sizes.depth as f64).sqrt(), f64::from);
        let precision = precision(cx.attrs, q.dtype())?;
        let scores = cast(&scores(q, k, &sizes, scale)?, precision)?;
        let shares = modified(cx, "prob_mod", softmax(&modified(cx, "score_mod", scores)?)?)?;
        let (shares, values) = (four(&shares)?, four(v)?);
        let shape = (sizes.batch, sizes.heads, sizes.queries, sizes.values);
        checked_count(DType::F64, &[shape.0, shape.1, shape.2, shape.3])?;
        let at = |(b, h, i, d): (usize, usize, usize, usize)| {
            (0..sizes.keys).map(|j| shares[[b, h, i, j]] * values[[b, h / sizes.group, j, d]]).sum::<f64>()
        };
        one(from_f64(v.dtype(), &Array4::from_shape_fn(shape, at).into_dyn())?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let keys = shapes.input(1).and_then(|sizes| sizes.get(2).copied()).unwrap_or(0.0);
        2.0 * keys * (shapes.input_elements(0) + shapes.output_elements(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run as run_op, t};
    use fusebox_ir::{Builder, Graph, Node, OpName, Region, Type};

    fn inputs() -> [Tensor; 3] {
        let q = t(&[1, 2, 1, 1], &[0f32, 2.0]);
        [q, t(&[1, 1, 2, 1], &[0f32, 1.0]), t(&[1, 1, 2, 1], &[1f32, 3.0])]
    }

    /// Twice what goes in.
    fn doubled() -> Graph {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::unranked(DType::F32));
        let y = b.op("Add", &[x, x]);
        b.finish(&[y])
    }

    fn with_subgraph(name: &str) -> Tensor {
        let mut graph = Graph::new();
        let inputs = inputs().map(|tensor| Some(graph.add_constant("", tensor)));
        let output = graph.add_typed(Type::Unknown);
        let op = OpName::new("ai.onnx.preview", "FlexAttention");
        let mut node = Node::new(op, inputs, [Some(output)], Attrs::new());
        node.regions.push(Region { name: name.into(), graph: doubled(), captures: vec![] });
        graph.add_node(node);
        graph.outputs = vec![output];
        crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap().remove(0).into_tensor().unwrap()
    }

    /// Value of a head whose second score exceeds its first by `by`.
    fn mixed(by: f64) -> f64 {
        (1.0 + 3.0 * by.exp()) / (1.0 + by.exp())
    }

    #[test]
    fn heads_share_keys_and_subgraphs_change_what_lies_between() {
        close(&run_op(&FlexAttention, &Attrs::new(), &inputs()), &[2.0, mixed(2.0)]);
        let scaled = run_op(&FlexAttention, &Attrs::new().with("scale", 0.25f32), &inputs());
        close(&scaled, &[2.0, mixed(0.5)]);
        close(&with_subgraph("score_mod"), &[2.0, mixed(4.0)]);
        close(&with_subgraph("prob_mod"), &[4.0, 2.0 * mixed(2.0)]);
        let [q, k, _] = inputs();
        let message = refusal(&FlexAttention, &Attrs::new(), &[q, k, t(&[1, 1, 1, 1], &[1f32])]);
        assert!(message.contains("of query, key and value do not fit"), "{message}");
    }
}
