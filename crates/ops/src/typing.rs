//! Types whole graphs: symbolic shapes from inputs to outputs, through shape computations.
//!
//! [`infer_graph`] types everything at once; a [`Typer`] goes node by node, for callers that learn sizes on the way.
//! Refuses to know operators: each types itself. Sizes that only the data decides become fresh symbols.

use crate::op::{Arg, Infer, Inferred, Schema};
use crate::{InferError, Op};
use fusebox_ir::{DType, Dim, Function, Graph, Node, NodeId, Region, Tensor, TensorType, Type, ValueId};
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
    let mut untyped = Vec::new();
    let (types, dims) = {
        let mut typer = Typer::new(graph, functions);
        for (value, dims) in known {
            typer.dims[value.0 as usize] = Some(dims);
        }
        let cycle = InferError::shape("the graph has a cycle");
        let order =
            graph.topological().map_err(|id| TypeError { node: graph.describe(id), source: cycle })?;
        for id in order {
            if !typer.node(id)? {
                untyped.push(id);
            }
        }
        (typer.types, typer.dims)
    };
    for (index, ty) in types.into_iter().enumerate() {
        let id = ValueId(u32::try_from(index).expect("ids are u32"));
        graph.value_mut(id).ty = ty;
    }
    Ok(Typing { dims, untyped })
}

/// Types a graph node by node, in an order that the caller chooses: inputs first.
pub struct Typer<'a> {
    graph: &'a Graph,
    functions: &'a [Function],
    fresh: Cell<usize>,
    /// Type of each value: what the graph says until its node is typed.
    pub types: Vec<Type>,
    /// Elements of each value as expressions, where it is a small integer tensor of sizes.
    pub dims: Vec<Option<Vec<Dim>>>,
}

impl<'a> Typer<'a> {
    /// Starts from what the graph declares.
    pub fn new(graph: &'a Graph, functions: &'a [Function]) -> Self {
        let types = graph.values().map(|(_, value)| value.ty.clone()).collect();
        Self { graph, functions, fresh: Cell::new(0), types, dims: vec![None; graph.value_count()] }
    }

    /// Types the outputs of a node; `false` when its operator is unknown.
    ///
    /// # Errors
    /// The contradiction, with the node.
    pub fn node(&mut self, id: NodeId) -> Result<bool, TypeError> {
        let at = |source| TypeError { node: self.graph.describe(id), source };
        let Some(results) = self.outputs(id)? else { return Ok(false) };
        for (slot, inferred) in self.graph.node(id).outputs.iter().zip(results) {
            let Some(value) = *slot else { continue };
            let index = value.0 as usize;
            self.types[index] = refine(&self.types[index], &inferred.ty).map_err(at)?;
            self.keep_dims(value, inferred.dims);
        }
        Ok(true)
    }

    /// What the operator of a node gives, whatever is declared; `None` when it is unknown.
    ///
    /// # Errors
    /// The contradiction, with the node.
    pub(crate) fn outputs(&self, id: NodeId) -> Result<Option<Vec<Inferred>>, TypeError> {
        let fresh = || {
            self.fresh.set(self.fresh.get() + 1);
            Dim::symbol(format!("_{}_{}", id.0, self.fresh.get()))
        };
        let at = |source| TypeError { node: self.graph.describe(id), source };
        self.infer(self.graph.node(id), &fresh).map_err(at)
    }

    /// Remembers the elements of a value when they are few.
    pub(crate) fn keep_dims(&mut self, value: ValueId, dims: Option<Vec<Dim>>) {
        self.dims[value.0 as usize] = dims.filter(|d| d.len() <= MAX_DIMS);
    }

    fn infer(&self, node: &Node, fresh: &dyn Fn() -> Dim) -> Result<Option<Vec<Inferred>>, InferError> {
        let arg = |value: &ValueId| {
            let index = value.0 as usize;
            let constant = self.graph.constant(*value);
            Arg::new(&self.types[index], constant, self.dims[index].as_deref())
        };
        let inputs: Vec<Option<Arg<'_>>> = node.inputs.iter().map(|slot| slot.as_ref().map(arg)).collect();
        let regions = self.regions(node);
        let (attrs, regions, outputs) = (&node.attrs, regions.as_slice(), node.outputs.len());
        let cx = Infer { attrs, inputs: &inputs, outputs, regions, fresh };
        if let Some(op) = crate::op(&node.op) {
            return infer_op(op, &cx).map(Some);
        }
        let callee = |f: &&Function| f.domain == *node.op.domain && f.name == *node.op.name;
        match self.functions.iter().find(callee) {
            Some(function) => infer_body(Some(function.instantiate(attrs)), &cx).map(Some),
            None => Ok(None),
        }
    }

    /// The node's subgraphs with what they capture known as outside: types, constants, and sizes that are known.
    fn regions(&self, node: &Node) -> Vec<Region> {
        let mut regions = node.regions.clone();
        for region in &mut regions {
            for (inner, outer) in region.graph.captured.clone().into_iter().zip(&region.captures) {
                let ty = &self.types[outer.0 as usize];
                let constant = self.constant(*outer);
                let inner = region.graph.value_mut(inner);
                if *ty != Type::Unknown {
                    inner.ty = ty.clone();
                }
                inner.constant = constant;
            }
        }
        regions
    }

    /// The value as a tensor: a constant of the graph, or sizes that are all known.
    pub fn constant(&self, id: ValueId) -> Option<Tensor> {
        self.graph.constant(id).cloned().or_else(|| {
            let dims: Option<Vec<i64>> = self.dims[id.0 as usize].as_ref()?.iter().map(Dim::value).collect();
            evaluated(self.types[id.0 as usize].tensor()?, dims?)
        })
    }
}

/// Known elements of a value as a tensor of its type.
fn evaluated(ty: &TensorType, elements: Vec<i64>) -> Option<Tensor> {
    let shape = ty.sizes()?;
    match ty.dtype {
        DType::I64 => Tensor::from_vec(shape, elements).ok(),
        DType::I32 => {
            let narrow: Option<Vec<i32>> = elements.into_iter().map(|d| i32::try_from(d).ok()).collect();
            Tensor::from_vec(shape, narrow?).ok()
        }
        DType::Bool => Tensor::from_bools(shape, elements.into_iter().map(|d| d != 0)).ok(),
        _ => None,
    }
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
    let mut outputs = op.infer(cx)?;
    outputs.iter_mut().for_each(|output| forget_long_sizes(output, cx));
    Ok(outputs)
}

/// Terms that the expression of a size may have. Those of real models stay under ten; a chain of divisions doubles them
/// at every node.
const MAX_TERMS: usize = 512;

/// Replaces sizes whose expressions are beyond reason by symbols of their own.
fn forget_long_sizes(output: &mut Inferred, cx: &Infer<'_>) {
    if let Type::Tensor(TensorType { shape: Some(shape), .. }) = &mut output.ty {
        shape.iter_mut().filter(|dim| dim.is_longer_than(MAX_TERMS)).for_each(|dim| *dim = (cx.fresh)());
    }
    if output.dims.as_ref().is_some_and(|dims| dims.iter().any(|dim| dim.is_longer_than(MAX_TERMS))) {
        output.dims = None;
    }
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
