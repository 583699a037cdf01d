//! Nodes and attributes of the IR → messages.

use super::ExportError;
use super::graph::Writer;
use super::tensor::write_tensor;
use super::types::write_type;
use crate::entries::{UNKNOWN, push_pair};
use bytes::Bytes;
use fusebox_ir::{Attr, Attrs, Carried, Graph, Node, NodeId, Region};
use onnx_ir::{AttributeProto, AttributeType, Message, NodeProto};

impl Writer<'_> {
    /// Writes a node whose graph's values go by `names`.
    pub(super) fn write_node(
        &mut self,
        graph: &Graph,
        id: NodeId,
        names: &[String],
    ) -> Result<NodeProto, ExportError> {
        let node = graph.node(id);
        let name = |value: &Option<fusebox_ir::ValueId>| {
            value.map_or_else(String::new, |value| names[value.0 as usize].clone())
        };
        let mut output: Vec<String> = node.outputs.iter().map(name).collect();
        for (index, name) in output.iter_mut().enumerate() {
            if name.is_empty() && !self.verbatim && must_be_named(node, index) {
                *name = self.names.fresh("unused");
            }
        }
        let mut proto = NodeProto {
            input: node.inputs.iter().map(name).collect(),
            output,
            name: node.name.clone(),
            op_type: node.op.name.to_string(),
            domain: node.op.domain.to_string(),
            overload: node.overload.clone(),
            doc_string: node.doc.clone(),
            ..NodeProto::default()
        };
        for (key, value) in &node.metadata {
            push_pair!(proto.metadata_props, key.as_str(), value.as_str());
        }
        let label = || format!("node {}", graph.describe(id));
        proto.attribute = write_attributes(&node.attrs, &label)?;
        self.write_regions(node, names, &mut proto)?;
        proto.attribute.sort_by(|a, b| a.name.cmp(&b.name));
        node.carried.iter().try_for_each(|part| restore(&mut proto, part, &label))?;
        Ok(proto)
    }

    /// Regions become graph attributes; `body[0]`, `body[1]`, … become one attribute with a list of graphs.
    fn write_regions(
        &mut self,
        node: &Node,
        names: &[String],
        proto: &mut NodeProto,
    ) -> Result<(), ExportError> {
        let mut regions: Vec<(&str, Option<usize>, &Region)> = node
            .regions
            .iter()
            .map(|region| match list_position(&region.name) {
                Some((name, position)) => (name, Some(position), region),
                None => (region.name.as_str(), None, region),
            })
            .collect();
        regions.sort_by_key(|(name, position, _)| (*name, *position));
        for (name, position, region) in regions {
            let outer: Vec<String> = region.captures.iter().map(|v| names[v.0 as usize].clone()).collect();
            let body = self.write_graph(&region.graph, &outer)?;
            if position.is_none() {
                let mut attribute = blank(name, AttributeType::GRAPH);
                attribute.g = Some(body).into();
                proto.attribute.push(attribute);
                continue;
            }
            if proto.attribute.last().is_none_or(|a| a.name != name) {
                proto.attribute.push(blank(name, AttributeType::GRAPHS));
            }
            proto.attribute.last_mut().expect("pushed above").graphs.push(body);
        }
        Ok(())
    }
}

/// Whether an output that nothing reads needs a name all the same: only optional ones may be absent, and the outputs of
/// variadic operators are not optional (onnxruntime crashes on a Split without one).
fn must_be_named(node: &Node, index: usize) -> bool {
    fusebox_ops::op(&node.op).is_some_and(|op| {
        let (fewest, most) = op.schema().outputs;
        index < fewest || most == usize::MAX
    })
}

fn list_position(name: &str) -> Option<(&str, usize)> {
    let (name, position) = name.strip_suffix(']')?.rsplit_once('[')?;
    Some((name, position.parse().ok()?))
}

fn blank(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), type_: kind.into(), ..AttributeProto::default() }
}

/// Writes attributes other than regions.
pub(super) fn write_attributes(
    attrs: &Attrs,
    owner: &dyn Fn() -> String,
) -> Result<Vec<AttributeProto>, ExportError> {
    attrs.iter().map(|(name, attr)| write_attribute(name, attr, owner)).collect()
}

fn write_attribute(
    name: &str,
    attr: &Attr,
    owner: &dyn Fn() -> String,
) -> Result<AttributeProto, ExportError> {
    let damaged =
        |reason: String| ExportError::Carried { owner: owner(), field: format!("attribute {name}"), reason };
    let of = |kind| blank(name, kind);
    Ok(match attr {
        Attr::Float(f) => AttributeProto { f: *f, ..of(AttributeType::FLOAT) },
        Attr::Int(i) => AttributeProto { i: *i, ..of(AttributeType::INT) },
        Attr::String(s) => AttributeProto { s: Bytes::copy_from_slice(s), ..of(AttributeType::STRING) },
        Attr::Floats(floats) => AttributeProto { floats: floats.clone(), ..of(AttributeType::FLOATS) },
        Attr::Ints(ints) => AttributeProto { ints: ints.clone(), ..of(AttributeType::INTS) },
        Attr::Strings(strings) => {
            let strings = strings.iter().map(|s| Bytes::copy_from_slice(s)).collect();
            AttributeProto { strings, ..of(AttributeType::STRINGS) }
        }
        Attr::Tensor(tensor) => {
            AttributeProto { t: Some(write_tensor(tensor, "")).into(), ..of(AttributeType::TENSOR) }
        }
        Attr::Tensors(tensors) => {
            let tensors = tensors.iter().map(|t| write_tensor(t, "")).collect();
            AttributeProto { tensors, ..of(AttributeType::TENSORS) }
        }
        Attr::Type(ty) => {
            AttributeProto { tp: write_type(ty).map_err(damaged)?.into(), ..of(AttributeType::TYPE_PROTO) }
        }
        Attr::Reference(from, kind) => {
            AttributeProto { ref_attr_name: from.to_string(), ..of(kind_of(*kind)) }
        }
        Attr::Foreign(bytes) => {
            let mut proto = AttributeProto::parse_from_bytes(bytes).map_err(|e| damaged(e.to_string()))?;
            proto.name = name.into();
            proto
        }
    })
}

/// The attribute type for an ONNX number; numbers that ONNX does not define were refused on import.
fn kind_of(number: i32) -> AttributeType {
    use AttributeType as A;
    let kinds =
        [A::FLOAT, A::INT, A::STRING, A::TENSOR, A::GRAPH, A::FLOATS, A::INTS, A::STRINGS, A::TENSORS];
    let more = [A::GRAPHS, A::SPARSE_TENSOR, A::SPARSE_TENSORS, A::TYPE_PROTO, A::TYPE_PROTOS];
    kinds.into_iter().chain(more).find(|kind| *kind as i32 == number).unwrap_or(A::UNDEFINED)
}

/// Puts a carried part back into its node.
fn restore(proto: &mut NodeProto, part: &Carried, owner: &dyn Fn() -> String) -> Result<(), ExportError> {
    let damaged = |reason: String| ExportError::Carried { owner: owner(), field: part.field.clone(), reason };
    match part.field.as_str() {
        "attribute" => {
            let stub = AttributeProto::parse_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string()))?;
            let Some(attribute) = proto.attribute.iter_mut().find(|a| a.name == stub.name) else {
                return Ok(());
            };
            attribute.doc_string = stub.doc_string;
            if let (Some(tensor), Some(described)) = (attribute.t.as_mut(), stub.t.into_option()) {
                tensor.name = described.name;
                tensor.doc_string = described.doc_string;
                tensor.metadata_props = described.metadata_props;
            }
            Ok(())
        }
        "device_configurations" => {
            let parsed = Message::parse_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string()))?;
            proto.device_configurations.push(parsed);
            Ok(())
        }
        UNKNOWN => proto.merge_from_bytes(&part.bytes).map_err(|e| damaged(e.to_string())),
        _ => Ok(()),
    }
}
