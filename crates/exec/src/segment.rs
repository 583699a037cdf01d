//! Cuts a graph into segments where sizes depend on data, so that everything between runs on kernels.
//!
//! A scan walks the nodes that remain in topological order. A node whose inputs are there and whose output sizes follow
//! from theirs joins the plan; one whose inputs are there but whose sizes only its data decides (NonZero, Unique), that
//! has a body (If, Loop, Scan) or deals in sequences is evaluated by itself after the plan; all others wait for the
//! next segment, which is compiled once those results, and with them their sizes, exist.

use crate::ExecError;
use crate::body::Bodies;
use crate::cache::Cache;
use crate::engine::Engine;
use crate::plan::{self, Plan};
use fusebox_ir::{Dim, Graph, Node, NodeId, Tensor, TensorType, Type, Value, ValueId};
use fusebox_ops::typing::Typer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Segments kept per place where a graph is cut: sizes there may differ from run to run.
const MAX_CONTINUATIONS: usize = 4;

/// Part of a graph: a plan, nodes that follow it one by one, and what remains.
pub struct Segment {
    /// The kernels; `None` when nothing of this segment can be planned.
    pub plan: Option<Plan>,
    /// Values that the plan's inputs are.
    pub plan_inputs: Vec<ValueId>,
    /// Values that the plan's outputs are.
    pub plan_outputs: Vec<ValueId>,
    /// Values that typing alone found and that something after the plan reads.
    pub found: Vec<(ValueId, Tensor)>,
    /// Nodes to evaluate after the plan, in order.
    pub cuts: Vec<Cut>,
    /// What remains.
    pub rest: Option<Rest>,
}

/// A node evaluated by itself.
pub struct Cut {
    /// The node.
    pub node: NodeId,
    /// Its bodies, where it has some.
    pub bodies: Bodies,
    /// Why it is not part of a plan.
    pub reason: &'static str,
}

/// Nodes that wait for results of this segment.
pub struct Rest {
    nodes: Vec<NodeId>,
    types: Vec<Type>,
    dims: Vec<Option<Vec<Dim>>>,
    known: BTreeMap<ValueId, Tensor>,
    /// Values that exist before the next segment and that it reads.
    pub boundary: Vec<ValueId>,
    next: Cache<Segment>,
}

impl Rest {
    /// The segment that follows when the boundary has the given types.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn next(
        &self,
        graph: &Graph,
        engine: &Engine,
        signature: &crate::cache::Signature,
    ) -> Result<Arc<Segment>, ExecError> {
        self.next.get(signature, || {
            let mut typer = Typer::new(graph, &engine.functions);
            typer.types.clone_from(&self.types);
            typer.dims.clone_from(&self.dims);
            for (value, found) in self.boundary.iter().zip(signature) {
                if let Some((dtype, sizes)) = found {
                    typer.types[value.0 as usize] = TensorType::known(*dtype, sizes).into();
                }
            }
            compile(graph, engine, typer, self.nodes.clone(), self.known.clone(), &self.boundary)
        })
    }
}

/// What became of a value so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not there yet.
    Missing,
    /// Exists before the segment runs.
    Given,
    /// The plan computes it.
    Planned,
    /// A node after the plan computes it.
    Cut,
}

struct Scan<'a> {
    graph: &'a Graph,
    typer: Typer<'a>,
    states: Vec<State>,
    /// Values known without running anything, besides the graph's constants.
    known: BTreeMap<ValueId, Tensor>,
    planned: Vec<NodeId>,
    cuts: Vec<(NodeId, &'static str)>,
    waiting: Vec<NodeId>,
}

/// Compiles the first segment of `nodes`. `typer` holds the types of what exists: `given`, and constants.
///
/// # Errors
/// A contradiction between types, or a fault in lowering.
pub fn compile(
    graph: &Graph,
    engine: &Engine,
    typer: Typer<'_>,
    nodes: Vec<NodeId>,
    known: BTreeMap<ValueId, Tensor>,
    given: &[ValueId],
) -> Result<Segment, ExecError> {
    let mut states = vec![State::Missing; graph.value_count()];
    for value in given {
        states[value.0 as usize] = State::Given;
    }
    let mut scan = Scan { graph, typer, states, known, planned: vec![], cuts: vec![], waiting: vec![] };
    for id in nodes {
        scan.visit(id)?;
    }
    scan.finish(engine)
}

impl Scan<'_> {
    fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.known.get(&value).or_else(|| {
            let is_given = self.states[value.0 as usize] == State::Given;
            self.graph.value(value).constant.as_ref().filter(|_| !is_given)
        })
    }

    /// Whether the value is a tensor in memory that kernels can address, and its sizes are known.
    fn is_fixed(&self, value: ValueId) -> bool {
        let ty = self.typer.types[value.0 as usize].tensor();
        ty.is_some_and(|ty| ty.dtype.bits() >= 8 && ty.sizes().is_some())
    }

    fn visit(&mut self, id: NodeId) -> Result<(), ExecError> {
        let node = self.graph.node(id);
        let state = |value: ValueId| match self.constant(value) {
            Some(_) => State::Given,
            None => self.states[value.0 as usize],
        };
        let reads: Vec<(ValueId, State)> = node.reads().map(|value| (value, state(value))).collect();
        if reads.iter().any(|(_, state)| *state == State::Missing) {
            self.waiting.push(id);
            return Ok(());
        }
        let odd = self.odd(node, &reads);
        if reads.iter().any(|(_, state)| *state == State::Cut) {
            // Typing it must wait for what the cut gives, unless no type would bring it into a plan.
            match odd {
                Some(reason) => self.cut(id, reason),
                None => self.waiting.push(id),
            }
            return Ok(());
        }
        if let Some(reason) = odd {
            self.cut(id, reason);
            return Ok(());
        }
        let typed = self.typer.node(id)?;
        let outputs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        for value in &outputs {
            if let Some(tensor) = self.typer.constant(*value) {
                self.known.insert(*value, tensor);
            }
        }
        let unknown = outputs.iter().any(|value| !self.known.contains_key(value) && !self.is_fixed(*value));
        if outputs.iter().all(|value| self.known.contains_key(value)) {
            return Ok(());
        }
        if !typed || unknown {
            self.cut(id, "the sizes of its outputs depend on data");
            return Ok(());
        }
        self.planned.push(id);
        outputs.iter().for_each(|value| self.states[value.0 as usize] = State::Planned);
        Ok(())
    }

    /// Why a node can never be part of a plan.
    fn odd(&self, node: &Node, reads: &[(ValueId, State)]) -> Option<&'static str> {
        if !node.regions.is_empty() {
            return Some("its body runs by itself");
        }
        let no_tensor = |value: ValueId| match &self.typer.types[value.0 as usize] {
            Type::Tensor(ty) => ty.dtype.bits() < 8,
            Type::Unknown => false,
            _ => true,
        };
        let mut values = reads.iter().filter(|(value, _)| self.constant(*value).is_none());
        // What a cut gives has no sizes yet, which says nothing against the node.
        let unfit = |(value, state): &(ValueId, State)| match state {
            State::Cut => no_tensor(*value),
            _ => !self.is_fixed(*value),
        };
        let odd = values.any(unfit) || node.outputs.iter().flatten().any(|value| no_tensor(*value));
        odd.then_some("it deals in values that no kernel takes")
    }

    fn cut(&mut self, id: NodeId, reason: &'static str) {
        self.cuts.push((id, reason));
        for value in self.graph.node(id).outputs.iter().flatten() {
            self.states[value.0 as usize] = State::Cut;
        }
    }

    fn finish(mut self, engine: &Engine) -> Result<Segment, ExecError> {
        self.drop_unneeded();
        // What something after the plan reads, or the graph gives.
        let after = self.cuts.iter().map(|(id, _)| id).chain(&self.waiting);
        let mut wanted: Vec<ValueId> = after.flat_map(|id| self.graph.node(*id).reads()).collect();
        wanted.extend(&self.graph.outputs);
        wanted.sort_unstable();
        wanted.dedup();
        let state = |value: &ValueId| self.states[value.0 as usize];
        let plan_outputs: Vec<ValueId> = wanted
            .iter()
            .copied()
            .filter(|v| self.constant(*v).is_none() && state(v) == State::Planned)
            .collect();
        let found = wanted.iter().filter_map(|v| Some((*v, self.known.get(v)?.clone()))).collect::<Vec<_>>();
        let mut plan_inputs: Vec<ValueId> = self
            .planned
            .iter()
            .flat_map(|id| self.graph.node(*id).reads())
            .filter(|v| self.constant(*v).is_none() && state(v) == State::Given)
            .collect();
        plan_inputs.sort_unstable();
        plan_inputs.dedup();
        let plan = match plan_outputs.is_empty() {
            true => None,
            false => Some(self.plan(engine, &plan_inputs, &plan_outputs)?),
        };
        let cuts = self.cuts.iter().map(|(id, reason)| self.bodies(*id, reason)).collect();
        let rest = self.rest();
        Ok(Segment { plan, plan_inputs, plan_outputs, found, cuts, rest })
    }

    /// Drops planned nodes whose values typing has found in the meantime, and those that only they read.
    fn drop_unneeded(&mut self) {
        let mut needed = vec![false; self.graph.value_count()];
        let late = self.cuts.iter().map(|(id, _)| id).chain(&self.waiting);
        let roots: Vec<ValueId> = late
            .flat_map(|id| self.graph.node(*id).reads())
            .chain(self.graph.outputs.iter().copied())
            .collect();
        roots.iter().for_each(|value| needed[value.0 as usize] = true);
        let mut kept = Vec::new();
        for id in std::mem::take(&mut self.planned).into_iter().rev() {
            let node = self.graph.node(id);
            let is_read = |v: &ValueId| needed[v.0 as usize] && self.constant(*v).is_none();
            if node.outputs.iter().flatten().any(is_read) {
                node.reads().for_each(|value| needed[value.0 as usize] = true);
                kept.push(id);
            }
        }
        kept.reverse();
        self.planned = kept;
    }

    fn bodies(&self, id: NodeId, reason: &'static str) -> Cut {
        let node = self.graph.node(id);
        Cut { node: id, bodies: Bodies::new(node, &|value| self.constant(value).cloned()), reason }
    }

    fn rest(self) -> Option<Rest> {
        if self.waiting.is_empty() {
            return None;
        }
        let produced: Vec<ValueId> = self
            .waiting
            .iter()
            .flat_map(|id| self.graph.node(*id).outputs.iter().flatten().copied())
            .collect();
        let reads = self.waiting.iter().flat_map(|id| self.graph.node(*id).reads());
        let mut boundary: Vec<ValueId> = reads.filter(|v| self.constant(*v).is_none()).collect();
        boundary.sort_unstable();
        boundary.dedup();
        boundary.retain(|value| !produced.contains(value));
        let Typer { types, dims, .. } = self.typer;
        let (nodes, known) = (self.waiting, self.known);
        Some(Rest { nodes, types, dims, known, boundary, next: Cache::new(MAX_CONTINUATIONS) })
    }

    /// The planned nodes as a graph of their own, compiled.
    fn plan(&self, engine: &Engine, inputs: &[ValueId], outputs: &[ValueId]) -> Result<Plan, ExecError> {
        let mut graph = Graph::new();
        let mut map: Vec<Option<ValueId>> = vec![None; self.graph.value_count()];
        let mut constants: Vec<Option<Tensor>> = Vec::new();
        let mut place = |value: ValueId| {
            *map[value.0 as usize].get_or_insert_with(|| {
                let constant = self.constant(value).cloned();
                let ty = match &constant {
                    Some(tensor) => tensor.ty().into(),
                    None => self.typer.types[value.0 as usize].clone(),
                };
                constants.push(constant);
                let name = self.graph.value(value).name.clone();
                graph.add_value(Value { name, ty, ..Value::default() })
            })
        };
        let own: Vec<ValueId> = inputs.iter().map(|value| place(*value)).collect();
        let mut nodes = Vec::new();
        for id in &self.planned {
            let node = self.graph.node(*id);
            let mut copy = Node::new(node.op.clone(), [], [], node.attrs.clone());
            copy.inputs = node.inputs.iter().map(|slot| slot.map(&mut place)).collect();
            copy.outputs = node.outputs.iter().map(|slot| slot.map(&mut place)).collect();
            copy.name.clone_from(&node.name);
            copy.overload.clone_from(&node.overload);
            nodes.push(copy);
        }
        let results: Vec<ValueId> = outputs.iter().map(|value| place(*value)).collect();
        graph.inputs = own;
        graph.outputs = results;
        let nodes: Vec<NodeId> = nodes.into_iter().map(|node| graph.add_node(node)).collect();
        plan::compile(&graph, &constants, &nodes, engine)
    }
}
