//! Model-local functions.

use super::graph::Frame;
use super::{ImportError, Importer, check_opsets};
use crate::entries::{carry, carry_unknown, opset_imports, pairs};
use crate::inline::MAX_NODES;
use fusebox_ir::{Function, Graph};
use onnx_ir::{GraphProto, ModelProto, ValueInfoProto};
use std::collections::{BTreeMap, BTreeSet};

/// Domain and name of every function, with the default domain as `""`.
pub(super) fn names(model: &ModelProto) -> BTreeSet<(String, String)> {
    model.functions.iter().map(|f| (plain(&f.domain), f.name.clone())).collect()
}

fn plain(domain: &str) -> String {
    if domain == "ai.onnx" { String::new() } else { domain.to_owned() }
}

impl Importer<'_> {
    /// Reads function `index`, taking its parts out of the model.
    pub(super) fn read_function(
        &mut self,
        model: &mut ModelProto,
        index: usize,
    ) -> Result<Function, ImportError> {
        let proto = &mut model.functions[index];
        let label = format!("function {:?}", proto.name);
        self.opsets = opset_imports!(proto.opset_import);
        self.owner.clone_from(&label);
        check_opsets(&label, &self.opsets)?;
        // A function body is a graph whose inputs and outputs have names but no types of their own.
        let typed: BTreeMap<&str, &ValueInfoProto> =
            proto.value_info.iter().map(|info| (info.name.as_str(), info)).collect();
        let interface = |names: &[String]| -> Vec<ValueInfoProto> {
            let plain = |name: &String| ValueInfoProto { name: name.clone(), ..Default::default() };
            names.iter().map(|n| typed.get(n.as_str()).map_or_else(|| plain(n), |i| (*i).clone())).collect()
        };
        let (input, output) = (interface(&proto.input), interface(&proto.output));
        let body = GraphProto {
            node: std::mem::take(&mut proto.node),
            value_info: std::mem::take(&mut proto.value_info),
            input,
            output,
            ..GraphProto::default()
        };
        let mut function = Function {
            domain: proto.domain.clone(),
            name: proto.name.clone(),
            overload: proto.overload.clone(),
            required: std::mem::take(&mut proto.attribute),
            opsets: self.opsets.clone(),
            doc: std::mem::take(&mut proto.doc_string),
            metadata: pairs!(proto.metadata_props),
            carried: carry_unknown(proto).into_iter().collect(),
            ..Function::default()
        };
        let defaults = std::mem::take(&mut proto.attribute_proto);
        let docs = defaults.iter().filter(|d| !d.doc_string.is_empty());
        function.carried.extend(docs.map(|d| carry("attribute_proto", d)));
        function.defaults = self.read_defaults(defaults, &label)?;
        function.graph = self.read_body(body, label)?;
        function.opsets.clone_from(&self.opsets);
        Ok(function)
    }

    fn read_body(&mut self, body: GraphProto, label: String) -> Result<Graph, ImportError> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut body = body;
        // Descriptions of inputs are among the inputs already.
        let inputs: BTreeSet<&str> = body.input.iter().map(|i| i.name.as_str()).collect();
        body.value_info.retain(|info| !inputs.contains(info.name.as_str()));
        Ok(self.read_nested(body, false, &mut frames, label)?.0)
    }
}

/// Functions by what a call says: domain, name, overload.
type Key = (String, String, String);

fn key(function: &Function) -> Key {
    (plain(&function.domain), function.name.clone(), function.overload.clone())
}

/// Refuses functions that are defined twice, call themselves, directly or through others, or multiply: written out,
/// the graph must not have more nodes than [`expand_functions`](crate::expand_functions) would make.
pub(crate) fn check_calls(graph: &Graph, functions: &[Function]) -> Result<(), ImportError> {
    let mut calls: BTreeMap<Key, BTreeMap<Key, usize>> = BTreeMap::new();
    for function in functions {
        let mut called = BTreeMap::new();
        collect_calls(&function.graph, &mut called);
        if calls.insert(key(function), called).is_some() {
            return Err(ImportError::FunctionTwice { function: function.name.clone() });
        }
    }
    // Nodes of each settled function with all that it calls written out.
    let mut sizes: BTreeMap<&Key, usize> = BTreeMap::new();
    let size = |graph: &Graph, called: &BTreeMap<Key, usize>, sizes: &BTreeMap<&Key, usize>| {
        let inner = called.iter().map(|(k, times)| times.saturating_mul(sizes.get(k).copied().unwrap_or(0)));
        inner.fold(graph.total_node_count(), usize::saturating_add)
    };
    let bodies: BTreeMap<Key, &Graph> = functions.iter().map(|f| (key(f), &f.graph)).collect();
    // Functions that call only settled ones are settled; what remains in the end is on or behind a cycle.
    let mut waiting: BTreeMap<&Key, usize> = BTreeMap::new();
    let mut callers: BTreeMap<&Key, Vec<&Key>> = BTreeMap::new();
    for (function, called) in &calls {
        let local: Vec<&Key> = called.keys().filter(|k| calls.contains_key(*k)).collect();
        waiting.insert(function, local.len());
        local.into_iter().for_each(|k| callers.entry(k).or_default().push(function));
    }
    let mut settled: Vec<&Key> = waiting.iter().filter(|(_, n)| **n == 0).map(|(k, _)| *k).collect();
    while let Some(function) = settled.pop() {
        waiting.remove(function);
        let written_out = size(bodies[function], &calls[function], &sizes);
        sizes.insert(function, written_out);
        for caller in callers.get(function).into_iter().flatten() {
            let count = waiting.get_mut(*caller).expect("a caller waits for what it calls");
            *count -= 1;
            if *count == 0 {
                settled.push(caller);
            }
        }
    }
    let Some((start, _)) = waiting.first_key_value() else {
        let mut called = BTreeMap::new();
        collect_calls(graph, &mut called);
        let fits =
            called.is_empty() || size(graph, &called, &sizes) <= MAX_NODES.max(graph.total_node_count());
        return if fits { Ok(()) } else { Err(ImportError::TooManyCalls { limit: MAX_NODES }) };
    };
    // Following unsettled calls must come back to a function that was passed.
    let (mut chain, mut at) = (Vec::new(), *start);
    while !chain.contains(&at) {
        chain.push(at);
        at =
            calls[at].keys().find(|k| waiting.contains_key(k)).expect("unsettled: it calls an unsettled one");
    }
    let mut names: Vec<&str> = chain.iter().skip_while(|k| **k != at).map(|k| k.1.as_str()).collect();
    names.push(&at.1);
    let (function, chain) = (format!("{:?}", at.1), names.join(" → "));
    Err(ImportError::RecursiveFunction { function, chain })
}

/// Counts the nodes of each operator.
fn collect_calls(graph: &Graph, called: &mut BTreeMap<Key, usize>) {
    for (_, node) in graph.nodes() {
        let key = (node.op.domain.to_string(), node.op.name.to_string(), node.overload.clone());
        *called.entry(key).or_insert(0) += 1;
        node.regions.iter().for_each(|region| collect_calls(&region.graph, called));
    }
}
