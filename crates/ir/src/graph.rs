//! The arena graph: nodes and values with typed ids.
//!
//! Names are kept to the letter and carry no meaning: identity is the id. A value is defined by a node, an input, a
//! capture or a constant. Removing a node leaves a hole, so ids stay valid; `compact` closes the holes.

use crate::{Attrs, Carried, Tensor, Type};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Index of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Domain and name of an operator. The default domain is `""`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpName {
    /// Operator-set domain, `""` for ai.onnx.
    pub domain: Arc<str>,
    /// Operator type.
    pub name: Arc<str>,
}

/// Domain of fused operators.
pub const FUSEBOX: &str = "ai.fusebox";

impl OpName {
    /// An operator of any domain; `ai.onnx` is the default domain's other name.
    pub fn new(domain: &str, name: &str) -> Self {
        Self { domain: if domain == "ai.onnx" { "" } else { domain }.into(), name: name.into() }
    }

    /// A standard operator.
    pub fn onnx(name: &str) -> Self {
        Self::new("", name)
    }

    /// A fused operator.
    pub fn fusebox(name: &str) -> Self {
        Self::new(FUSEBOX, name)
    }

    /// Whether this is the standard operator `name`.
    pub fn is(&self, name: &str) -> bool {
        self.domain.is_empty() && &*self.name == name
    }
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.domain, self.name)
        }
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Operator.
    pub op: OpName,
    /// Name in the file, may be empty.
    pub name: String,
    /// Inputs; `None` is an absent optional input. Trailing absences are trimmed.
    pub inputs: SmallVec<[Option<ValueId>; 4]>,
    /// Outputs; `None` is an output that is not asked for.
    pub outputs: SmallVec<[Option<ValueId>; 2]>,
    /// Attributes other than subgraphs.
    pub attrs: Attrs,
    /// Subgraph attributes, in name order.
    pub regions: Vec<Region>,
    /// Key-value metadata in file order: module hierarchy, provenance.
    pub metadata: Vec<(String, String)>,
    /// Doc string.
    pub doc: String,
    /// Function overload.
    pub overload: String,
    /// Parts of the file that we carry without reading.
    pub carried: Vec<Carried>,
}

impl Node {
    /// A node without name and metadata.
    pub fn new(
        op: OpName,
        inputs: impl IntoIterator<Item = Option<ValueId>>,
        outputs: impl IntoIterator<Item = Option<ValueId>>,
        attrs: Attrs,
    ) -> Self {
        Self {
            op,
            name: String::new(),
            inputs: inputs.into_iter().collect(),
            outputs: outputs.into_iter().collect(),
            attrs,
            regions: Vec::new(),
            metadata: Vec::new(),
            doc: String::new(),
            overload: String::new(),
            carried: Vec::new(),
        }
    }

    /// Input `index`, when present.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Output `index`, when asked for.
    pub fn output(&self, index: usize) -> Option<ValueId> {
        self.outputs.get(index).copied().flatten()
    }

    /// Everything the node reads: its inputs and what its regions capture.
    pub fn reads(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs
            .iter()
            .flatten()
            .copied()
            .chain(self.regions.iter().flat_map(|r| r.captures.iter().copied()))
    }

    /// Metadata by key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// A subgraph attribute (If, Loop, Scan).
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Attribute name.
    pub name: String,
    /// The body. `graph.captured[i]` inside stands for `captures[i]` outside.
    pub graph: Graph,
    /// Values of the enclosing graph that the body reads.
    pub captures: Vec<ValueId>,
}

/// What an edge carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Value {
    /// Name in the file; unique among named values of a graph, may be empty for new values.
    pub name: String,
    /// Type, as far as known.
    pub ty: Type,
    /// The constant that defines it (an initializer).
    pub constant: Option<Tensor>,
    /// The node and output position that define it.
    pub producer: Option<(NodeId, u32)>,
    /// Doc string.
    pub doc: String,
    /// Key-value metadata.
    pub metadata: Vec<(String, String)>,
}

/// Nodes, values, inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name in the file.
    pub name: String,
    /// Doc string.
    pub doc: String,
    /// Inputs in order. A value that is both input and constant is an input with a default.
    pub inputs: Vec<ValueId>,
    /// Outputs in order.
    pub outputs: Vec<ValueId>,
    /// Values that stand for captures of the enclosing graph, in the order of the region's `captures`.
    pub captured: Vec<ValueId>,
    /// Key-value metadata.
    pub metadata: Vec<(String, String)>,
    /// Parts of the file that we carry without reading.
    pub carried: Vec<Carried>,
    nodes: Vec<Option<Node>>,
    values: Vec<Value>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value.
    pub fn add_value(&mut self, value: Value) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(value);
        id
    }

    /// Adds an unnamed value of a type.
    pub fn add_typed(&mut self, ty: impl Into<Type>) -> ValueId {
        self.add_value(Value { ty: ty.into(), ..Value::default() })
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let ty = tensor.ty().into();
        self.add_value(Value { name: name.into(), ty, constant: Some(tensor), ..Value::default() })
    }

    /// Adds an input.
    pub fn add_input(&mut self, name: impl Into<String>, ty: impl Into<Type>) -> ValueId {
        let id = self.add_value(Value { name: name.into(), ty: ty.into(), ..Value::default() });
        self.inputs.push(id);
        id
    }

    /// Adds a node and makes it the producer of its outputs.
    pub fn add_node(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes"));
        for (position, output) in node.outputs.iter().enumerate() {
            if let Some(output) = output {
                self.values[output.0 as usize].producer =
                    Some((id, u32::try_from(position).expect("few outputs")));
            }
        }
        self.nodes.push(Some(node));
        id
    }

    /// A node. Panics on a removed node or an id of another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("the node was not removed")
    }

    /// A node, mutable. Outputs must not be changed through it; use [`Graph::set_outputs`].
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("the node was not removed")
    }

    /// Whether the id names a live node.
    pub fn has_node(&self, id: NodeId) -> bool {
        self.nodes.get(id.0 as usize).is_some_and(Option::is_some)
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// A value, mutable.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// The constant behind a value, unless it is also an input (a default that a caller may override).
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.value(id).constant.as_ref().filter(|_| !self.inputs.contains(&id))
    }

    /// Live nodes in insertion order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(i, n)| Some((NodeId(i as u32), n.as_ref()?)))
    }

    /// Ids of live nodes in insertion order.
    pub fn node_ids(&self) -> Vec<NodeId> {
        self.nodes().map(|(id, _)| id).collect()
    }

    /// Number of live nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.iter().flatten().count()
    }

    /// Number of value slots, dead ones included.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// All values with their ids.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, v)| (ValueId(i as u32), v))
    }

    /// Replaces a node's outputs.
    pub fn set_outputs(&mut self, id: NodeId, outputs: impl IntoIterator<Item = Option<ValueId>>) {
        let old = std::mem::take(&mut self.node_mut(id).outputs);
        for value in old.into_iter().flatten() {
            self.value_mut(value).producer = None;
        }
        let outputs: SmallVec<[Option<ValueId>; 2]> = outputs.into_iter().collect();
        for (position, output) in outputs.iter().enumerate() {
            if let Some(output) = output {
                self.value_mut(*output).producer = Some((id, u32::try_from(position).expect("few outputs")));
            }
        }
        self.node_mut(id).outputs = outputs;
    }

    /// Removes a node; its outputs stay as undefined values.
    pub fn remove_node(&mut self, id: NodeId) -> Option<Node> {
        let node = self.nodes.get_mut(id.0 as usize)?.take()?;
        for output in node.outputs.iter().flatten() {
            if self.value(*output).producer.is_some_and(|(producer, _)| producer == id) {
                self.value_mut(*output).producer = None;
            }
        }
        Some(node)
    }

    /// Makes every reader of `old` (nodes, captures, outputs) read `new`.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for node in self.nodes.iter_mut().flatten() {
            let captures = node.regions.iter_mut().flat_map(|r| r.captures.iter_mut());
            for slot in node.inputs.iter_mut().flatten().chain(captures) {
                if *slot == old {
                    *slot = new;
                }
            }
        }
        for output in &mut self.outputs {
            if *output == old {
                *output = new;
            }
        }
    }

    /// For each value, the nodes that read it, in insertion order, once per node.
    pub fn readers(&self) -> Vec<SmallVec<[NodeId; 2]>> {
        let mut readers: Vec<SmallVec<[NodeId; 2]>> = vec![SmallVec::new(); self.values.len()];
        for (id, node) in self.nodes() {
            for value in node.reads() {
                let list = &mut readers[value.0 as usize];
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        readers
    }

    /// Nodes in an order in which every value is defined before it is read; ties by insertion. `Err` names a node on
    /// a cycle.
    ///
    /// # Errors
    /// A node that (indirectly) reads its own output.
    pub fn topological(&self) -> Result<Vec<NodeId>, NodeId> {
        let producer =
            |value: ValueId| self.value(value).producer.map(|(node, _)| node).filter(|n| self.has_node(*n));
        let mut waiting = vec![0usize; self.nodes.len()];
        let mut unlocks: Vec<Vec<NodeId>> = vec![Vec::new(); self.nodes.len()];
        let mut ready = BTreeSet::new();
        for (id, node) in self.nodes() {
            let sources: BTreeSet<NodeId> = node.reads().filter_map(producer).collect();
            waiting[id.0 as usize] = sources.len();
            if sources.is_empty() {
                ready.insert(id);
            }
            for source in sources {
                unlocks[source.0 as usize].push(id);
            }
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(id) = ready.pop_first() {
            order.push(id);
            for next in &unlocks[id.0 as usize] {
                waiting[next.0 as usize] -= 1;
                if waiting[next.0 as usize] == 0 {
                    ready.insert(*next);
                }
            }
        }
        let stuck = self.nodes().map(|(id, _)| id).find(|id| waiting[id.0 as usize] > 0);
        stuck.map_or(Ok(order), Err)
    }

    /// Removes nodes whose outputs nothing needs. Nodes without outputs and unknown effects are the caller's concern:
    /// `keep` says which nodes stay whatever happens to their outputs.
    pub fn eliminate_dead(&mut self, keep: &dyn Fn(&Node) -> bool) -> usize {
        let mut live = vec![false; self.values.len()];
        let mut stack: Vec<ValueId> = self.outputs.clone();
        let mut needed: BTreeSet<NodeId> = BTreeSet::new();
        for (id, node) in self.nodes() {
            if keep(node) {
                needed.insert(id);
                stack.extend(node.reads());
            }
        }
        while let Some(value) = stack.pop() {
            if std::mem::replace(&mut live[value.0 as usize], true) {
                continue;
            }
            if let Some((producer, _)) = self.value(value).producer
                && self.has_node(producer)
                && needed.insert(producer)
            {
                stack.extend(self.node(producer).reads());
            }
        }
        let dead: Vec<NodeId> = self.node_ids().into_iter().filter(|id| !needed.contains(id)).collect();
        for id in &dead {
            self.remove_node(*id);
        }
        dead.len()
    }

    /// Nodes of this graph and of all regions inside it.
    pub fn total_node_count(&self) -> usize {
        self.nodes()
            .map(|(_, n)| 1 + n.regions.iter().map(|r| r.graph.total_node_count()).sum::<usize>())
            .sum()
    }

    /// Whether the file refers to constants by name besides reading them: scales of quantization annotations.
    pub fn refers_by_name(&self) -> bool {
        self.carried.iter().any(|part| part.field == "quantization_annotation")
    }

    /// Puts the nodes in topological order and drops holes and values that nothing refers to. Returns, for each old
    /// value, its new id.
    ///
    /// # Errors
    /// A node on a cycle.
    pub fn compact(&mut self) -> Result<Vec<Option<ValueId>>, NodeId> {
        let order = self.topological()?;
        let mut used = vec![false; self.values.len()];
        for id in self.inputs.iter().chain(&self.outputs).chain(&self.captured) {
            used[id.0 as usize] = true;
        }
        for (_, node) in self.nodes() {
            node.reads()
                .chain(node.outputs.iter().flatten().copied())
                .for_each(|v| used[v.0 as usize] = true);
        }
        if self.refers_by_name() {
            for (used, value) in used.iter_mut().zip(&self.values) {
                *used |= value.constant.is_some() && !value.name.is_empty();
            }
        }
        let mut map = vec![None; self.values.len()];
        let mut values = Vec::new();
        for (index, value) in std::mem::take(&mut self.values).into_iter().enumerate() {
            if used[index] {
                map[index] = Some(ValueId(values.len() as u32));
                values.push(Value { producer: None, ..value });
            }
        }
        self.values = values;
        let rename = |id: &mut ValueId| *id = map[id.0 as usize].expect("marked as used above");
        self.inputs.iter_mut().chain(&mut self.outputs).chain(&mut self.captured).for_each(rename);
        let mut old = std::mem::take(&mut self.nodes);
        for id in order {
            let mut node = old[id.0 as usize].take().expect("listed once");
            node.inputs.iter_mut().flatten().for_each(rename);
            node.outputs.iter_mut().flatten().for_each(rename);
            node.regions.iter_mut().flat_map(|r| &mut r.captures).for_each(rename);
            self.add_node(node);
        }
        Ok(map)
    }
}
