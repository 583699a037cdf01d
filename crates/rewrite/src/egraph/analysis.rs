//! The analysis of e-classes: types with symbolic shapes, sizes held by small integer tensors, and constness.
//!
//! What is known of a class only grows. Two facts that contradict each other (element types, ranks, known sizes) mean
//! that a rule is wrong: they are recorded with the rule's name, and the run stops.

use super::node::{Code, ENode, Tables};
use egg::{Analysis, DidMerge, EGraph, Id};
use fusebox_ir::{Attrs, Dim, Function, Node, Shape, Tensor, TensorType, Type, ValueId};
use fusebox_ops::{Arg, Datum, Infer, Inferred, Interpreter, Purity};

/// The e-graph.
pub type Egg = EGraph<ENode, Facts>;

/// Elements up to which a constant is computed as soon as it is known to be one.
const EAGER_ELEMENTS: usize = 256;
/// Bytes that a constant may have however small its inputs are.
pub const FREE_BYTES: f64 = (1 << 20) as f64;

/// What is known of an e-class.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Type and symbolic elements of each output; one unless the class is a tuple.
    pub outputs: Vec<Inferred>,
    /// Number of the constant that the class is, once computed.
    pub value: Option<u32>,
    /// Whether it is a constant that will be computed at compile time; else nothing is.
    pub constant: bool,
    /// Bytes, for constants.
    pub bytes: f64,
}

impl Known {
    /// Type of the first output.
    pub fn ty(&self) -> &Type {
        self.outputs.first().map_or(&Type::Unknown, |o| &o.ty)
    }

    /// Tensor type of the first output.
    pub fn tensor(&self) -> Option<&TensorType> {
        self.ty().tensor()
    }

    /// Dims, when the rank is known.
    pub fn shape(&self) -> Option<&Shape> {
        self.tensor()?.shape.as_ref()
    }
}

/// Two facts that contradict each other.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// Name of the rule that joined them.
    pub rule: String,
    /// What was known before.
    pub left: String,
    /// What the rule says.
    pub right: String,
}

/// The analysis with its tables.
#[derive(Debug, Default)]
pub struct Facts {
    /// Records and constants.
    pub tables: Tables,
    /// Rule being applied.
    pub rule: String,
    /// The first contradiction.
    pub conflict: Option<Conflict>,
    /// Whether an e-node was made since the flag was last cleared that its operator refuses.
    pub refused: bool,
    fresh: std::sync::atomic::AtomicU32,
}

/// Prefix of symbols that stand for sizes nobody named.
const FRESH: &str = "_e";

impl Analysis<ENode> for Facts {
    type Data = Known;

    fn make(egraph: &mut Egg, node: &ENode, _id: Id) -> Known {
        let (known, refused) = known(egraph, node);
        egraph.analysis.refused |= refused;
        known
    }

    fn merge(&mut self, a: &mut Known, b: Known) -> DidMerge {
        let mut left = false;
        let mut right = false;
        if a.outputs.len() != b.outputs.len() {
            self.report(a.ty(), b.ty());
            return DidMerge(false, true);
        }
        for (x, y) in a.outputs.iter_mut().zip(b.outputs) {
            let Some(joined) = join(&x.ty, &y.ty) else {
                self.report(&x.ty, &y.ty);
                return DidMerge(false, true);
            };
            left |= joined != x.ty;
            right |= joined != y.ty;
            x.ty = joined;
            match (&x.dims, y.dims) {
                (None, Some(dims)) => (x.dims, left) = (Some(dims), true),
                (Some(_), None) => right = true,
                (Some(mine), Some(theirs)) if *mine != theirs => right = true,
                _ => {}
            }
        }
        left |= (a.value.is_none() && b.value.is_some()) || (!a.constant && b.constant);
        right |= (b.value.is_none() && a.value.is_some()) || (!b.constant && a.constant);
        a.bytes = if a.constant && b.constant { a.bytes.min(b.bytes) } else { a.bytes.max(b.bytes) };
        a.value = match (a.value, b.value) {
            (Some(x), Some(y)) => Some(x.min(y)),
            (x, y) => x.or(y),
        };
        a.constant |= b.constant;
        DidMerge(left, right)
    }

    fn modify(egraph: &mut Egg, id: Id) {
        if egraph[id].data.value.is_some() {
            return;
        }
        let Some(tensor) = sizes_as_constant(&egraph[id].data).or_else(|| evaluate(egraph, id)) else {
            return;
        };
        let constant = egraph.analysis.tables.constant(&tensor);
        let leaf = egraph.add(ENode::leaf(Code::CONST, constant));
        let rule = std::mem::replace(&mut egraph.analysis.rule, "constant folding".into());
        egraph.union(id, leaf);
        egraph.analysis.rule = rule;
    }
}

impl Facts {
    fn report(&mut self, left: &Type, right: &Type) {
        let rule = self.rule.clone();
        self.conflict.get_or_insert(Conflict { rule, left: left.to_string(), right: right.to_string() });
    }
}

/// Joins two types; `None` when they contradict each other.
pub fn join(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Unknown, other) | (other, Type::Unknown) => Some(other.clone()),
        (Type::Tensor(a), Type::Tensor(b)) => {
            let shape = match (&a.shape, &b.shape) {
                (Some(x), Some(y)) if x.len() == y.len() => {
                    Some(x.iter().zip(y).map(|(x, y)| join_dim(x, y)).collect::<Option<Shape>>()?)
                }
                (Some(_), Some(_)) => return None,
                (x, y) => x.clone().or_else(|| y.clone()),
            };
            (a.dtype == b.dtype).then(|| TensorType { dtype: a.dtype, shape }.into())
        }
        (a, b) => (a == b).then(|| a.clone()),
    }
}

fn join_dim(a: &Dim, b: &Dim) -> Option<Dim> {
    let fresh = |d: &Dim| d.symbols().iter().any(|s| s.starts_with(FRESH));
    match (a.value(), b.value()) {
        (Some(x), Some(y)) => (x == y).then(|| a.clone()),
        (Some(_), None) => Some(a.clone()),
        (None, Some(_)) => Some(b.clone()),
        (None, None) if fresh(b) => Some(a.clone()),
        (None, None) if fresh(a) => Some(b.clone()),
        (None, None) => Some(a.min(b).clone()),
    }
}

fn known(egraph: &Egg, node: &ENode) -> (Known, bool) {
    let facts = &egraph.analysis;
    match node.code {
        Code::NONE => {
            (Known { outputs: vec![Inferred::default()], constant: true, ..Known::default() }, false)
        }
        Code::CONST => {
            let tensor = facts.tables.tensor(node.tag);
            let outputs = vec![Inferred { ty: tensor.ty().into(), dims: elements(tensor) }];
            let bytes = tensor.data().len() as f64;
            (Known { outputs, value: Some(node.tag), constant: true, bytes }, false)
        }
        Code::INPUT | Code::OPAQUE => {
            let types = facts.tables.opaque.get(node.tag as usize).cloned().unwrap_or_default();
            (Known { outputs: types.into_iter().map(Inferred::from).collect(), ..Known::default() }, false)
        }
        Code::PROJ => {
            let tuple = &egraph[node.children[0]].data;
            let output = tuple.outputs.get(node.tag as usize).cloned().unwrap_or_default();
            let bytes = bytes(&output.ty).unwrap_or(0.0);
            (Known { outputs: vec![output], value: None, constant: tuple.constant, bytes }, false)
        }
        _ => operator(egraph, node),
    }
}

/// Elements of a small integer constant as sizes.
fn elements(tensor: &Tensor) -> Option<Vec<Dim>> {
    (tensor.shape().len() <= 1 && tensor.len() <= 64)
        .then(|| tensor.integers())?
        .map(|values| values.into_iter().map(Dim::known).collect())
}

fn operator(egraph: &Egg, node: &ENode) -> (Known, bool) {
    let facts = &egraph.analysis;
    let index = node.code.index().expect("leaves are handled by the caller");
    let op = fusebox_ops::ops()[index];
    let data: Vec<Option<&Known>> = node.children.iter().map(|id| present(egraph, *id)).collect();
    let inputs: Vec<Option<Arg<'_>>> = data.iter().map(|k| k.map(|known| argument(facts, known))).collect();
    let fresh = || {
        let number = facts.fresh.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        Dim::symbol(format!("{FRESH}{number}"))
    };
    let attrs = facts.tables.attrs(node.attrs);
    let outputs = node.outputs as usize;
    let cx = Infer { attrs, inputs: &inputs, outputs, regions: &[], fresh: &fresh };
    let (outputs, refused) = match fusebox_ops::typing::infer_op(op, &cx) {
        Ok(mut inferred) => {
            inferred.resize(outputs, Inferred::default());
            (inferred, false)
        }
        Err(_) => (vec![Inferred::default(); outputs], true),
    };
    let pure = op.schema().purity == Purity::Pure;
    let size: Option<f64> = outputs.iter().map(|o| bytes(&o.ty)).sum();
    let inputs: f64 = data.iter().flatten().map(|k| k.bytes).sum();
    // No folded constant is larger than all constants of the model together: repeated concatenation would double it.
    let largest = inputs.min(facts.tables.constant_bytes() as f64);
    // What widens each element of a stored tensor once is bounded by the tensor; anything made of it meets `largest`.
    let widened = if widens(op) { WIDENING * data[0].map_or(0.0, |k| k.bytes) } else { 0.0 };
    let foldable = size.is_some_and(|size| size <= largest.max(FREE_BYTES).max(widened));
    let constant = pure && foldable && !refused && data.iter().flatten().all(|k| k.constant);
    (Known { outputs, value: None, constant, bytes: size.unwrap_or(0.0) }, refused)
}

/// Most bytes that an element of half a byte can become.
const WIDENING: f64 = 16.0;

/// Whether an operator gives one element for each of its first operand, in a type that may be wider.
pub fn widens(op: &dyn fusebox_ops::Op) -> bool {
    let schema = op.schema();
    schema.domain.is_empty() && matches!(schema.name, "DequantizeLinear" | "Cast")
}

fn argument<'a>(facts: &'a Facts, known: &'a Known) -> Arg<'a> {
    let constant = known.value.map(|v| facts.tables.tensor(v));
    Arg::new(known.ty(), constant, known.outputs.first().and_then(|o| o.dims.as_deref()))
}

/// Facts of an operand, unless it is absent.
fn present(egraph: &Egg, id: Id) -> Option<&Known> {
    let class = &egraph[id];
    (class.nodes.first().map(|n| n.code) != Some(Code::NONE)).then_some(&class.data)
}

/// Bytes of a value of known sizes.
pub fn bytes(ty: &Type) -> Option<f64> {
    let tensor = ty.tensor()?;
    let sizes = tensor.sizes()?;
    Some(sizes.iter().map(|s| *s as f64).product::<f64>() * tensor.dtype.bits() as f64 / 8.0)
}

/// A class whose elements are all known sizes is that constant, whatever computes it.
fn sizes_as_constant(known: &Known) -> Option<Tensor> {
    let output = known.outputs.first().filter(|_| known.outputs.len() == 1)?;
    let values: Vec<i64> = output.dims.as_ref()?.iter().map(Dim::value).collect::<Option<_>>()?;
    let ty = output.ty.tensor()?;
    let shape = ty.sizes()?;
    let count: usize = shape.iter().product();
    if count != values.len() {
        return None;
    }
    match ty.dtype {
        fusebox_ir::DType::I64 => Tensor::from_vec(shape, values).ok(),
        fusebox_ir::DType::I32 => {
            let narrow: Vec<i32> = values.iter().map(|v| i32::try_from(*v)).collect::<Result<_, _>>().ok()?;
            Tensor::from_vec(shape, narrow).ok()
        }
        _ => None,
    }
}

/// Computes a small constant class from one of its nodes whose operands are all computed.
fn evaluate(egraph: &Egg, id: Id) -> Option<Tensor> {
    let class = &egraph[id];
    if !class.data.constant || class.data.outputs.len() != 1 {
        return None;
    }
    let count: usize = class.data.tensor()?.sizes()?.iter().product();
    if count > EAGER_ELEMENTS {
        return None;
    }
    class.nodes.iter().find_map(|node| {
        let (node, slot) = if node.code == Code::PROJ {
            (egraph[node.children[0]].nodes.iter().find(|n| n.code.index().is_some())?, node.tag as usize)
        } else {
            (node, 0)
        };
        let small = |child: &Id| egraph[*child].data.bytes <= 65536.0;
        if node.code.index().is_none() || !node.children.iter().all(small) {
            return None;
        }
        let tables = &egraph.analysis.tables;
        let inputs: Vec<Option<Tensor>> = node
            .children
            .iter()
            .map(|child| match present(egraph, *child) {
                None => Some(None),
                Some(known) => known.value.map(|v| Some(tables.tensor(v).clone())),
            })
            .collect::<Option<_>>()?;
        compute(node, tables.attrs(node.attrs), &inputs, &[])?.into_iter().nth(slot)
    })
}

/// Evaluates one e-node on constants by the reference. `None` when the operator refuses.
pub fn compute(
    node: &ENode,
    attrs: &Attrs,
    inputs: &[Option<Tensor>],
    functions: &[Function],
) -> Option<Vec<Tensor>> {
    let op = fusebox_ops::ops()[node.code.index()?];
    let slots = inputs.iter().enumerate().map(|(i, t)| t.as_ref().map(|_| ValueId(i as u32)));
    let outputs = (0..node.outputs).map(|i| Some(ValueId(1000 + i)));
    let ir = Node::new(op.schema().op_name(), slots, outputs, attrs.clone());
    let data: Vec<Option<Datum>> = inputs.iter().map(|t| t.clone().map(Datum::Tensor)).collect();
    let refs: Vec<Option<&Datum>> = data.iter().map(Option::as_ref).collect();
    let results = Interpreter::new(functions).node(&ir, &refs, &[]).ok()?;
    results.into_iter().map(|d| d.into_tensor().ok()).collect()
}
