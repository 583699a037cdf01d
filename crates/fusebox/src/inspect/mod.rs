//! What a model is: interface, operators, work, family, and the module hierarchy that its exporter left behind.

mod family;
mod hierarchy;

pub use family::Family;
pub use hierarchy::{Hierarchy, Line, Module};

use crate::sizes::{self, Preferred, Sizes};
use crate::work::{self, Work};
use crate::{Error, Model};
use fusebox_ir::{Graph, ValueId};
use serde::Serialize;
use std::collections::BTreeMap;

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Type as the text form writes it, e.g. `f32[batch, 3, 224, 224]`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether a default makes it optional.
    pub optional: bool,
}

/// How often an operator occurs, and its share of the work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operator {
    /// Domain and name.
    pub op: String,
    /// Nodes, those of subgraphs included.
    pub count: usize,
    /// FLOPs of all of them.
    pub flops: f64,
    /// Whether the operator table has it.
    pub known: bool,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Producer of the file with its version.
    pub producer: String,
    /// ONNX IR version.
    pub ir_version: i64,
    /// Operator sets as `domain version`; the domain of ai.onnx is written out.
    pub opsets: Vec<String>,
    /// Model-local functions.
    pub functions: usize,
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Outputs in order, with the types that inference finds.
    pub outputs: Vec<Port>,
    /// Operators, the most frequent first.
    pub operators: Vec<Operator>,
    /// Work of one evaluation at [`Inspection::sizes`].
    pub work: Work,
    /// The size assumed for every symbolic dim.
    pub sizes: Sizes,
    /// What kind of network it is.
    pub family: Family,
    /// Modules.
    pub hierarchy: Hierarchy,
    /// Nodes whose outputs could not be typed: their operators are unknown.
    pub untyped: usize,
}

/// Looks at a model.
///
/// # Errors
/// Sizes for dims that no input has, or a model that is not well typed.
pub fn inspect(model: &Model, given: &Sizes) -> Result<Inspection, Error> {
    let sizes = sizes::choose(model, given, Preferred::default())?;
    let mut symbolic = model.graph.clone();
    let typing = fusebox_ops::infer_graph(&mut symbolic, &model.functions)?;
    // A size that the model contradicts leaves the symbols in place, where they count as one.
    let graph = sizes::specialize(&model.graph, &model.functions, &sizes).unwrap_or_else(|_| {
        let mut graph = symbolic.clone();
        sizes::substitute_typed(&mut graph, &sizes);
        graph
    });
    let name = |domain: &str| if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() };
    Ok(Inspection {
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
        ir_version: model.ir_version,
        opsets: model.opsets.iter().map(|o| format!("{} {}", name(&o.domain), o.version)).collect(),
        functions: model.functions.len(),
        inputs: ports(&symbolic, &symbolic.inputs),
        outputs: ports(&symbolic, &symbolic.outputs),
        operators: operators(&graph),
        work: work::of_graph(&graph, &sizes),
        family: Family::of(&graph),
        hierarchy: Hierarchy::of(&graph),
        untyped: typing.untyped.len(),
        sizes,
    })
}

fn ports(graph: &Graph, ids: &[ValueId]) -> Vec<Port> {
    let port = |id: &ValueId| {
        let value = graph.value(*id);
        let optional = value.constant.is_some() && graph.inputs.contains(id);
        Port { name: value.name.clone(), ty: value.ty.to_string(), optional }
    };
    ids.iter().map(port).collect()
}

fn operators(graph: &Graph) -> Vec<Operator> {
    let mut found: BTreeMap<String, Operator> = BTreeMap::new();
    count(graph, &mut found);
    let mut operators: Vec<Operator> = found.into_values().collect();
    operators.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.op.cmp(&b.op)));
    operators
}

fn count(graph: &Graph, found: &mut BTreeMap<String, Operator>) {
    for (_, node) in graph.nodes() {
        let op = node.op.to_string();
        let known = fusebox_ops::op(&node.op).is_some();
        let entry = found.entry(op.clone()).or_insert(Operator { op, count: 0, flops: 0.0, known });
        entry.count += 1;
        entry.flops += work::of_node(graph, node).flops;
        node.regions.iter().for_each(|region| count(&region.graph, found));
    }
}
