//! Nodes and attributes.

use super::graph::{Frame, describe, resolve};
use super::{ImportError, Importer, tensor};
use crate::entries::{carry, carry_unknown, pairs};
use fusebox_ir::{Attr, Attrs, Carried, Node, OpName, OpsetImport, Region, Type};
use onnx_ir::{AttributeProto, AttributeType, GraphProto, NodeProto, TensorProto};

/// Where an attribute stands, for messages.
struct Place<'a> {
    node: &'a str,
    attribute: &'a str,
}

impl Importer<'_> {
    /// Reads a node of the innermost graph. Its outputs must be defined already.
    pub(super) fn read_node(
        &mut self,
        mut proto: NodeProto,
        index: usize,
        frames: &mut Vec<Frame>,
    ) -> Result<Node, ImportError> {
        let label = describe(&proto, index);
        let op = OpName::new(&proto.domain, &proto.op_type);
        self.check_domain(&op, &label)?;
        let mut node = Node::new(op, [], [], Attrs::new());
        for name in &proto.input {
            let value = match name.as_str() {
                "" => None,
                name => Some(resolve(frames, name).ok_or_else(|| {
                    frames.last().expect("a node is in a graph").undefined(&format!("node {label}"), name)
                })?),
            };
            node.inputs.push(value);
        }
        while node.inputs.last() == Some(&None) {
            node.inputs.pop();
        }
        let frame = frames.last().expect("a node is in a graph");
        node.outputs = proto.output.iter().map(|name| frame.defined(name)).collect();
        node.name = std::mem::take(&mut proto.name);
        node.doc = std::mem::take(&mut proto.doc_string);
        node.overload = std::mem::take(&mut proto.overload);
        node.metadata = pairs!(proto.metadata_props);
        let devices = proto.device_configurations.iter();
        node.carried.extend(devices.map(|m| carry("device_configurations", m)));
        node.carried.extend(carry_unknown(&proto));
        self.read_attributes(&mut node, std::mem::take(&mut proto.attribute), &label, frames)?;
        Ok(node)
    }

    /// A node's domain must be imported, or a function of the model must define the operator. Operators of other
    /// domains that the table knows are taken in their first version, as ONNX Runtime does: tools that insert them
    /// forget the import.
    fn check_domain(&mut self, op: &OpName, label: &str) -> Result<(), ImportError> {
        let plain = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_owned() };
        let imported = self.opsets.iter().any(|import| plain(&import.domain) == *op.domain);
        let key = (op.domain.to_string(), op.name.to_string());
        if imported || self.functions.contains(&key) {
            return Ok(());
        }
        if !op.domain.is_empty() && fusebox_ops::op(op).is_some() {
            self.opsets.push(OpsetImport { domain: op.domain.to_string(), version: 1 });
            return Ok(());
        }
        let domain = if op.domain.is_empty() { "ai.onnx".into() } else { op.domain.to_string() };
        let (owner, node, op) = (self.owner.clone(), label.to_owned(), op.name.to_string());
        Err(ImportError::UndeclaredOpset { owner, domain, node, op })
    }

    fn read_attributes(
        &mut self,
        node: &mut Node,
        mut attributes: Vec<AttributeProto>,
        label: &str,
        frames: &mut Vec<Frame>,
    ) -> Result<(), ImportError> {
        let mut names = std::collections::BTreeSet::new();
        // By name, as they are written: what subgraphs capture is numbered in the order of reading.
        attributes.sort_by(|a, b| a.name.cmp(&b.name));
        for mut proto in attributes {
            let name = std::mem::take(&mut proto.name);
            if !names.insert(name.clone()) {
                return Err(ImportError::AttributeTwice { node: label.into(), attribute: name });
            }
            node.carried.extend(leftover(&name, &proto));
            let place = Place { node: label, attribute: &name };
            match kind(&proto, &place)? {
                AttributeType::GRAPH if proto.ref_attr_name.is_empty() => {
                    let Some(body) = proto.g.take() else { return Err(place.fault("has no graph")) };
                    node.regions.push(self.read_region(body, name.clone(), label, frames)?);
                }
                AttributeType::GRAPHS if proto.ref_attr_name.is_empty() && !proto.graphs.is_empty() => {
                    for (position, body) in std::mem::take(&mut proto.graphs).into_iter().enumerate() {
                        let region = self.read_region(body, format!("{name}[{position}]"), label, frames)?;
                        node.regions.push(region);
                    }
                }
                kind => {
                    let attr = self.read_attribute(proto, kind, &place)?;
                    node.attrs.set(&name, attr);
                }
            }
        }
        node.regions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    fn read_region(
        &mut self,
        body: GraphProto,
        name: String,
        label: &str,
        frames: &mut Vec<Frame>,
    ) -> Result<Region, ImportError> {
        let inner = format!("{name} of node {label}");
        let (graph, captures) = self.read_nested(body, false, frames, inner)?;
        Ok(Region { name, graph, captures })
    }

    /// Reads an attribute that is not a graph.
    fn read_attribute(
        &mut self,
        mut proto: AttributeProto,
        kind: AttributeType,
        place: &Place<'_>,
    ) -> Result<Attr, ImportError> {
        if !proto.ref_attr_name.is_empty() {
            return Ok(Attr::Reference(proto.ref_attr_name.as_str().into(), kind as i32));
        }
        let owner = || format!("attribute {:?} of node {}", place.attribute, place.node);
        Ok(match kind {
            AttributeType::FLOAT => Attr::Float(proto.f),
            AttributeType::INT => Attr::Int(proto.i),
            AttributeType::STRING => Attr::String(proto.s.to_vec()),
            AttributeType::FLOATS => Attr::Floats(proto.floats),
            AttributeType::INTS => Attr::Ints(proto.ints),
            AttributeType::STRINGS => Attr::Strings(proto.strings.iter().map(|s| s.to_vec()).collect()),
            AttributeType::TENSOR => {
                let Some(tensor) = proto.t.as_mut() else { return Err(place.fault("has no tensor")) };
                Attr::Tensor(self.read_tensor(tensor, &owner)?)
            }
            AttributeType::TENSORS => {
                let read = |tensor| self.read_tensor(tensor, &owner);
                Attr::Tensors(proto.tensors.iter_mut().map(read).collect::<Result<_, _>>()?)
            }
            AttributeType::TYPE_PROTO => {
                let Some(ty) = proto.tp.as_ref() else { return Err(place.fault("has no type")) };
                match self.read_type(ty, &owner)? {
                    Type::Unknown => foreign(proto, place),
                    ty => Attr::Type(ty),
                }
            }
            _ => foreign(proto, place),
        })
    }

    /// Defaults of a function's attributes.
    pub(super) fn read_defaults(
        &mut self,
        attributes: Vec<AttributeProto>,
        function: &str,
    ) -> Result<Attrs, ImportError> {
        let mut attrs = Attrs::new();
        for mut proto in attributes {
            let name = std::mem::take(&mut proto.name);
            let place = Place { node: function, attribute: &name };
            let kind = kind(&proto, &place)?;
            let attr = if kind == AttributeType::GRAPH {
                foreign(proto, &place)
            } else {
                self.read_attribute(proto, kind, &place)?
            };
            attrs.set(&name, attr);
        }
        Ok(attrs)
    }
}

impl Place<'_> {
    fn fault(&self, reason: impl Into<String>) -> ImportError {
        let (node, attribute) = (self.node.to_owned(), self.attribute.to_owned());
        ImportError::Attribute { node, attribute, reason: reason.into() }
    }
}

/// Kind of an attribute; files before IR version 3 do not say it, so it is read off the fields.
fn kind(proto: &AttributeProto, place: &Place<'_>) -> Result<AttributeType, ImportError> {
    let number = proto.type_.value();
    let kind = proto.type_.enum_value();
    match kind {
        Ok(AttributeType::UNDEFINED) => Ok(guess(proto)),
        Ok(kind) => Ok(kind),
        Err(_) => Err(place.fault(format!("has type number {number}, which ONNX does not define"))),
    }
}

fn guess(proto: &AttributeProto) -> AttributeType {
    let present = [
        (proto.t.is_some(), AttributeType::TENSOR),
        (proto.g.is_some(), AttributeType::GRAPH),
        (!proto.floats.is_empty(), AttributeType::FLOATS),
        (!proto.ints.is_empty(), AttributeType::INTS),
        (!proto.strings.is_empty(), AttributeType::STRINGS),
        (!proto.tensors.is_empty(), AttributeType::TENSORS),
        (!proto.graphs.is_empty(), AttributeType::GRAPHS),
        (!proto.s.is_empty(), AttributeType::STRING),
        (proto.f != 0.0, AttributeType::FLOAT),
        (proto.i != 0, AttributeType::INT),
    ];
    present.into_iter().find(|(there, _)| *there).map_or(AttributeType::UNDEFINED, |(_, kind)| kind)
}

/// Carries an attribute as it is, without its name.
fn foreign(mut proto: AttributeProto, _place: &Place<'_>) -> Attr {
    proto.doc_string.clear();
    Attr::Foreign(carry("attribute", &proto).bytes)
}

/// What an attribute says beyond its value: doc string, and the description of its tensor.
fn leftover(name: &str, proto: &AttributeProto) -> Option<Carried> {
    let described = proto.t.as_ref().map(tensor::description).filter(|t| *t != TensorProto::default());
    if proto.doc_string.is_empty() && described.is_none() {
        return None;
    }
    let mut stub =
        AttributeProto { name: name.into(), doc_string: proto.doc_string.clone(), ..Default::default() };
    if let Some(described) = described {
        stub.t = Some(described).into();
    }
    Some(carry("attribute", &stub))
}
