//! Replaces calls by bodies: model-local functions, and fused operators written out in standard ones.
//!
//! New values and nodes are named `<call>/<inner>`, made unique. What is inlined keeps the call's metadata, so
//! provenance survives. Knows no operator; the caller says which body.

use crate::ImportError;
use fusebox_ir::{Attr, Attrs, Function, Graph, Model, Node, NodeId, OpName, Region, Type, Value, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most nodes that expanding functions may make.
pub(crate) const MAX_NODES: usize = 500_000;

/// Most bytes that names, attributes and metadata of the nodes so made may take.
const MAX_BYTES: usize = 1 << 30;

/// Why a call cannot be replaced by its body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum ExpandError {
    /// Function calls multiply beyond reason.
    #[error("expanding the functions of the model makes more than {limit} nodes")]
    TooManyNodes { limit: usize },
    /// Names, attributes and metadata of the calls multiply beyond reason.
    #[error(
        "expanding the functions of the model makes more than {limit} bytes of names, attributes and metadata"
    )]
    TooManyBytes { limit: usize },
    /// A function that calls itself.
    #[error("function {function:?} calls itself")]
    Recursive { function: String },
    /// More inputs or outputs than the body has.
    #[error("node {node} passes {found} {what} to a function that has {expected}")]
    Arity { node: String, what: &'static str, found: usize, expected: usize },
    /// An output that is an input which the call leaves out.
    #[error("node {node} asks for an output that stands for an input which it does not give")]
    AbsentOutput { node: String },
    /// A subgraph given by attribute reference.
    #[error("node {node} hands a subgraph to a function, which cannot be expanded")]
    Subgraph { node: String },
}

/// Names in use, to make new ones that differ.
#[derive(Default)]
pub(crate) struct NamesInUse {
    names: HashSet<String>,
    /// Next suffix of each name that was wanted twice.
    next: HashMap<String, usize>,
}

impl NamesInUse {
    /// Names of the values and nodes of a graph.
    pub(crate) fn of(graph: &Graph) -> Self {
        let values = graph.values().map(|(_, v)| v.name.as_str());
        values.chain(graph.nodes().map(|(_, n)| n.name.as_str())).collect()
    }

    /// `wanted`, or `wanted_1`, `wanted_2`, … when it is taken.
    pub(crate) fn unique(&mut self, wanted: &str) -> String {
        if self.names.insert(wanted.to_owned()) {
            return wanted.to_owned();
        }
        let next = self.next.entry(wanted.to_owned()).or_insert(1);
        loop {
            let name = format!("{wanted}_{next}");
            *next += 1;
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }
}

impl<'a> FromIterator<&'a str> for NamesInUse {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let names = names.into_iter().filter(|n| !n.is_empty()).map(str::to_owned).collect();
        Self { names, ..Self::default() }
    }
}

/// Gives the value of an attribute that a body refers to by name.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<Attr>;

struct Inliner<'a> {
    graph: &'a mut Graph,
    names: &'a mut NamesInUse,
    call: Node,
    label: String,
    prefix: String,
    /// For each value of the body, what it is in the graph; `None` is absent.
    map: Vec<Option<ValueId>>,
    added: Vec<NodeId>,
}

/// Replaces node `id` by `body` and returns the new nodes. Input `i` of the body stands for `actuals[i]`, output `i` for output `i` of the node.
///
/// # Errors
/// When call and body do not fit together.
pub(crate) fn inline(
    graph: &mut Graph,
    id: NodeId,
    body: &Graph,
    actuals: &[Option<ValueId>],
    lookup: Lookup<'_>,
    names: &mut NamesInUse,
) -> Result<Vec<NodeId>, ExpandError> {
    let label = graph.describe(id);
    let arity = |what, found: usize, expected: usize| {
        if found <= expected {
            return Ok(());
        }
        Err(ExpandError::Arity { node: label.clone(), what, found, expected })
    };
    arity("inputs", actuals.len(), body.inputs.len())?;
    arity("outputs", graph.node(id).outputs.len(), body.outputs.len())?;
    if references_subgraph(body) {
        return Err(ExpandError::Subgraph { node: label });
    }
    let Some(call) = graph.remove_node(id) else { return Ok(Vec::new()) };
    let prefix = if call.name.is_empty() { format!("{}_{}", call.op.name, id.0) } else { call.name.clone() };
    let map = vec![None; body.value_count()];
    let mut inliner = Inliner { graph, names, call, label, prefix, map, added: Vec::new() };
    inliner.bind(body, actuals)?;
    inliner.copy_nodes(body, lookup);
    Ok(inliner.added)
}

impl Inliner<'_> {
    /// Maps the body's inputs, constants and outputs.
    fn bind(&mut self, body: &Graph, actuals: &[Option<ValueId>]) -> Result<(), ExpandError> {
        let mut bound = vec![false; body.value_count()];
        for (formal, actual) in body.inputs.iter().zip(actuals.iter().copied().chain(std::iter::repeat(None)))
        {
            self.map[formal.0 as usize] = actual;
            bound[formal.0 as usize] = true;
        }
        for (id, value) in body.values() {
            if let Some(tensor) = value.constant.as_ref().filter(|_| !bound[id.0 as usize]) {
                let name = self.name(&value.name);
                self.map[id.0 as usize] = Some(self.graph.add_constant(name, tensor.clone()));
                bound[id.0 as usize] = true;
            }
        }
        let outputs: Vec<_> = self.call.outputs.iter().copied().zip(&body.outputs).collect();
        let mut copies = Vec::new();
        for (output, inner) in outputs {
            let Some(output) = output else { continue };
            if std::mem::replace(&mut bound[inner.0 as usize], true) {
                copies.push((output, *inner));
            } else {
                self.map[inner.0 as usize] = Some(output);
            }
        }
        // An output that is an input, a constant or another output needs a node of its own.
        for (output, inner) in copies {
            let Some(source) = self.map[inner.0 as usize] else {
                return Err(ExpandError::AbsentOutput { node: self.label.clone() });
            };
            let mut copy = Node::new(OpName::onnx("Identity"), [Some(source)], [Some(output)], Attrs::new());
            copy.metadata.clone_from(&self.call.metadata);
            self.added.push(self.graph.add_node(copy));
        }
        for (id, value) in body.values() {
            if !bound[id.0 as usize] {
                let name = self.name(&value.name);
                let doc = value.doc.clone();
                // The body's symbols are not the graph's: types are inferred afresh.
                let value = Value { name, doc, ty: Type::Unknown, ..Value::default() };
                self.map[id.0 as usize] = Some(self.graph.add_value(value));
            }
        }
        Ok(())
    }

    fn name(&mut self, inner: &str) -> String {
        if inner.is_empty() { String::new() } else { self.names.unique(&format!("{}/{inner}", self.prefix)) }
    }

    fn copy_nodes(&mut self, body: &Graph, lookup: Lookup<'_>) {
        for (_, node) in body.nodes() {
            let mut node = node.clone();
            let map = |value: Option<ValueId>| value.and_then(|v| self.map[v.0 as usize]);
            node.inputs.iter_mut().for_each(|v| *v = map(*v));
            node.outputs.iter_mut().for_each(|v| *v = map(*v));
            for region in &mut node.regions {
                remap_captures(region, &self.map);
            }
            while node.inputs.last() == Some(&None) {
                node.inputs.pop();
            }
            let inner = if node.name.is_empty() { &*node.op.name } else { node.name.as_str() };
            node.name = self.names.unique(&format!("{}/{inner}", self.prefix));
            for (key, value) in &self.call.metadata {
                if node.metadata(key).is_none() {
                    node.metadata.push((key.clone(), value.clone()));
                }
            }
            substitute(&mut node, lookup);
            self.added.push(self.graph.add_node(node));
        }
    }
}

/// Points captures at the graph's values; what the call leaves out becomes absent inside as well.
fn remap_captures(region: &mut Region, map: &[Option<ValueId>]) {
    let captures = std::mem::take(&mut region.captures);
    let inner = std::mem::take(&mut region.graph.captured);
    for (outside, inside) in captures.into_iter().zip(inner) {
        match map[outside.0 as usize] {
            Some(value) => {
                region.captures.push(value);
                region.graph.captured.push(inside);
            }
            None => make_absent(&mut region.graph, inside),
        }
    }
}

fn make_absent(graph: &mut Graph, value: ValueId) {
    for id in graph.node_ids() {
        let node = graph.node_mut(id);
        node.inputs.iter_mut().filter(|v| **v == Some(value)).for_each(|v| *v = None);
        for region in &mut node.regions {
            if let Some(position) = region.captures.iter().position(|v| *v == value) {
                region.captures.remove(position);
                let inside = region.graph.captured.remove(position);
                make_absent(&mut region.graph, inside);
            }
        }
    }
}

/// ONNX number of subgraph attributes.
const GRAPH: i32 = 5;

fn references_subgraph(graph: &Graph) -> bool {
    graph.nodes().any(|(_, node)| {
        node.attrs.iter().any(|(_, attr)| matches!(attr, Attr::Reference(_, GRAPH)))
            || node.regions.iter().any(|r| references_subgraph(&r.graph))
    })
}

/// Replaces references by the call's attributes, in the node and in its regions.
fn substitute(node: &mut Node, lookup: Lookup<'_>) {
    let references: Vec<(String, std::sync::Arc<str>)> = node
        .attrs
        .iter()
        .filter_map(|(name, attr)| match attr {
            Attr::Reference(from, _) => Some((name.to_owned(), from.clone())),
            _ => None,
        })
        .collect();
    for (name, from) in references {
        match lookup(&from) {
            Some(attr) => node.attrs.set(&name, attr),
            None => drop(node.attrs.remove(&name)),
        }
    }
    for region in &mut node.regions {
        for id in region.graph.node_ids() {
            substitute(region.graph.node_mut(id), lookup);
        }
    }
}

/// What one copy of a body takes.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// Nodes, those of regions included.
    nodes: usize,
    /// Nodes and values that get the call's name and metadata.
    named: usize,
    /// Attributes that become attributes of the call.
    references: usize,
    /// Bytes of names, attributes and metadata.
    bytes: usize,
}

impl Weight {
    fn of(graph: &Graph) -> Self {
        let mut weight = Self { named: graph.node_count() + graph.value_count(), ..Self::default() };
        weight.bytes = graph.values().map(|(_, value)| value.name.len() + pairs_len(&value.metadata)).sum();
        for (_, node) in graph.nodes() {
            weight.nodes += 1;
            weight.bytes += node.name.len() + pairs_len(&node.metadata) + attrs_len(&node.attrs);
            let is_reference = |attr: &Attr| matches!(attr, Attr::Reference(..));
            weight.references += node.attrs.iter().filter(|(_, attr)| is_reference(attr)).count();
            for inner in node.regions.iter().map(|region| Self::of(&region.graph)) {
                weight.nodes += inner.nodes;
                weight.references += inner.references;
                weight.bytes += inner.bytes;
            }
        }
        weight
    }
}

fn pairs_len(pairs: &[(String, String)]) -> usize {
    pairs.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// Bytes that are copied with the attributes; tensors are shared.
fn attrs_len(attrs: &Attrs) -> usize {
    let len = |attr: &Attr| match attr {
        Attr::String(bytes) | Attr::Foreign(bytes) => bytes.len(),
        Attr::Ints(items) => 8 * items.len(),
        Attr::Floats(items) => 4 * items.len(),
        Attr::Strings(items) => items.iter().map(|item| 24 + item.len()).sum(),
        Attr::Tensors(items) => 64 * items.len(),
        _ => 0,
    };
    attrs.iter().map(|(name, attr)| name.len() + len(attr)).sum()
}

/// What expansion has made so far.
#[derive(Default)]
struct Made {
    nodes: usize,
    bytes: usize,
}

impl Made {
    /// Counts a call that is about to be replaced by a body.
    fn count(&mut self, call: &Node, body: &Weight) -> Result<(), ExpandError> {
        let label = call.name.len() + pairs_len(&call.metadata);
        let labels = label.saturating_mul(body.named);
        let attrs = attrs_len(&call.attrs).saturating_mul(body.references);
        self.nodes = self.nodes.saturating_add(body.nodes.max(1));
        self.bytes = self.bytes.saturating_add(labels).saturating_add(attrs).saturating_add(body.bytes);
        if self.nodes > MAX_NODES {
            return Err(ExpandError::TooManyNodes { limit: MAX_NODES });
        }
        if self.bytes > MAX_BYTES {
            return Err(ExpandError::TooManyBytes { limit: MAX_BYTES });
        }
        Ok(())
    }
}

/// Functions by what a call says: operator and overload.
type Table<'a> = BTreeMap<(OpName, &'a str), (&'a Function, Weight)>;

/// Replaces every call of a model-local function whose operator is not in the operator table by the function's body,
/// in the graph and in its regions. The model must be upgraded. Returns the number of calls replaced.
///
/// # Errors
/// When functions are recursive, multiply beyond half a million nodes, or do not fit their calls.
pub fn expand_functions(model: &mut Model) -> Result<usize, ExpandError> {
    match crate::import::check_calls(&model.graph, &model.functions) {
        Err(ImportError::RecursiveFunction { function, .. }) => {
            return Err(ExpandError::Recursive { function });
        }
        Err(ImportError::TooManyCalls { limit }) => return Err(ExpandError::TooManyNodes { limit }),
        _ => {}
    }
    let table: Table<'_> = model
        .functions
        .iter()
        .map(|f| ((OpName::new(&f.domain, &f.name), f.overload.as_str()), f))
        .filter(|((op, _), _)| fusebox_ops::op(op).is_none())
        .map(|(key, f)| (key, (f, Weight::of(&f.graph))))
        .collect();
    expand_graph(&mut model.graph, &table, &mut Made::default())
}

fn expand_graph(graph: &mut Graph, table: &Table<'_>, made: &mut Made) -> Result<usize, ExpandError> {
    if table.is_empty() {
        return Ok(0);
    }
    let mut names = NamesInUse::of(graph);
    let mut replaced = 0;
    let mut waiting = graph.node_ids();
    while let Some(id) = waiting.pop() {
        let node = graph.node(id);
        let key = (node.op.clone(), node.overload.clone());
        let Some((function, weight)) = table.get(&(key.0, key.1.as_str())) else {
            let mut regions = std::mem::take(&mut graph.node_mut(id).regions);
            for region in &mut regions {
                replaced += expand_graph(&mut region.graph, table, made)?;
            }
            graph.node_mut(id).regions = regions;
            continue;
        };
        made.count(node, weight)?;
        let (actuals, attrs) = (node.inputs.clone(), node.attrs.clone());
        let lookup = |name: &str| attrs.get(name).or_else(|| function.defaults.get(name)).cloned();
        let added = inline(graph, id, &function.graph, &actuals, &lookup, &mut names)?;
        replaced += 1;
        waiting.extend(added);
    }
    Ok(replaced)
}
