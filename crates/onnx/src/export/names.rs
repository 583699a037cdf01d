//! Names for what is written: kept to the letter where they can be, made up where there is none.
//!
//! Inside a subgraph, a captured value goes by its outer name, so an inner value of that name must yield. Names that
//! are made up differ from every name in the model.

use fusebox_ir::{Graph, ValueId};
use std::collections::HashSet;

/// Names of a whole model or function.
pub(super) struct Names {
    taken: HashSet<String>,
    next: usize,
}

impl Names {
    /// Learns every name in a graph and its regions.
    pub(super) fn of(graph: &Graph) -> Self {
        let mut names = Self { taken: HashSet::new(), next: 0 };
        names.learn(graph);
        names
    }

    fn learn(&mut self, graph: &Graph) {
        for (_, value) in graph.values() {
            if !value.name.is_empty() && !self.taken.contains(&value.name) {
                self.taken.insert(value.name.clone());
            }
        }
        for (_, node) in graph.nodes() {
            node.regions.iter().for_each(|region| self.learn(&region.graph));
        }
    }

    /// A name that nothing in the model has: `base_0`, `base_1`, …
    pub(super) fn fresh(&mut self, base: &str) -> String {
        loop {
            let name = format!("{base}_{}", self.next);
            self.next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Names of a graph's values by id; empty for values that nothing refers to. `outer` names its captures.
    pub(super) fn assign(&mut self, graph: &Graph, outer: &[String]) -> Vec<String> {
        let mut names = vec![String::new(); graph.value_count()];
        let mut used: HashSet<String> = HashSet::new();
        for (value, name) in graph.captured.iter().zip(outer) {
            names[value.0 as usize].clone_from(name);
            used.insert(name.clone());
        }
        // The interface first: its names are the model's promise to its users.
        let interface = graph.inputs.iter().chain(&graph.outputs).copied();
        for value in interface.chain(graph.values().map(|(id, _)| id)) {
            let slot = value.0 as usize;
            let wanted = &graph.value(value).name;
            if !names[slot].is_empty() || wanted.is_empty() {
                continue;
            }
            names[slot] = if used.contains(wanted) { self.fresh(wanted) } else { wanted.clone() };
            used.insert(names[slot].clone());
        }
        self.name_unnamed(graph, &mut names);
        names
    }

    fn name_unnamed(&mut self, graph: &Graph, names: &mut [String]) {
        let mut needed = vec![false; names.len()];
        let mut need = |value: ValueId| needed[value.0 as usize] = true;
        graph.inputs.iter().chain(&graph.outputs).copied().for_each(&mut need);
        for (_, node) in graph.nodes() {
            node.reads().chain(node.outputs.iter().flatten().copied()).for_each(&mut need);
        }
        for (id, value) in graph.values() {
            let slot = id.0 as usize;
            if names[slot].is_empty() && needed[slot] {
                let base = match value.producer.filter(|(node, _)| graph.has_node(*node)) {
                    Some((node, _)) => graph.node(node).op.name.to_string(),
                    None if value.constant.is_some() => "constant".into(),
                    None => "value".into(),
                };
                names[slot] = self.fresh(&base);
            }
        }
    }
}
