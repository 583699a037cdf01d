//! From the chosen program back to a graph that keeps names, metadata and everything that no rule touched.

mod fold;
pub(crate) mod provenance;

use crate::apply::Log;
use crate::egraph::analysis::{Egg, Known};
use crate::egraph::import::Imported;
use crate::egraph::node::{Code, ENode};
use crate::extract::problem::Problem;
use crate::extract::solve::Solution;
use crate::report::Site;
use crate::rule::Rule;
use egg::Id;
use fold::{Folded, fold};
use fusebox_ir::{Attrs, Function, Graph, Node, NodeId, OpName, Value, ValueId};
use fusebox_ops::attributes::{self, AttrSpec};
use provenance::{Chain, Provenance};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The chosen e-node of every class.
pub(crate) struct Chosen<'a> {
    egraph: &'a Egg,
    position: HashMap<Id, usize>,
    problem: &'a Problem,
    solution: &'a Solution,
}

impl<'a> Chosen<'a> {
    pub(crate) fn new(egraph: &'a Egg, problem: &'a Problem, solution: &'a Solution) -> Self {
        let position = problem.ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        Self { egraph, position, problem, solution }
    }

    /// The e-node of a canonical class.
    fn node(&self, id: Id) -> &'a ENode {
        self.get(id).expect("extraction chose for every class that the program reads")
    }

    /// The e-node of a canonical class, where extraction had to choose one: not for inputs that no node reads.
    fn get(&self, id: Id) -> Option<&'a ENode> {
        let index = *self.position.get(&id)?;
        let choice = &self.problem.classes[index][self.solution.choice[index] as usize];
        Some(&self.egraph[id].nodes[choice.node])
    }

    /// Classes that the program computes.
    fn used(&self) -> impl Iterator<Item = Id> + '_ {
        self.problem.ids.iter().zip(&self.solution.used).filter(|(_, used)| **used).map(|(id, _)| *id)
    }
}

/// A new graph, with the sites of the rules that made it.
pub(crate) struct Emitted {
    pub(crate) graph: Graph,
    /// For each rule by position, its sites.
    pub(crate) sites: BTreeMap<usize, Vec<Site>>,
}

/// Everything that emission reads.
pub(crate) struct Source<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) imported: &'a Imported,
    pub(crate) rules: &'a [Rule],
    pub(crate) log: &'a Log,
    pub(crate) functions: &'a [Function],
    pub(crate) threads: usize,
    /// Whether constants that are stored narrow stay so.
    pub(crate) keep_stored: bool,
}

/// Builds the graph of the chosen program.
pub(crate) fn emit(source: &Source<'_>, problem: &Problem, solution: &Solution) -> Emitted {
    let egraph = &source.imported.egraph;
    let chosen = Chosen::new(egraph, problem, solution);
    let class = |v: &ValueId| source.imported.class_of[v.0 as usize].map(|id| egraph.find(id));
    let roots: Vec<Id> = source.graph.outputs.iter().filter_map(class).collect();
    let folded = fold(egraph, &chosen, &roots, source.functions, source.threads, source.keep_stored);
    let provenance = Provenance::new(egraph, source.graph, source.rules, source.log, &source.imported.nodes);
    let mut emit = Emit {
        source,
        egraph,
        chosen,
        folded,
        provenance,
        values_of: values_of(source, egraph),
        taken: names(source.graph),
        out: header(source.graph),
        value_of: HashMap::new(),
        node_of: HashMap::new(),
        sites: BTreeMap::new(),
        accounted: BTreeSet::new(),
    };
    emit.interface();
    for id in emit.order(&roots) {
        emit.class(id);
    }
    emit.outputs();
    emit.vanished();
    emit.named_constants();
    Emitted { graph: emit.out, sites: emit.sites }
}

/// An empty graph with everything that a graph says of itself.
fn header(graph: &Graph) -> Graph {
    let mut new = Graph::new();
    new.name.clone_from(&graph.name);
    new.doc.clone_from(&graph.doc);
    new.metadata.clone_from(&graph.metadata);
    new.carried.clone_from(&graph.carried);
    new
}

/// Original values of each class, in id order.
fn values_of(source: &Source<'_>, egraph: &Egg) -> HashMap<Id, Vec<ValueId>> {
    let mut values: HashMap<Id, Vec<ValueId>> = HashMap::new();
    for (index, class) in source.imported.class_of.iter().enumerate() {
        if let Some(class) = class {
            values.entry(egraph.find(*class)).or_default().push(ValueId(index as u32));
        }
    }
    values
}

fn names(graph: &Graph) -> BTreeSet<String> {
    graph.nodes().map(|(_, n)| n.name.clone()).collect()
}

struct Emit<'a> {
    source: &'a Source<'a>,
    egraph: &'a Egg,
    chosen: Chosen<'a>,
    folded: Folded,
    provenance: Provenance<'a>,
    values_of: HashMap<Id, Vec<ValueId>>,
    taken: BTreeSet<String>,
    out: Graph,
    /// Value of each emitted class.
    value_of: HashMap<Id, ValueId>,
    /// Node of each emitted class that is a tuple.
    node_of: HashMap<Id, NodeId>,
    sites: BTreeMap<usize, Vec<Site>>,
    /// Original nodes that are still there, and those that new nodes name as their sources.
    accounted: BTreeSet<NodeId>,
}

impl Emit<'_> {
    /// Inputs and captures stay whether or not they are still read.
    fn interface(&mut self) {
        let old = self.source.graph;
        for value in old.inputs.iter().chain(&old.captured) {
            let copy = Value { producer: None, ..old.value(*value).clone() };
            let new = self.out.add_value(copy);
            if old.inputs.contains(value) {
                self.out.inputs.push(new);
            } else {
                self.out.captured.push(new);
            }
            if let Some(class) = self.source.imported.class_of[value.0 as usize] {
                self.value_of.entry(self.egraph.find(class)).or_insert(new);
            }
        }
    }

    /// Classes in an order in which operands come first; among those that are ready, that of the original nodes.
    fn order(&self, roots: &[Id]) -> Vec<Id> {
        let mut needed: BTreeMap<Id, usize> = BTreeMap::new();
        let mut readers: HashMap<Id, Vec<Id>> = HashMap::new();
        let mut stack = roots.to_vec();
        while let Some(id) = stack.pop() {
            if needed.contains_key(&id) {
                continue;
            }
            let operands: BTreeSet<Id> = self.operands(id).into_iter().collect();
            needed.insert(id, operands.len());
            for operand in operands {
                readers.entry(operand).or_default().push(id);
                stack.push(operand);
            }
        }
        let mut ready: BTreeSet<(u32, Id)> =
            needed.iter().filter(|(_, n)| **n == 0).map(|(id, _)| (self.rank(*id), *id)).collect();
        let mut order = Vec::new();
        while let Some((_, id)) = ready.pop_first() {
            order.push(id);
            for reader in readers.get(&id).into_iter().flatten() {
                let waiting = needed.get_mut(reader).expect("readers are needed");
                *waiting -= 1;
                if *waiting == 0 {
                    ready.insert((self.rank(*reader), *reader));
                }
            }
        }
        order
    }

    /// Classes that a class reads, none when it is a leaf or computed now.
    fn operands(&self, id: Id) -> Vec<Id> {
        if self.value_of.contains_key(&id) || self.folded.contains_key(&id) {
            return Vec::new();
        }
        self.chosen.node(id).children.iter().map(|c| self.egraph.find(*c)).collect()
    }

    /// Position of a class: that of its original node, or of the last of the nodes that it replaces.
    fn rank(&self, id: Id) -> u32 {
        let node = self.chosen.node(id);
        match self.provenance.original(node) {
            Some(node) => node.0,
            None => {
                let chain = self.provenance.chain(node);
                chain.and_then(|c| c.sources.last().map(|n| n.0)).unwrap_or(0)
            }
        }
    }

    fn class(&mut self, id: Id) {
        if self.value_of.contains_key(&id) {
            return;
        }
        let node = self.chosen.node(id).clone();
        if let Some(tensor) = self.folded.get(&id).cloned() {
            let value = self.named(id, false);
            let value = self.out.add_value(Value { constant: Some(tensor), ..value });
            self.value_of.insert(id, value);
            return;
        }
        match node.code {
            Code::NONE | Code::INPUT => {}
            Code::PROJ => {
                let tuple = self.egraph.find(node.children[0]);
                self.projection(id, tuple, node.tag as usize);
            }
            Code::CONST => {
                let tensor = self.egraph.analysis.tables.tensor(node.tag).clone();
                let old = self.source.imported.constants.get(&node.tag);
                let value = match old.filter(|v| !self.source.graph.outputs.contains(v)) {
                    Some(old) => Value { producer: None, ..self.source.graph.value(*old).clone() },
                    None => self.named(id, false),
                };
                let ty = tensor.ty().into();
                let value = self.out.add_value(Value { constant: Some(tensor), ty, ..value });
                self.value_of.insert(id, value);
            }
            _ => self.node(id, &node),
        }
    }

    /// A value for a class: the first original name, that of a graph output first. A name of an output goes only to
    /// the operator that computes it.
    fn named(&self, id: Id, computed: bool) -> Value {
        let graph = self.source.graph;
        let none = Vec::new();
        let values = self.values_of.get(&id).unwrap_or(&none);
        let output = graph.outputs.iter().find(|o| values.contains(o)).filter(|_| computed);
        let plain = values.iter().find(|v| !graph.value(**v).name.is_empty() && !graph.outputs.contains(v));
        let known = &self.egraph[id].data;
        match output.or(plain) {
            Some(value) => {
                let old = graph.value(*value);
                Value { ty: known.ty().clone(), constant: None, producer: None, ..old.clone() }
            }
            None => Value { ty: known.ty().clone(), ..Value::default() },
        }
    }

    fn projection(&mut self, id: Id, tuple: Id, slot: usize) {
        let Some(node) = self.node_of.get(&tuple).copied() else { return };
        let value = self.named(id, true);
        let value = self.out.add_value(value);
        self.value_of.insert(id, value);
        let mut outputs = self.out.node(node).outputs.clone();
        outputs[slot] = Some(value);
        self.out.set_outputs(node, outputs);
    }

    fn node(&mut self, id: Id, node: &ENode) {
        let original = match node.code {
            Code::OPAQUE => self.source.imported.opaque[node.tag as usize],
            _ => self.provenance.original(node),
        };
        let reads: Vec<Option<ValueId>> =
            node.children.iter().map(|c| self.value_of.get(&self.egraph.find(*c)).copied()).collect();
        let mut new = match original {
            Some(old) => {
                self.accounted.insert(old);
                self.source.graph.node(old).clone()
            }
            None => self.fresh(node),
        };
        let count = if node.code == Code::OPAQUE { new.inputs.len() } else { reads.len() };
        let mut captures = reads[count.min(reads.len())..].iter();
        new.inputs = reads[..count.min(reads.len())].iter().copied().collect();
        for slot in new.regions.iter_mut().flat_map(|r| &mut r.captures) {
            if let Some(Some(value)) = captures.next() {
                *slot = *value;
            }
        }
        let slots = slots(node, &self.egraph[id].data, &new);
        if node.outputs > 1 {
            // Its projections claim their outputs; the others are not asked for.
            new.outputs = (0..slots).map(|_| None).collect();
            let new = self.out.add_node(new);
            self.node_of.insert(id, new);
            return;
        }
        let value = self.named(id, true);
        let value = self.out.add_value(value);
        self.value_of.insert(id, value);
        new.outputs = (0..slots).map(|i| (i == 0).then_some(value)).collect();
        self.out.add_node(new);
    }

    fn fresh(&mut self, node: &ENode) -> Node {
        let index = node.code.index().expect("leaves are not emitted as nodes");
        let op = fusebox_ops::ops()[index].schema().op_name();
        let attrs = without_defaults(&op, self.egraph.analysis.tables.attrs(node.attrs));
        let mut new = Node::new(op, [], [], attrs);
        if let Some(chain) = self.provenance.chain(node) {
            self.accounted.extend(&chain.sources);
            new.metadata = self.provenance.metadata(&chain);
            new.name = self.name(&chain);
            let sources = self.provenance.names(&chain);
            for rule in &chain.rules {
                let site = Site { node: new.name.clone(), op: new.op.to_string(), sources: sources.clone() };
                self.sites.entry(*rule).or_default().push(site);
            }
        }
        new
    }

    /// `<source>/<last rule>`, unique in the graph.
    fn name(&mut self, chain: &Chain) -> String {
        let root = chain.root.or_else(|| chain.sources.last().copied());
        let base = root.map_or(String::new(), |id| self.source.graph.node(id).name.clone());
        let rule = chain.rules.last().map_or("", |r| self.source.rules[*r].name.as_str());
        let name = if base.is_empty() { rule.to_owned() } else { format!("{base}/{rule}") };
        let mut unique = name.clone();
        let mut count = 1;
        while !self.taken.insert(unique.clone()) {
            count += 1;
            unique = format!("{name}_{count}");
        }
        unique
    }

    /// Every output of the graph keeps its name; one whose value has another name already, or is an input or a
    /// constant, is pinned by an Identity. An output that is listed twice stays one value.
    fn outputs(&mut self) {
        let old = self.source.graph;
        for (position, output) in old.outputs.iter().enumerate() {
            let before = old.outputs[..position].iter().position(|other| other == output);
            if let Some(listed) = before.and_then(|before| self.out.outputs.get(before).copied()) {
                self.out.outputs.push(listed);
                continue;
            }
            let class = self.source.imported.class_of[output.0 as usize].map(|id| self.egraph.find(id));
            let value = class.and_then(|c| self.value_of.get(&c).copied());
            let Some(value) = value else { continue };
            let wanted = old.value(*output);
            let is_same = self.out.value(value).name == wanted.name;
            let computed = self.out.value(value).producer.is_some() || old.inputs.contains(output);
            if is_same && computed && (!self.out.outputs.contains(&value) || old.inputs.contains(output)) {
                self.out.outputs.push(value);
                continue;
            }
            let pinned = Value { producer: None, constant: None, ..wanted.clone() };
            let pinned = self.out.add_value(pinned);
            let mut node = Node::new(OpName::onnx("Identity"), [Some(value)], [Some(pinned)], Attrs::new());
            node.name = self.pin_name(&wanted.name);
            self.out.add_node(node);
            self.out.outputs.push(pinned);
        }
    }

    /// Sites of rules that replaced a node by something that was there already: no new node tells of them.
    fn vanished(&mut self) {
        for (id, node) in &self.source.imported.nodes {
            let node = provenance::canonical(self.egraph, node);
            let Some(class) = self.egraph.lookup(node.clone()).map(|class| self.egraph.find(class)) else {
                continue;
            };
            let computed = self.value_of.get(&class);
            let is_computed = computed.is_some_and(|value| self.out.constant(*value).is_none());
            // A twin of a node that stays is no rule's doing.
            let chosen = self.chosen.get(class).filter(|_| is_computed);
            let is_twin = chosen.is_some_and(|chosen| provenance::canonical(self.egraph, chosen) == node);
            if !is_computed || is_twin || !self.accounted.insert(*id) {
                continue;
            }
            let Some((rule, chain)) = self.provenance.removal(&node) else { continue };
            self.accounted.extend(&chain.sources);
            let old = self.source.graph.node(*id);
            let sources = self.provenance.names(&chain);
            let name = self.provenance.label(*id);
            self.sites.entry(rule).or_default().push(Site { node: name, op: old.op.to_string(), sources });
        }
    }

    /// Constants that nothing reads, where the file may refer to them by name.
    fn named_constants(&mut self) {
        let old = self.source.graph;
        if !old.refers_by_name() {
            return;
        }
        let readers = old.readers();
        let held: BTreeSet<String> = self.out.values().map(|(_, value)| value.name.clone()).collect();
        for (id, value) in old.values() {
            let is_idle = readers[id.0 as usize].is_empty() && !old.outputs.contains(&id);
            if value.constant.is_some() && is_idle && !value.name.is_empty() && !held.contains(&value.name) {
                self.out.add_value(Value { producer: None, ..value.clone() });
            }
        }
    }

    fn pin_name(&mut self, output: &str) -> String {
        let mut name = format!("{output}/output");
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

/// Output slots of the node that an e-node becomes.
fn slots(node: &ENode, known: &Known, new: &Node) -> usize {
    let count = (node.outputs as usize).max(known.outputs.len());
    if node.code == Code::OPAQUE { new.outputs.len().max(count) } else { count }
}

/// A record without what the operator assumes anyway, as an exporter would write it.
fn without_defaults(op: &OpName, attrs: &Attrs) -> Attrs {
    let is_default = |name: &str, attr: &fusebox_ir::Attr| {
        attributes::spec(op, name).and_then(AttrSpec::default).as_ref() == Some(attr)
    };
    attrs.iter().filter(|(name, attr)| !is_default(name, attr)).map(|(n, a)| (n.into(), a.clone())).collect()
}
