//! The canonical order of a graph's nodes: what makes the text independent of insertion order.
//!
//! Live nodes come in the order in which a depth-first walk from the outputs finishes them, inputs left to right: that
//! order is fixed by structure alone. Dead nodes follow, sorted by colours refined over what they read and who reads
//! them; dead parts that refinement cannot tell apart keep their insertion order.

use super::print::{self, signature};
use crate::{Graph, NodeId, ValueId};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3;

/// Rounds of refinement over readers: more than two dead parts of real graphs need.
const ROUNDS: usize = 4;

/// Live nodes in canonical order, dead nodes after them. Tolerates cycles and undefined values.
pub fn canonical_order(graph: &Graph) -> Vec<NodeId> {
    let mut walk = Walk { graph, seen: vec![false; slots(graph)], order: Vec::new() };
    for output in &graph.outputs {
        walk.finish(walk.producer(*output));
    }
    let live = walk.order.len();
    if live < graph.node_count() {
        let dead: Vec<NodeId> = graph.node_ids().into_iter().filter(|id| !walk.seen[id.0 as usize]).collect();
        // Metadata decides last: a text without it must not depend on it.
        let [plain, told] = [false, true].map(|metadata| colours(graph, &walk.order, &dead, metadata));
        let mut sorted = dead;
        sorted.sort_by_key(|id| (plain[id], told[id], *id));
        let readers = graph.readers();
        let is_sink = |id: &NodeId| {
            let outputs = graph.node(*id).outputs.iter().flatten();
            outputs.flat_map(|v| readers.get(v.0 as usize).into_iter().flatten()).all(|reader| reader == id)
        };
        // Sinks first, so that each dead part comes out as its own walk; what is left after them is on cycles.
        for id in sorted.iter().filter(|id| is_sink(id)).chain(&sorted) {
            walk.finish(Some(*id));
        }
    }
    walk.order
}

fn slots(graph: &Graph) -> usize {
    graph.nodes().map(|(id, _)| id.0 as usize + 1).max().unwrap_or(0)
}

struct Walk<'g> {
    graph: &'g Graph,
    seen: Vec<bool>,
    order: Vec<NodeId>,
}

impl Walk<'_> {
    fn producer(&self, value: ValueId) -> Option<NodeId> {
        producer(self.graph, value)
    }

    /// Appends the node and all it reads that is not in the order yet. A loop with a stack of its own: graphs are
    /// deeper than the call stack.
    fn finish(&mut self, root: Option<NodeId>) {
        let mut stack: Vec<(NodeId, bool)> = root.into_iter().map(|id| (id, false)).collect();
        while let Some((id, done)) = stack.pop() {
            if done {
                self.order.push(id);
            } else if !std::mem::replace(&mut self.seen[id.0 as usize], true) {
                stack.push((id, true));
                let first = stack.len();
                stack.extend(
                    self.graph.node(id).reads().filter_map(|v| producer(self.graph, v)).map(|id| (id, false)),
                );
                stack[first..].reverse();
            }
        }
    }
}

fn producer(graph: &Graph, value: ValueId) -> Option<NodeId> {
    let known = (value.0 as usize) < graph.value_count();
    let (node, _) = known.then(|| graph.value(value).producer)??;
    Some(node).filter(|node| graph.has_node(*node))
}

/// A colour per dead node: first its operator and what it reads, bottom-up; then, round by round, its readers.
fn colours(graph: &Graph, live: &[NodeId], dead: &[NodeId], metadata: bool) -> BTreeMap<NodeId, u64> {
    let mut colours: BTreeMap<NodeId, u64> =
        live.iter().enumerate().map(|(place, id)| (*id, place as u64)).collect();
    let order = graph.topological().unwrap_or_else(|_| graph.node_ids());
    for id in order.into_iter().filter(|id| dead.binary_search(id).is_ok()) {
        let node = graph.node(id);
        let mut hasher = Xxh3::new();
        hasher.update(&signature(graph, id).to_le_bytes());
        hasher.update(own_text(graph, id, metadata).as_bytes());
        for value in node.inputs.iter().copied().chain(node.reads().map(Some)) {
            hasher.update(&value.map_or(0, |v| value_colour(graph, v, &colours)).to_le_bytes());
        }
        colours.insert(id, hasher.digest());
    }
    for _ in 0..ROUNDS {
        let mut heard: BTreeMap<NodeId, Vec<(u64, usize)>> = BTreeMap::new();
        for id in dead {
            for (slot, value) in graph.node(*id).reads().enumerate() {
                if let Some(source) = producer(graph, value) {
                    heard.entry(source).or_default().push((colours[id], slot));
                }
            }
        }
        let refined: Vec<(NodeId, u64)> =
            dead.iter().map(|id| (*id, refine(colours[id], heard.remove(id)))).collect();
        colours.extend(refined);
    }
    colours
}

/// What the text says of a node beyond its signature.
fn own_text(graph: &Graph, id: NodeId, metadata: bool) -> String {
    let node = graph.node(id);
    let mut text = String::new();
    for value in node.outputs.iter().flatten() {
        print::ty(&mut text, &print::type_of(graph, *value));
        text.push(',');
    }
    if metadata {
        print::metadata(&mut text, &node.metadata);
    }
    text
}

fn refine(colour: u64, readers: Option<Vec<(u64, usize)>>) -> u64 {
    let mut readers = readers.unwrap_or_default();
    readers.sort_unstable();
    let mut hasher = Xxh3::new();
    hasher.update(&colour.to_le_bytes());
    for (reader, slot) in readers {
        hasher.update(&reader.to_le_bytes());
        hasher.update(&slot.to_le_bytes());
    }
    hasher.digest()
}

fn value_colour(graph: &Graph, value: ValueId, colours: &BTreeMap<NodeId, u64>) -> u64 {
    let mut hasher = Xxh3::new();
    if let Some((node, output)) = graph.value(value).producer {
        hasher.update(&[1]);
        hasher.update(&colours.get(&node).copied().unwrap_or(0).to_le_bytes());
        hasher.update(&output.to_le_bytes());
    } else if let Some(place) = graph.inputs.iter().chain(&graph.captured).position(|v| *v == value) {
        hasher.update(&[2]);
        hasher.update(&place.to_le_bytes());
    } else if let Some(tensor) = &graph.value(value).constant {
        hasher.update(&[3]);
        hasher.update(&tensor.content_hash().to_le_bytes());
    }
    hasher.digest()
}
