//! The order in which the nodes of a graph are read: every value before its readers, ties as in the file.
//!
//! ONNX asks for this order and not every file has it. Numbers of unnamed sizes and lists of captures follow the order
//! of reading, so it must be the one in which the graph is written again. Works on names, before values exist; knows
//! nothing else about nodes.

use onnx_ir::{GraphProto, NodeProto};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Positions of the nodes in topological order; as in the file when there is a cycle, which is found out later.
pub(super) fn in_order(nodes: &[NodeProto]) -> Vec<usize> {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        producers.extend(node.output.iter().map(|name| (name.as_str(), index)));
    }
    let mut waiting = vec![0; nodes.len()];
    let mut unlocks = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let mut reads = HashSet::new();
        reads_of(node, &mut reads);
        let sources: BTreeSet<usize> = reads
            .into_iter()
            .filter(|name| !name.is_empty())
            .filter_map(|name| producers.get(name).copied())
            .collect();
        waiting[index] = sources.len();
        sources.into_iter().for_each(|source| unlocks[source].push(index));
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|index| waiting[*index] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for next in &unlocks[index] {
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    if order.len() == nodes.len() { order } else { (0..nodes.len()).collect() }
}

/// Names that a node reads from the graph that it is in: its inputs, and what its subgraphs do not define themselves.
fn reads_of<'a>(node: &'a NodeProto, reads: &mut HashSet<&'a str>) {
    reads.extend(node.input.iter().map(String::as_str));
    for attribute in &node.attribute {
        attribute.g.iter().chain(&attribute.graphs).for_each(|body| captures_of(body, reads));
    }
}

fn captures_of<'a>(body: &'a GraphProto, reads: &mut HashSet<&'a str>) {
    let mut inner: HashSet<&str> = body.output.iter().map(|output| output.name.as_str()).collect();
    body.node.iter().for_each(|node| reads_of(node, &mut inner));
    let outputs = body.node.iter().flat_map(|node| &node.output);
    let sparse = body.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    let constants = body.initializer.iter().chain(sparse).map(|tensor| &tensor.name);
    for name in outputs.chain(body.input.iter().map(|input| &input.name)).chain(constants) {
        inner.remove(name.as_str());
    }
    reads.extend(inner);
}
