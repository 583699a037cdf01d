//! Graphs of the IR → messages: names, order, initializers, descriptions of values, carried parts.

use super::ExportError;
use super::names::Names;
use super::tensor::{Layout, write_initializer};
use super::types::{copy_denotation, write_type};
use crate::entries::{UNKNOWN, pairs, push_pair};
use crate::inline::NamesInUse;
use fusebox_ir::{Carried, Graph, NodeId, Value, ValueId};
use onnx_ir::{GraphProto, Message, TensorProto, ValueInfoProto};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Writes the graphs of one naming scope: the main graph with its regions, or a function body.
pub(super) struct Writer<'a> {
    pub(super) names: Names,
    /// Where large initializers go, when not into the model.
    pub(super) layout: Option<&'a mut Layout>,
    /// Whether everything is written as it is: constants that nothing reads, missing graph names, repeated node names.
    pub(super) verbatim: bool,
}

impl Writer<'_> {
    /// Writes a graph; `outer` names its captures.
    pub(super) fn write_graph(&mut self, graph: &Graph, outer: &[String]) -> Result<GraphProto, ExportError> {
        let names = self.names.assign(graph, outer);
        let mut proto =
            GraphProto { name: graph.name.clone(), doc_string: graph.doc.clone(), ..GraphProto::default() };
        for (key, value) in &graph.metadata {
            push_pair!(proto.metadata_props, key.as_str(), value.as_str());
        }
        if proto.name.is_empty() && !self.verbatim {
            // The checker demands a name.
            proto.name = "graph".into();
        }
        proto.node = self.write_nodes(graph, &names)?;
        let owner = || format!("graph {:?}", graph.name);
        let describe = |value: &ValueId| write_info(graph.value(*value), &names[value.0 as usize], &owner);
        proto.input = graph.inputs.iter().map(describe).collect::<Result<_, _>>()?;
        proto.output = graph.outputs.iter().map(describe).collect::<Result<_, _>>()?;
        for (_, value) in described_values(graph) {
            proto.value_info.push(describe(&value)?);
        }
        self.write_constants(graph, &names, &mut proto);
        restore(&mut proto, &graph.carried, &names, &owner)?;
        Ok(proto)
    }

    /// Nodes in an order in which every value is defined before it is read.
    pub(super) fn write_nodes(
        &mut self,
        graph: &Graph,
        names: &[String],
    ) -> Result<Vec<onnx_ir::NodeProto>, ExportError> {
        let order = order(graph)?;
        let mut nodes = order
            .into_iter()
            .map(|id| self.write_node(graph, id, names))
            .collect::<Result<Vec<_>, ExportError>>()?;
        if !self.verbatim {
            make_names_differ(&mut nodes);
        }
        Ok(nodes)
    }

    fn write_constants(&mut self, graph: &Graph, names: &[String], proto: &mut GraphProto) {
        let inputs: BTreeSet<ValueId> = graph.inputs.iter().copied().collect();
        let read = read_values(graph);
        for (id, value) in graph.values() {
            let Some(tensor) = &value.constant else { continue };
            let name = &names[id.0 as usize];
            let wanted = read[id.0 as usize] || inputs.contains(&id) || self.verbatim;
            if name.is_empty() || !wanted {
                continue;
            }
            let mut message = write_initializer(tensor, name, self.layout.as_deref_mut());
            // Of an input with a default, doc string and metadata belong to the input.
            if !inputs.contains(&id) {
                message.doc_string.clone_from(&value.doc);
                for (key, value) in &value.metadata {
                    push_pair!(message.metadata_props, key.as_str(), value.as_str());
                }
            }
            proto.initializer.push(message);
        }
    }
}

/// ONNX Runtime refuses graphs in which two nodes have one name: later ones get a suffix.
fn make_names_differ(nodes: &mut [onnx_ir::NodeProto]) {
    let mut in_use: NamesInUse = nodes.iter().map(|node| node.name.as_str()).collect();
    let mut seen: HashSet<String> = HashSet::new();
    for node in nodes.iter_mut().filter(|node| !node.name.is_empty()) {
        if !seen.insert(node.name.clone()) {
            node.name = in_use.unique(&node.name);
        }
    }
}

/// Topological order, with a broken graph reported by name.
pub(super) fn order(graph: &Graph) -> Result<Vec<NodeId>, ExportError> {
    graph.topological().map_err(|id| ExportError::Invalid {
        owner: format!("graph {:?}", graph.name),
        source: fusebox_ir::VerifyError::Cycle { node: graph.describe(id) },
    })
}

/// Values that a node, a subgraph, the outputs or a quantization annotation refers to.
fn read_values(graph: &Graph) -> Vec<bool> {
    let mut read = vec![false; graph.value_count()];
    let reads = graph.nodes().flat_map(|(_, node)| node.reads());
    reads.chain(graph.outputs.iter().copied()).for_each(|v| read[v.0 as usize] = true);
    if graph.refers_by_name() {
        graph.values().filter(|(_, v)| !v.name.is_empty()).for_each(|(id, _)| read[id.0 as usize] = true);
    }
    read
}

/// Outputs of nodes that are not outputs of the graph and of which something is known.
pub(super) fn described_values(graph: &Graph) -> impl Iterator<Item = (&Value, ValueId)> {
    let outputs: BTreeSet<ValueId> = graph.outputs.iter().copied().collect();
    graph.values().filter_map(move |(id, value)| {
        let produced = value.producer.is_some_and(|(node, _)| graph.has_node(node));
        let known =
            value.ty != fusebox_ir::Type::Unknown || !value.doc.is_empty() || !value.metadata.is_empty();
        (produced && known && !outputs.contains(&id)).then_some((value, id))
    })
}

/// Describes a value.
pub(super) fn write_info(
    value: &Value,
    name: &str,
    owner: &dyn Fn() -> String,
) -> Result<ValueInfoProto, ExportError> {
    let damaged = |reason| ExportError::Carried { owner: owner(), field: format!("type of {name}"), reason };
    let mut info = ValueInfoProto {
        name: name.into(),
        doc_string: value.doc.clone(),
        type_: write_type(&value.ty).map_err(damaged)?.into(),
        ..ValueInfoProto::default()
    };
    for (key, value) in &value.metadata {
        push_pair!(info.metadata_props, key.as_str(), value.as_str());
    }
    Ok(info)
}

/// Puts carried parts back, where what they describe is still there.
fn restore(
    proto: &mut GraphProto,
    carried: &[Carried],
    names: &[String],
    owner: &dyn Fn() -> String,
) -> Result<(), ExportError> {
    let mut denotations: BTreeMap<String, ValueInfoProto> = BTreeMap::new();
    let mut tensors: HashMap<String, TensorProto> = HashMap::new();
    for part in carried {
        let damaged =
            |reason: String| ExportError::Carried { owner: owner(), field: part.field.clone(), reason };
        let bytes = &part.bytes;
        match part.field.as_str() {
            "quantization_annotation" => {
                let parsed = Message::parse_from_bytes(bytes).map_err(|e| damaged(e.to_string()))?;
                proto.quantization_annotation.push(parsed);
            }
            "denotation" => {
                let info = ValueInfoProto::parse_from_bytes(bytes).map_err(|e| damaged(e.to_string()))?;
                denotations.insert(info.name.clone(), info);
            }
            "value_info" => {
                let info = ValueInfoProto::parse_from_bytes(bytes).map_err(|e| damaged(e.to_string()))?;
                let described = |list: &[ValueInfoProto]| list.iter().any(|i| i.name == info.name);
                if !described(&proto.input) && !described(&proto.output) && !described(&proto.value_info) {
                    proto.value_info.push(info);
                }
            }
            "initializer" => {
                let message = TensorProto::parse_from_bytes(bytes).map_err(|e| damaged(e.to_string()))?;
                tensors.insert(message.name.clone(), message);
            }
            UNKNOWN => proto.merge_from_bytes(bytes).map_err(|e| damaged(e.to_string()))?,
            _ => {}
        }
    }
    let infos = proto.input.iter_mut().chain(&mut proto.output).chain(&mut proto.value_info);
    for info in infos {
        if let (Some(to), Some(from)) = (info.type_.as_mut(), denotations.get(&info.name))
            && let Some(from) = from.type_.as_ref()
        {
            copy_denotation(from, to);
        }
    }
    for message in &mut proto.initializer {
        if let Some(described) = tensors.get(&message.name) {
            message.doc_string.clone_from(&described.doc_string);
            for (key, value) in pairs!(described.metadata_props) {
                push_pair!(message.metadata_props, key, value);
            }
        }
    }
    debug_assert!(names.len() >= proto.initializer.len());
    Ok(())
}
