//! Functions of the IR → messages. A function has no initializers: its constants become `Constant` nodes.

use super::ExportError;
use super::graph::{Writer, described_values, write_info};
use super::names::Names;
use super::node::write_attributes;
use crate::entries::{UNKNOWN, push_opsets, push_pair};
use fusebox_ir::{Attrs, Function, Graph, Node, OpName, Type};
use onnx_ir::{AttributeProto, Message, ModelProto};

/// Appends a function to the model.
pub(super) fn push_function(model: &mut ModelProto, function: &Function) -> Result<(), ExportError> {
    let label = || format!("function {:?}", function.name);
    function.graph.verify().map_err(|source| ExportError::Invalid { owner: label(), source })?;
    let graph = constants_as_nodes(&function.graph);
    let mut writer = Writer { names: Names::of(&graph), layout: None, verbatim: false };
    let names = writer.names.assign(&graph, &[]);
    let nodes = writer.write_nodes(&graph, &names)?;
    let mut defaults = write_attributes(&function.defaults, &label)?;
    for part in function.carried.iter().filter(|part| part.field == "attribute_proto") {
        let damaged =
            |e: String| ExportError::Carried { owner: label(), field: part.field.clone(), reason: e };
        let stub = AttributeProto::parse_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string()))?;
        if let Some(attribute) = defaults.iter_mut().find(|a| a.name == stub.name) {
            attribute.doc_string = stub.doc_string;
        }
    }
    let name = |value: &fusebox_ir::ValueId| names[value.0 as usize].clone();
    model.functions.push(Default::default());
    let proto = model.functions.last_mut().expect("pushed above");
    proto.name.clone_from(&function.name);
    proto.domain.clone_from(&function.domain);
    proto.overload.clone_from(&function.overload);
    proto.doc_string.clone_from(&function.doc);
    proto.attribute.clone_from(&function.required);
    proto.attribute_proto = defaults;
    proto.input = graph.inputs.iter().map(name).collect();
    proto.output = graph.outputs.iter().map(name).collect();
    proto.node = nodes;
    push_opsets!(proto.opset_import, &function.opsets);
    for (key, value) in &function.metadata {
        push_pair!(proto.metadata_props, key.as_str(), value.as_str());
    }
    let interface = graph.inputs.iter().chain(&graph.outputs).copied();
    let known = interface.filter(|id| graph.value(*id).ty != Type::Unknown);
    for id in known.chain(described_values(&graph).map(|(_, id)| id)) {
        proto.value_info.push(write_info(graph.value(id), &names[id.0 as usize], &label)?);
    }
    for part in function.carried.iter().filter(|part| part.field == UNKNOWN) {
        let damaged =
            |e: String| ExportError::Carried { owner: label(), field: part.field.clone(), reason: e };
        proto.merge_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string()))?;
    }
    Ok(())
}

/// The graph with every constant given by a node, also inside regions (which cannot rely on initializers either).
fn constants_as_nodes(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let constants: Vec<_> = graph.values().filter(|(_, v)| v.constant.is_some()).map(|(id, _)| id).collect();
    for id in constants {
        let Some(tensor) = graph.value_mut(id).constant.take() else { continue };
        let attrs = Attrs::new().with("value", tensor);
        graph.add_node(Node::new(OpName::onnx("Constant"), [], [Some(id)], attrs));
    }
    graph
}
