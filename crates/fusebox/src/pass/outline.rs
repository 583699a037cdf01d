//! Puts calls of model-local functions back where no rule and no pass has touched their bodies.
//!
//! Expansion marks the nodes of every call; those that go through the pipeline are copied with the mark. A call comes
//! back when all its nodes are still there, wired as they were, and nothing outside reads what is inside. Its name,
//! metadata, attributes and doc string are those of the file. Refuses bodies with subgraphs: those are optimized on
//! their own.

use super::Pass;
use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};
use fusebox_ir::{Function, Graph, Node, NodeId, OpName, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Metadata key of the mark: the position of the call in [`Calls`].
const MARK: &str = "fusebox.call";

/// Calls of the main graph as they were before expansion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    /// Positions of functions that anything called.
    used: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Call {
    node: Node,
    /// The nodes of its body as expansion wrote them.
    body: Vec<Node>,
    /// Constants that these read, with the values that stand for them.
    constants: BTreeMap<ValueId, fusebox_ir::Tensor>,
}

impl Calls {
    /// Marks every call of the graph; to be called before expansion.
    pub(super) fn mark(model: &mut Model) -> Self {
        // A file may hold the mark as well, which is then not one.
        unmark(&mut model.graph);
        model.functions.iter_mut().for_each(|function| unmark(&mut function.graph));
        let used = used(&model.graph, &model.functions);
        let functions = positions(&model.functions);
        let is_function = |op: &OpName| fusebox_ops::op(op).is_none() && functions.contains_key(op);
        let ids: Vec<NodeId> =
            model.graph.nodes().filter(|(_, node)| is_function(&node.op)).map(|(id, _)| id).collect();
        let mut calls = Vec::new();
        for id in ids {
            let node = model.graph.node_mut(id);
            calls.push(Call { node: node.clone(), body: Vec::new(), constants: BTreeMap::new() });
            node.metadata.push((MARK.into(), (calls.len() - 1).to_string()));
        }
        Self { calls, used }
    }

    /// Notes what the calls became; to be called after expansion.
    pub(super) fn note(&mut self, graph: &Graph) {
        for (call, nodes) in marked(graph) {
            let Some(call) = self.calls.get_mut(call) else { continue };
            call.body = nodes.iter().map(|id| graph.node(*id).clone()).collect();
            let reads: BTreeSet<ValueId> = call.body.iter().flat_map(Node::reads).collect();
            let constant = |id: ValueId| Some((id, graph.constant(id)?.clone()));
            call.constants = reads.into_iter().filter_map(constant).collect();
        }
    }
}

/// Positions of the functions that calls of a name may mean.
fn positions(functions: &[Function]) -> HashMap<OpName, Vec<usize>> {
    let mut found: HashMap<OpName, Vec<usize>> = HashMap::new();
    for (index, function) in functions.iter().enumerate() {
        found.entry(OpName::new(&function.domain, &function.name)).or_default().push(index);
    }
    found
}

/// Marked nodes by their call.
fn marked(graph: &Graph) -> BTreeMap<usize, Vec<NodeId>> {
    let mut found: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        if let Some(call) = node.metadata(MARK).and_then(|mark| mark.parse().ok()) {
            found.entry(call).or_default().push(id);
        }
    }
    found
}

/// Positions of the functions that a graph calls, through other functions too.
fn used(graph: &Graph, functions: &[Function]) -> BTreeSet<usize> {
    let positions = positions(functions);
    let mut found = BTreeSet::new();
    let mut waiting = vec![graph];
    while let Some(graph) = waiting.pop() {
        for (_, node) in graph.nodes() {
            for index in positions.get(&node.op).into_iter().flatten() {
                if found.insert(*index) {
                    waiting.push(&functions[*index].graph);
                }
            }
            waiting.extend(node.regions.iter().map(|region| &region.graph));
        }
    }
    found
}

/// Restores untouched calls, and drops functions that nothing calls any more.
pub(super) struct RestoreCalls;

impl Pass for RestoreCalls {
    fn name(&self) -> &'static str {
        "restore-calls"
    }

    fn run(&self, model: &mut Model, _: &OptimizeOptions, report: &mut Report) -> Result<(), Error> {
        let Calls { calls, used: before } = std::mem::take(&mut report.calls);
        let mut expanded = model.graph.clone();
        unmark(&mut expanded);
        let is_restored = restore(&mut model.graph, &calls);
        // Constants of the bodies are theirs again, and calls stand where their operands are ready. They never are when a
        // rule made one operand of a call read another result of it: then the calls stay expanded.
        if !is_restored || model.graph.compact().is_err() {
            model.graph = expanded;
        }
        let after = used(&model.graph, &model.functions);
        let mut position = 0..;
        model.functions.retain(|_| {
            let index = position.next().unwrap_or_default();
            after.contains(&index) || !before.contains(&index)
        });
        Ok(())
    }
}

/// Puts back what is untouched; whether there was any.
fn restore(graph: &mut Graph, calls: &[Call]) -> bool {
    let mut reads = vec![0; graph.value_count()];
    let read = graph.nodes().flat_map(|(_, node)| node.reads()).chain(graph.outputs.iter().copied());
    read.for_each(|value| reads[value.0 as usize] += 1);
    let mut is_restored = false;
    for (index, nodes) in marked(graph) {
        if let Some(node) = calls.get(index).and_then(|call| call.restored(graph, &nodes, &reads)) {
            nodes.iter().for_each(|id| drop(graph.remove_node(*id)));
            graph.add_node(node);
            is_restored = true;
        }
    }
    unmark(graph);
    is_restored
}

fn unmark(graph: &mut Graph) {
    for id in graph.node_ids() {
        let node = graph.node_mut(id);
        node.metadata.retain(|(key, _)| key != MARK);
        node.regions.iter_mut().for_each(|region| unmark(&mut region.graph));
    }
}

impl Call {
    /// The call with the values of today, when `nodes` are its body untouched. `reads` counts the readers of every value
    /// before the first call was restored; restoring others leaves it true for what only this body reads.
    fn restored(&self, graph: &Graph, nodes: &[NodeId], reads: &[usize]) -> Option<Node> {
        let values = self.matched(graph, nodes)?;
        let now = |slot: &Option<ValueId>| slot.map(|old| values.get(&old).copied());
        let mut node = self.node.clone();
        for slot in &mut node.inputs {
            // An operand that the body does not read cannot be found again.
            *slot = now(slot).map_or(Some(None), |found| found.map(Some))?;
        }
        for slot in &mut node.outputs {
            *slot = now(slot).flatten();
        }
        let outputs: BTreeSet<ValueId> = node.outputs.iter().flatten().copied().collect();
        let made = nodes.iter().flat_map(|id| graph.node(*id).outputs.iter().flatten());
        let inner: BTreeSet<ValueId> = made.copied().filter(|value| !outputs.contains(value)).collect();
        let mut outside: BTreeMap<ValueId, usize> =
            inner.into_iter().map(|value| (value, reads[value.0 as usize])).collect();
        for value in nodes.iter().flat_map(|id| graph.node(*id).reads()) {
            outside.entry(value).and_modify(|count| *count -= 1);
        }
        let is_read_outside = outside.values().any(|count| *count > 0);
        (!is_read_outside).then_some(node)
    }

    /// What the values of the expansion are called now; `None` when a node is missing or differs.
    fn matched(&self, graph: &Graph, nodes: &[NodeId]) -> Option<HashMap<ValueId, ValueId>> {
        let named: BTreeMap<&str, &Node> =
            nodes.iter().map(|id| graph.node(*id)).map(|node| (node.name.as_str(), node)).collect();
        if named.len() != self.body.len() || nodes.len() != named.len() || named.contains_key("") {
            return None;
        }
        let mut values = HashMap::new();
        let mut pair = |old: Option<ValueId>, new: Option<ValueId>| match (old, new) {
            (Some(old), Some(new)) => *values.entry(old).or_insert(new) == new,
            (old, new) => old.is_none() && new.is_none(),
        };
        for old in &self.body {
            let new = named.get(old.name.as_str())?;
            let is_same = new.op == old.op && new.attrs == old.attrs && old.regions.is_empty();
            if !is_same || new.inputs.len() != old.inputs.len() {
                return None;
            }
            if !old.inputs.iter().zip(&new.inputs).all(|(old, new)| pair(*old, *new)) {
                return None;
            }
            for (index, slot) in old.outputs.iter().enumerate() {
                // An output that nothing reads may be gone.
                if new.output(index).is_some() && !pair(*slot, new.output(index)) {
                    return None;
                }
            }
        }
        let is_same = |(id, tensor): (&ValueId, &fusebox_ir::Tensor)| {
            values.get(id).and_then(|now| graph.constant(*now)) == Some(tensor)
        };
        self.constants.iter().all(is_same).then_some(values)
    }
}
