//! From a graph to an e-graph: one class per value, constants as leaves by content.
//!
//! Nodes that the operator table does not know, that hold regions, or that draw random numbers become opaque: they keep
//! their place and never merge with another.

use super::analysis::{Egg, Facts, Known, join};
use super::node::{Code, ENode, code};
use crate::apply::with_defaults;
use egg::Id;
use fusebox_ir::{Attr, Attrs, Graph, Node, NodeId, Tensor, Type, ValueId};
use fusebox_ops::{Inferred, Purity};
use std::collections::HashMap;

/// A graph as an e-graph.
pub struct Imported {
    /// The e-graph.
    pub egraph: Egg,
    /// Class of each value, where it has one.
    pub class_of: Vec<Option<Id>>,
    /// The e-node that stands for each node, in order.
    pub nodes: Vec<(NodeId, ENode)>,
    /// Nodes behind opaque numbers; inputs have none.
    pub opaque: Vec<Option<NodeId>>,
    /// Values behind input numbers.
    pub inputs: HashMap<u32, ValueId>,
    /// The graph's values behind constants, first come first kept.
    pub constants: HashMap<u32, ValueId>,
}

/// Imports a typed graph.
///
/// # Errors
/// A node on a cycle.
pub fn import(graph: &Graph, threads: usize) -> Result<Imported, NodeId> {
    let hashes = hash_constants(graph, threads);
    let mut import = Import {
        graph,
        readers: graph.readers(),
        out: Imported {
            egraph: Egg::new(Facts::default()),
            class_of: vec![None; graph.value_count()],
            nodes: Vec::new(),
            opaque: Vec::new(),
            inputs: HashMap::new(),
            constants: HashMap::new(),
        },
    };
    import.out.egraph.analysis.tables.record(Attrs::new());
    for value in graph.inputs.iter().chain(&graph.captured) {
        import.input(*value);
    }
    for (id, hash) in hashes {
        import.constant(id, hash);
    }
    for id in graph.topological()? {
        import.node(id);
    }
    import.out.egraph.rebuild();
    Ok(import.out)
}

/// Constants below this size are hashed where they are met; the others by all threads.
const LARGE: usize = 1 << 16;

fn hash_constants(graph: &Graph, threads: usize) -> Vec<(ValueId, u128)> {
    let ids: Vec<ValueId> =
        graph.values().filter(|(id, _)| graph.constant(*id).is_some()).map(|(id, _)| id).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let large = ids.iter().any(|id| graph.constant(*id).is_some_and(|t| t.data().len() > LARGE));
    let workers = if large { threads.clamp(1, 16) } else { 1 };
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(id) = ids.get(index) else { return done };
            done.extend(graph.constant(*id).map(|tensor| (*id, tensor.content_hash())));
        }
    };
    let mut hashes: Vec<(ValueId, u128)> = crate::parallel::gather(workers, work);
    hashes.sort_unstable();
    hashes
}

struct Import<'a> {
    graph: &'a Graph,
    readers: Vec<smallvec::SmallVec<[NodeId; 2]>>,
    out: Imported,
}

impl Import<'_> {
    fn leaf(&mut self, code: Code, types: Vec<Type>, node: Option<NodeId>) -> ENode {
        let tag = u32::try_from(self.out.opaque.len()).expect("fewer than 2^32 nodes");
        self.out.opaque.push(node);
        let outputs = types.len() as u32;
        self.out.egraph.analysis.tables.opaque.push(types);
        ENode { outputs, ..ENode::leaf(code, tag) }
    }

    fn input(&mut self, value: ValueId) {
        let node = self.leaf(Code::INPUT, vec![self.graph.value(value).ty.clone()], None);
        self.out.inputs.insert(node.tag, value);
        let id = self.out.egraph.add(node);
        self.out.class_of[value.0 as usize] = Some(id);
    }

    fn constant(&mut self, value: ValueId, hash: u128) {
        let Some(tensor) = self.graph.constant(value) else { return };
        let number = self.out.egraph.analysis.tables.constant_hashed(tensor, hash);
        let id = self.out.egraph.add(ENode::leaf(Code::CONST, number));
        self.out.class_of[value.0 as usize] = Some(id);
        self.out.constants.entry(number).or_insert(value);
    }

    fn operand(&mut self, value: Option<ValueId>) -> Id {
        let known = value.and_then(|v| self.out.class_of[v.0 as usize]);
        known.unwrap_or_else(|| self.out.egraph.add(ENode::leaf(Code::NONE, 0)))
    }

    fn used(&self, value: ValueId) -> bool {
        !self.readers[value.0 as usize].is_empty() || self.graph.outputs.contains(&value)
    }

    fn node(&mut self, id: NodeId) {
        let graph = self.graph;
        let node = graph.node(id);
        if (node.op.is("Identity") || self.is_idle_dropout(node))
            && let (Some(from), Some(to)) = (node.input(0), node.output(0))
        {
            self.out.class_of[to.0 as usize] = self.out.class_of[from.0 as usize];
            return;
        }
        if let Some((value, tensor)) = constant_node(node) {
            let number = self.out.egraph.analysis.tables.constant(tensor);
            let class = self.out.egraph.add(ENode::leaf(Code::CONST, number));
            self.out.class_of[value.0 as usize] = Some(class);
            self.out.constants.entry(number).or_insert(value);
            return;
        }
        let enode = self.enode(id, node);
        self.out.nodes.push((id, enode.clone()));
        let outputs = enode.outputs;
        let class = self.out.egraph.add(enode);
        for (position, value) in node.outputs.iter().enumerate() {
            let Some(value) = *value else { continue };
            if outputs == 1 && position == 0 {
                self.define(value, class);
            } else if outputs > 1 && position < outputs as usize {
                let mut output = ENode::leaf(Code::PROJ, position as u32);
                output.children.push(class);
                let output = self.out.egraph.add(output);
                self.define(value, output);
            }
        }
    }

    /// Gives a value its class, and the class what the graph knows of the value.
    fn define(&mut self, value: ValueId, class: Id) {
        self.out.class_of[value.0 as usize] = Some(class);
        let egraph = &mut self.out.egraph;
        let known = &egraph[class].data;
        let [output] = known.outputs.as_slice() else { return };
        let Some(ty) = join(&output.ty, &self.graph.value(value).ty) else { return };
        if ty != output.ty {
            let refined =
                Known { outputs: vec![Inferred { ty, dims: output.dims.clone() }], ..known.clone() };
            egraph.set_analysis_data(class, refined);
        }
    }

    /// Dropout outside training, whose mask nothing reads.
    fn is_idle_dropout(&self, node: &Node) -> bool {
        let off = |v: ValueId| {
            self.graph.constant(v).is_some_and(|t| t.len() == 1 && t.data().iter().all(|b| *b == 0))
        };
        node.op.is("Dropout")
            && node.input(2).is_none_or(off)
            && node.output(1).is_none_or(|mask| !self.used(mask))
    }

    fn enode(&mut self, id: NodeId, node: &Node) -> ENode {
        let last = node.outputs.iter().rposition(|o| o.is_some_and(|v| self.used(v)));
        let outputs = if node.op.is("Split") { node.outputs.len() } else { last.map_or(1, |i| i + 1) };
        let pure = fusebox_ops::op(&node.op).is_some_and(|op| op.schema().purity == Purity::Pure);
        match code(&node.op) {
            Some(code) if pure && node.regions.is_empty() => {
                let rank = node.input(0).and_then(|v| self.graph.value(v).ty.tensor()?.rank());
                let attrs = normal(node, rank);
                let attrs = self.out.egraph.analysis.tables.record(attrs);
                let children = node.inputs.iter().map(|v| self.operand(*v)).collect();
                ENode { code, attrs, tag: 0, outputs: outputs as u32, children }
            }
            _ => {
                let ty = |v: &Option<ValueId>| v.map_or(Type::Unknown, |v| self.graph.value(v).ty.clone());
                let types = node.outputs.iter().map(ty).collect();
                let leaf = self.leaf(Code::OPAQUE, types, Some(id));
                let captures = node.regions.iter().flat_map(|r| &r.captures).map(|v| Some(*v));
                let reads: Vec<Option<ValueId>> = node.inputs.iter().copied().chain(captures).collect();
                ENode { children: reads.into_iter().map(|v| self.operand(v)).collect(), ..leaf }
            }
        }
    }
}

/// A Constant node's value.
fn constant_node(node: &Node) -> Option<(ValueId, &Tensor)> {
    if !node.op.is("Constant") {
        return None;
    }
    Some((node.output(0)?, node.attrs.tensor("value")?))
}

/// Attributes with defaults filled in and axes counted from the back.
fn normal(node: &Node, rank: Option<usize>) -> Attrs {
    let mut attrs = with_defaults(&node.op, node.attrs.clone());
    if let (Some(axis), Some(rank)) = (attrs.int("axis"), rank)
        && axis >= 0
        && node.op.domain.is_empty()
        && matches!(&*node.op.name, "Softmax" | "LayerNormalization" | "RMSNormalization")
    {
        attrs.set("axis", Attr::Int(axis - rank as i64));
    }
    if node.op.is("Transpose")
        && attrs.get("perm").is_none()
        && let Some(rank) = rank
    {
        attrs.set("perm", (0..rank as i64).rev().collect::<Vec<i64>>());
    }
    attrs
}
