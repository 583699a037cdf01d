//! Graphs: turns names into values. Inside a subgraph, a name that it does not define becomes an explicit capture.
//!
//! Two passes per graph: first everything that is defined (inputs, initializers, outputs of nodes), then the nodes
//! that read it. So nodes may come in any order; cycles are found at the end.

use super::order::in_order;
use super::types::has_denotation;
use super::{ImportError, Importer, tensor};
use crate::entries::{carry, carry_unknown, pairs};
use fusebox_ir::{Carried, Graph, Tensor, Type, Value, ValueId, VerifyError};
use onnx_ir::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use std::collections::HashMap;

/// Who defines a name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Definition {
    Input,
    Initializer,
    Node(usize),
    Capture,
}

/// A graph under construction.
pub(super) struct Frame {
    pub(super) graph: Graph,
    /// How messages name the graph.
    pub(super) label: String,
    names: HashMap<String, (ValueId, Definition)>,
    /// Values of the enclosing graph, one per captured value.
    captures: Vec<ValueId>,
}

/// Descriptions of values that are not inputs.
type Infos = HashMap<String, ValueInfoProto>;

impl Frame {
    pub(super) fn new(label: String) -> Self {
        Self { graph: Graph::new(), label, names: HashMap::new(), captures: Vec::new() }
    }

    fn define(&mut self, value: Value, by: Definition, nodes: &[NodeProto]) -> Result<ValueId, ImportError> {
        if let Some((_, first)) = self.names.get(&value.name) {
            let describe = |definition: Definition| match definition {
                Definition::Input => "a graph input".to_owned(),
                Definition::Initializer => "an initializer".into(),
                Definition::Node(index) => format!("node {}", describe(&nodes[index], index)),
                Definition::Capture => "the enclosing graph".into(),
            };
            let (graph, first, second) = (self.label.clone(), describe(*first), describe(by));
            return Err(ImportError::DefinedTwice { graph, value: value.name, first, second });
        }
        let name = value.name.clone();
        let id = self.graph.add_value(value);
        if !name.is_empty() {
            self.names.insert(name, (id, by));
        }
        Ok(id)
    }

    /// The value that a name defines here.
    pub(super) fn defined(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).map(|(id, _)| *id)
    }
}

/// The value that `name` stands for in the innermost graph, captured from the enclosing ones where need be.
pub(super) fn resolve(frames: &mut [Frame], name: &str) -> Option<ValueId> {
    let (frame, outer) = frames.split_last_mut()?;
    if let Some(id) = frame.defined(name) {
        return Some(id);
    }
    let source = resolve(outer, name)?;
    let ty = outer.last()?.graph.value(source).ty.clone();
    let id = frame.graph.add_value(Value { name: name.into(), ty, ..Value::default() });
    frame.graph.captured.push(id);
    frame.captures.push(source);
    frame.names.insert(name.into(), (id, Definition::Capture));
    Some(id)
}

/// How messages name a node: its name, else its operator and position.
pub(super) fn describe(node: &NodeProto, index: usize) -> String {
    if node.name.is_empty() {
        format!("{} #{index}", node.op_type)
    } else {
        format!("{:?} ({})", node.name, node.op_type)
    }
}

impl Importer<'_> {
    /// Reads the main graph. `fixed` says that initializers cannot be overridden even when listed as inputs.
    pub(super) fn read_graph(&mut self, proto: GraphProto, fixed: bool) -> Result<Graph, ImportError> {
        let label =
            if proto.name.is_empty() { "the graph".into() } else { format!("graph {:?}", proto.name) };
        let mut frames = Vec::new();
        Ok(self.read_nested(proto, fixed, &mut frames, label)?.0)
    }

    /// Reads a graph inside `frames`; returns it with the values that it captures.
    pub(super) fn read_nested(
        &mut self,
        mut proto: GraphProto,
        fixed: bool,
        frames: &mut Vec<Frame>,
        label: String,
    ) -> Result<(Graph, Vec<ValueId>), ImportError> {
        let mut frame = Frame::new(label);
        frame.graph.name = std::mem::take(&mut proto.name);
        frame.graph.doc = std::mem::take(&mut proto.doc_string);
        frame.graph.metadata = pairs!(proto.metadata_props);
        let parts = proto.quantization_annotation.iter().map(|m| carry("quantization_annotation", m));
        frame.graph.carried = parts.collect();
        frame.graph.carried.extend(carry_unknown(&proto));
        self.define_inputs(&mut frame, &proto)?;
        self.define_initializers(&mut frame, &mut proto, fixed)?;
        let mut infos = Infos::new();
        let declared = std::mem::take(&mut proto.value_info);
        // What the output list says comes last and wins over value_info.
        infos.extend(declared.into_iter().chain(proto.output.iter().cloned()).map(|i| (i.name.clone(), i)));
        let order = in_order(&proto.node);
        self.define_outputs(&mut frame, &proto.node, &order, &infos)?;
        carry_leftover(&mut frame, &infos);
        frames.push(frame);
        for index in order {
            let node = self.read_node(std::mem::take(&mut proto.node[index]), index, frames)?;
            frames.last_mut().expect("pushed above").graph.add_node(node);
        }
        for output in &proto.output {
            let found = resolve(frames, &output.name);
            let frame = frames.last_mut().expect("pushed above");
            let id = found.ok_or_else(|| frame.undefined("its output list", &output.name))?;
            frame.graph.outputs.push(id);
        }
        let frame = frames.pop().expect("pushed above");
        frame.check()?;
        Ok((frame.graph, frame.captures))
    }

    fn define_inputs(&mut self, frame: &mut Frame, proto: &GraphProto) -> Result<(), ImportError> {
        for info in &proto.input {
            let value = self.described(info, &frame.label)?;
            keep_denotation(&mut frame.graph.carried, info);
            let id = frame.define(value, Definition::Input, &proto.node)?;
            frame.graph.inputs.push(id);
        }
        Ok(())
    }

    fn define_initializers(
        &mut self,
        frame: &mut Frame,
        proto: &mut GraphProto,
        fixed: bool,
    ) -> Result<(), ImportError> {
        let mut defaulted = std::collections::BTreeSet::new();
        for mut message in std::mem::take(&mut proto.initializer) {
            let name = message.name.clone();
            let tensor = self.read_tensor(&mut message, &|| format!("initializer {name:?}"))?;
            if let Some(input) = self.define_initializer(frame, &message, tensor, &proto.node)? {
                defaulted.insert(input);
            }
        }
        for mut sparse in std::mem::take(&mut proto.sparse_initializer) {
            let (values, indices) = (sparse.values.take(), sparse.indices.take());
            let parts = (values.unwrap_or_default(), indices.unwrap_or_default());
            let (message, tensor) = self.read_sparse(parts, sparse.dims)?;
            if let Some(input) = self.define_initializer(frame, &message, tensor, &proto.node)? {
                defaulted.insert(input);
            }
        }
        if fixed {
            frame.graph.inputs.retain(|input| !defaulted.contains(input));
        }
        Ok(())
    }

    /// Defines a constant, or gives an input its default and returns the input.
    fn define_initializer(
        &mut self,
        frame: &mut Frame,
        message: &TensorProto,
        tensor: Tensor,
        nodes: &[NodeProto],
    ) -> Result<Option<ValueId>, ImportError> {
        let (doc, metadata) = (message.doc_string.clone(), pairs!(message.metadata_props));
        let input = frame.names.get(&message.name).copied();
        if let Some((id, Definition::Input)) = input
            && frame.graph.value(id).constant.is_none()
        {
            let value = frame.graph.value_mut(id);
            value.constant = Some(tensor);
            if !doc.is_empty() || !metadata.is_empty() {
                // The value's own doc and metadata are the input's: those of the tensor are kept beside.
                frame.graph.carried.push(carry("initializer", &tensor::description(message)));
            }
            return Ok(Some(id));
        }
        let ty = tensor.ty().into();
        let name = message.name.clone();
        let value = Value { name, ty, constant: Some(tensor), doc, metadata, ..Value::default() };
        frame.define(value, Definition::Initializer, nodes)?;
        Ok(None)
    }

    /// Defines what the nodes give, in the order in which they are read.
    fn define_outputs(
        &mut self,
        frame: &mut Frame,
        nodes: &[NodeProto],
        order: &[usize],
        infos: &Infos,
    ) -> Result<(), ImportError> {
        for (index, node) in order.iter().map(|index| (*index, &nodes[*index])) {
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                let value = match infos.get(name) {
                    Some(info) => {
                        keep_denotation(&mut frame.graph.carried, info);
                        self.described(info, &frame.label)?
                    }
                    None => Value { name: name.clone(), ..Value::default() },
                };
                frame.define(value, Definition::Node(index), nodes)?;
            }
        }
        Ok(())
    }

    /// A value as its description says.
    fn described(&mut self, info: &ValueInfoProto, label: &str) -> Result<Value, ImportError> {
        let owner = || format!("in {label}, value {:?}", info.name);
        let ty = info.type_.as_ref().map_or(Ok(Type::Unknown), |ty| self.read_type(ty, &owner))?;
        let (name, doc) = (info.name.clone(), info.doc_string.clone());
        Ok(Value { name, ty, doc, metadata: pairs!(info.metadata_props), ..Value::default() })
    }
}

impl Frame {
    pub(super) fn undefined(&self, reader: &str, value: &str) -> ImportError {
        let (graph, reader, value) = (self.label.clone(), reader.to_owned(), value.to_owned());
        ImportError::Undefined { graph, reader, value }
    }

    /// Holds the finished graph against the verifier.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        let graph = self.label.clone();
        match self.graph.verify() {
            Ok(()) => Ok(()),
            Err(VerifyError::Cycle { node }) => Err(ImportError::Cyclic { graph, node }),
            Err(source) => Err(ImportError::Invalid { graph, source }),
        }
    }
}

/// Denotations have no place in the IR: the whole description is carried.
fn keep_denotation(carried: &mut Vec<Carried>, info: &ValueInfoProto) {
    if info.type_.as_ref().is_some_and(has_denotation) {
        carried.push(carry("denotation", info));
    }
}

/// Carries descriptions of values that are no node's output: of initializers when they say more than the tensor
/// itself, and of names that nothing defines.
fn carry_leftover(frame: &mut Frame, infos: &Infos) {
    let mut left: Vec<&ValueInfoProto> = infos.values().collect();
    left.sort_by(|a, b| a.name.cmp(&b.name));
    for info in left {
        let says_more = !info.doc_string.is_empty() || !info.metadata_props.is_empty();
        let keep = match frame.names.get(&info.name) {
            Some((_, Definition::Initializer)) => says_more,
            None => says_more || info.type_.is_some(),
            _ => false,
        };
        if keep {
            frame.graph.carried.push(carry("value_info", info));
        }
    }
}
