//! Types whole graphs: symbolic shapes from inputs to outputs, through shape computations.

use crate::op::{Arg, Infer, Inferred, Schema};
use crate::{InferError, Op};
use fusebox_ir::{Dim, Function, Graph, Node, NodeId, Region, TensorType, Type, ValueId};
use std::cell::Cell;

/// Elements that a shape-like value may have to be evaluated symbolically.
const MAX_DIMS: usize = 64;

/// What typing found besides the types, which it writes into the graph.
#[derive(Clone, Debug, Default)]
pub struct Typing {
    /// For each value, its elements as expressions, where it is a small integer tensor of sizes.
    pub dims: Vec<Option<Vec<Dim>>>,
    /// Nodes whose operator is unknown or whose outputs could not be typed.
    pub untyped: Vec<NodeId>,
}

/// A typing error with the node where it arose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {node}: {source}")]
pub struct TypeError {
    /// The node as messages name it.
    pub node: String,
    /// What contradicts what.
    #[source]
    pub source: InferError,
}

/// Infers the types of all values and writes them into the graph. What the graph already says is refined, never lost:
/// a declared size beats an inferred symbol, a known rank beats an unknown one.
///
/// # Errors
/// The first contradiction, with its node.
pub fn infer_graph(graph: &mut Graph, functions: &[Function]) -> Result<Typing, TypeError> {
    infer_with(graph, functions, Vec::new())
}

/// As [`infer_graph`], with the symbolic elements of some values given (captures of a region).
pub fn infer_with(
    graph: &mut Graph,
    functions: &[Function],
    known: Vec<(ValueId, Vec<Dim>)>,
) -> Result<Typing, TypeError> {
    let counter = Cell::new(0usize);
    let mut typing = Typing { dims: vec![None; graph.value_count()], untyped: Vec::new() };
    for (value, dims) in known {
        typing.dims[value.0 as usize] = Some(dims);
    }
    let cycle = InferError::shape("the graph has a cycle");
    let order = graph.topological().map_err(|id| TypeError { node: graph.describe(id), source: cycle })?;
    for id in order {
        let at = |source| TypeError { node: graph.describe(id), source };
        let prefix = format!("_{}", id.0);
        let fresh = || {
            counter.set(counter.get() + 1);
            Dim::symbol(format!("{prefix}_{}", counter.get()))
        };
        let results = infer_node(graph, graph.node(id), &typing, functions, &fresh).map_err(at)?;
        let Some(results) = results else {
            typing.untyped.push(id);
            continue;
        };
        let outputs = graph.node(id).outputs.clone();
        for (slot, inferred) in outputs.iter().zip(results) {
            let Some(value) = *slot else { continue };
            let merged = refine(&graph.value(value).ty, &inferred.ty)
                .map_err(|source| TypeError { node: graph.describe(id), source })?;
            graph.value_mut(value).ty = merged;
            typing.dims[value.0 as usize] = inferred.dims.filter(|d| d.len() <= MAX_DIMS);
        }
    }
    Ok(typing)
}

fn infer_node(
    graph: &Graph,
    node: &Node,
    typing: &Typing,
    functions: &[Function],
    fresh: &dyn Fn() -> Dim,
) -> Result<Option<Vec<Inferred>>, InferError> {
    let arg = |value: &ValueId| {
        let constant = graph.constant(*value);
        Arg { ty: &graph.value(*value).ty, constant, dims: typing.dims[value.0 as usize].as_deref() }
    };
    let inputs: Vec<Option<Arg<'_>>> = node.inputs.iter().map(|slot| slot.as_ref().map(arg)).collect();
    let regions = typed_regions(graph, node);
    let (attrs, regions, outputs) = (&node.attrs, regions.as_slice(), node.outputs.len());
    let cx = Infer { attrs, inputs: &inputs, outputs, regions, fresh };
    if let Some(op) = crate::op(&node.op) {
        return infer_op(op, &cx).map(Some);
    }
    let callee = functions.iter().find(|f| f.domain == *node.op.domain && f.name == *node.op.name);
    match callee {
        Some(function) => infer_body(Some(function.instantiate(attrs)), &cx).map(Some),
        None => Ok(None),
    }
}

/// The node's subgraphs with what they capture typed as outside.
fn typed_regions(graph: &Graph, node: &Node) -> Vec<Region> {
    let mut regions = node.regions.clone();
    for region in &mut regions {
        for (inner, outer) in region.graph.captured.clone().into_iter().zip(&region.captures) {
            let outer = graph.value(*outer);
            let inner = region.graph.value_mut(inner);
            if outer.ty != Type::Unknown {
                inner.ty = outer.ty.clone();
            }
        }
    }
    regions
}

/// Infers one operator after checking its arity.
///
/// # Errors
/// Arity, or what the operator reports.
pub fn infer_op(op: &dyn Op, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    let (least, most) = op.schema().inputs;
    if cx.inputs.len() < least || cx.inputs.len() > most {
        return Err(arity(op.schema(), cx.inputs.len()));
    }
    if let Some(index) = (0..least).find(|i| cx.input(*i).is_none()) {
        return Err(InferError::MissingInput { index });
    }
    op.infer(cx)
}

pub(crate) fn arity(schema: &Schema, found: usize) -> InferError {
    let expected = match schema.inputs {
        (least, usize::MAX) => format!("at least {least}"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    InferError::Arity { expected, found }
}

/// Types an operator through its body.
pub(crate) fn infer_body(body: Option<Graph>, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    let Some(mut body) = body else { return Ok(vec![Inferred::default(); cx.outputs]) };
    let mut known = Vec::new();
    let present: Vec<&Arg<'_>> = if body.inputs.len() == cx.inputs.iter().flatten().count() {
        cx.inputs.iter().flatten().collect()
    } else {
        return Ok(vec![Inferred::default(); cx.outputs]);
    };
    for (position, arg) in present.into_iter().enumerate() {
        let id = body.inputs[position];
        body.value_mut(id).ty = arg.ty.clone();
        if let Some(dims) = arg.dims {
            known.push((id, dims.to_vec()));
        }
    }
    let typing = infer_with(&mut body, &[], known).map_err(|e| e.source)?;
    let of =
        |id: &ValueId| Inferred { ty: body.value(*id).ty.clone(), dims: typing.dims[id.0 as usize].clone() };
    let mut outputs: Vec<Inferred> = body.outputs.iter().map(of).collect();
    outputs.resize(cx.outputs, Inferred::default());
    Ok(outputs)
}

/// Joins what two sources say of one value.
///
/// # Errors
/// When they contradict each other: other element types, ranks or known sizes.
pub fn refine(declared: &Type, inferred: &Type) -> Result<Type, InferError> {
    match (declared, inferred) {
        (Type::Unknown, other) | (other, Type::Unknown) => Ok(other.clone()),
        (Type::Tensor(a), Type::Tensor(b)) => refine_tensor(a, b).map(Type::Tensor),
        (Type::Sequence(a), Type::Sequence(b)) => Ok(Type::Sequence(Box::new(refine(a, b)?))),
        (Type::Optional(a), Type::Optional(b)) => Ok(Type::Optional(Box::new(refine(a, b)?))),
        (a, b) if a == b => Ok(a.clone()),
        (a, b) => Err(InferError::shape(format!("declared as {a} but computed as {b}"))),
    }
}

fn refine_tensor(declared: &TensorType, inferred: &TensorType) -> Result<TensorType, InferError> {
    let conflict = || InferError::shape(format!("declared as {declared} but computed as {inferred}"));
    if declared.dtype != inferred.dtype {
        return Err(conflict());
    }
    let shape = match (&declared.shape, &inferred.shape) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            let join = |(a, b): (&Dim, &Dim)| match (a.value(), b.value()) {
                (Some(x), Some(y)) if x != y => Err(conflict()),
                (Some(_), _) => Ok(a.clone()),
                // The inferred expression relates the size to the inputs; a declared name of its own does not.
                _ => Ok(b.clone()),
            };
            Some(a.iter().zip(b).map(join).collect::<Result<_, _>>()?)
        }
        (Some(_), Some(_)) => return Err(conflict()),
        (a, b) => b.clone().or_else(|| a.clone()),
    };
    Ok(TensorType { dtype: declared.dtype, shape })
}
