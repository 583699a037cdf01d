//! The pass: which nodes are lowered, what they become, and the report.

use crate::scheme::{Narrow, Precision, Refusal};
use fusebox_ir::diff::SOURCES;
use fusebox_ir::{Attrs, DType, Graph, Node, NodeId, OpName, Tensor, TensorType, ValueId};
use fusebox_ops::QuantRole;
use std::collections::BTreeMap;

/// What a pass may do.
#[derive(Clone, Debug)]
pub struct PrecisionOptions {
    /// Precision to lower to.
    pub precision: Precision,
    /// Nodes to leave alone, by name.
    pub exclude: Vec<String>,
    /// Least signal-to-noise ratio of narrowed weights, in dB; a layer below it is refused.
    pub least_sqnr_db: f64,
}

impl PrecisionOptions {
    /// Everything that can be lowered, no limit on noise.
    pub fn new(precision: Precision) -> Self {
        Self { precision, exclude: Vec::new(), least_sqnr_db: f64::NEG_INFINITY }
    }
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Its weights are narrow now.
    Lowered {
        /// Bytes of the weights before.
        bytes_before: usize,
        /// Bytes of weights and scales after.
        bytes_after: usize,
        /// Signal-to-noise ratio of the weights, in dB.
        sqnr_db: f64,
    },
    /// It keeps its precision.
    Refused(Refusal),
}

/// One operator that multiplies by weights, or one look-up table.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Node as messages name it.
    pub node: String,
    /// Operator before the pass.
    pub op: OpName,
    /// What became of it.
    pub decision: Decision,
}

/// What a pass did.
#[derive(Clone, Debug, PartialEq)]
pub struct PrecisionReport {
    /// Precision asked for.
    pub precision: Precision,
    /// All layers in topological order.
    pub layers: Vec<Layer>,
}

impl PrecisionReport {
    /// Layers that were lowered.
    pub fn lowered(&self) -> usize {
        self.layers.iter().filter(|l| matches!(l.decision, Decision::Lowered { .. })).count()
    }

    /// Layers that keep their precision, with the reason.
    pub fn refused(&self) -> impl Iterator<Item = (&Layer, &Refusal)> {
        self.layers.iter().filter_map(|layer| match &layer.decision {
            Decision::Refused(refusal) => Some((layer, refusal)),
            Decision::Lowered { .. } => None,
        })
    }
}

/// Whether a node has a name, or was made from the node of the original model that has it.
pub fn goes_by(node: &Node, name: &str) -> bool {
    let mut sources = node.metadata(SOURCES).into_iter().flat_map(|list| list.split(';'));
    node.name == name || sources.any(|source| source.trim() == name)
}

/// Narrowed weights already made, by original value and channel axis: tied weights are stored once.
type Done = BTreeMap<(ValueId, usize), (ValueId, Option<ValueId>, usize, f64)>;

/// Lowers the precision of every weighted operator of a graph that allows it.
pub fn apply(graph: &mut Graph, options: &PrecisionOptions) -> PrecisionReport {
    let mut report = PrecisionReport { precision: options.precision, layers: Vec::new() };
    let mut done = Done::new();
    for id in graph.topological().unwrap_or_default() {
        let node = graph.node(id);
        let op = node.op.clone();
        let role = fusebox_ops::op(&op).map_or(QuantRole::StaysFloat, fusebox_ops::Op::quant_role);
        let excluded = options.exclude.iter().any(|name| goes_by(node, name));
        let outcome = match role {
            QuantRole::Weighted { weight, channel_axis } => {
                let site = site(graph, node, weight, channel_axis, options.precision);
                site.and_then(|site| if excluded { Err(Refusal::Excluded) } else { Ok(site) })
                    .and_then(|site| lower(graph, id, &site, options, &mut done))
            }
            QuantRole::Recurrent if excluded => Err(Refusal::Excluded),
            QuantRole::Recurrent => Err(Refusal::Recurrent),
            _ if op.is("Gather") && options.precision.scheme().narrows_tables() => match table(graph, node) {
                Some(_) if excluded => Err(Refusal::Excluded),
                Some(table) => lower_table(graph, id, table, options, &mut done),
                None => continue,
            },
            _ => continue,
        };
        let decision = outcome.unwrap_or_else(Decision::Refused);
        report.layers.push(Layer { node: graph.describe(id), op, decision });
    }
    report
}

/// A weighted node that has a narrow form.
struct Site {
    weight: ValueId,
    channel_axis: usize,
    depth: usize,
    /// The fused operator it becomes, with its inputs; the scale's slot follows the weight's.
    target: Target,
}

struct Target {
    op: OpName,
    inputs: Vec<Option<ValueId>>,
    weight_slot: usize,
    attrs: Attrs,
}

fn site(
    graph: &Graph,
    node: &Node,
    weight_slot: usize,
    channel_axis: i64,
    precision: Precision,
) -> Result<Site, Refusal> {
    let weight = node.input(weight_slot).ok_or(Refusal::NotConstant)?;
    let form = |reason: &str| Refusal::Form { reason: reason.into() };
    let Some(tensor) = graph.constant(weight) else {
        let left = node.op.is("MatMul") && node.input(0).is_some_and(|v| graph.constant(v).is_some());
        return Err(if left { form("its weights are the left operand") } else { Refusal::NotConstant });
    };
    // A convolution's rows overlap, so its activations cannot be quantized row by row as those of a product are.
    if precision == Precision::Int8 && &*node.op.name == "Conv" {
        return Err(form("dynamic int8 quantizes activations per row, which a convolution does not have"));
    }
    if tensor.dtype() != DType::F32 {
        return Err(Refusal::DType { found: tensor.dtype().to_string() });
    }
    let rank = tensor.shape().len();
    let axis = if channel_axis < 0 { channel_axis + rank as i64 } else { channel_axis };
    let channel_axis =
        usize::try_from(axis).ok().filter(|a| *a < rank).ok_or_else(|| form("its weights are scalar"))?;
    let channels = tensor.shape()[channel_axis].max(1);
    let depth = tensor.len() / channels;
    let mut target = target(node, weight_slot, rank)?;
    target.inputs.resize(target.inputs.len().max(target.weight_slot + 2), None);
    Ok(Site { weight, channel_axis, depth, target })
}

/// The fused form of a weighted node: itself when it is one already.
fn target(node: &Node, weight_slot: usize, rank: usize) -> Result<Target, Refusal> {
    let form = |reason: &str| Refusal::Form { reason: reason.into() };
    if &*node.op.domain == fusebox_ir::graph::FUSEBOX {
        let (op, inputs, attrs) = (node.op.clone(), node.inputs.to_vec(), node.attrs.clone());
        return Ok(Target { op, inputs, weight_slot, attrs });
    }
    if node.op.is("MatMul") {
        if rank != 2 {
            return Err(form("its weights are not a matrix"));
        }
        let inputs = node.inputs.to_vec();
        return Ok(Target { op: OpName::fusebox("Linear"), inputs, weight_slot: 1, attrs: Attrs::new() });
    }
    if node.op.is("Conv") {
        let known = ["kernel_shape", "strides", "pads", "dilations", "group", "auto_pad"];
        if node.attrs.iter().any(|(name, _)| !known.contains(&name)) {
            return Err(form("it has attributes that the fused convolution does not know"));
        }
        if node.attrs.str("auto_pad").is_some_and(|pad| pad != "NOTSET") {
            return Err(form("its padding is computed at run time"));
        }
        let mut attrs = node.attrs.clone();
        attrs.remove("auto_pad");
        let inputs = vec![node.input(0), node.input(1), None, node.input(2)];
        return Ok(Target { op: OpName::fusebox("Conv"), inputs, weight_slot: 1, attrs });
    }
    Err(Refusal::Form { reason: format!("{} has no narrow form", node.op) })
}

fn lower(
    graph: &mut Graph,
    id: NodeId,
    site: &Site,
    options: &PrecisionOptions,
    done: &mut Done,
) -> Result<Decision, Refusal> {
    let (weight, scale, bytes_after, sqnr_db) =
        narrow(graph, site.weight, site.channel_axis, site.depth, options, done)?;
    let bytes_before = graph.constant(site.weight).map_or(0, |t| t.data().len());
    let node = graph.node_mut(id);
    let slot = site.target.weight_slot;
    node.op = site.target.op.clone();
    node.attrs = site.target.attrs.clone();
    node.inputs = site.target.inputs.iter().copied().collect();
    node.inputs[slot] = Some(weight);
    node.inputs[slot + 1] = scale;
    while node.inputs.last() == Some(&None) {
        node.inputs.pop();
    }
    node.metadata.push(("fusebox.precision".into(), options.precision.name().into()));
    Ok(Decision::Lowered { bytes_before, bytes_after, sqnr_db })
}

fn narrow(
    graph: &mut Graph,
    weight: ValueId,
    axis: usize,
    depth: usize,
    options: &PrecisionOptions,
    done: &mut Done,
) -> Result<(ValueId, Option<ValueId>, usize, f64), Refusal> {
    if let Some(found) = done.get(&(weight, axis)) {
        return Ok(*found);
    }
    let tensor = graph.constant(weight).ok_or(Refusal::NotConstant)?;
    let Narrow { weight: narrow, scale, sqnr_db } = options.precision.scheme().narrow(tensor, axis, depth)?;
    if sqnr_db < options.least_sqnr_db {
        return Err(Refusal::Noise { sqnr: sqnr_db, least: options.least_sqnr_db });
    }
    let suffix = options.precision.name();
    let bytes = narrow.data().len() + scale.as_ref().map_or(0, |s| s.data().len());
    let name = graph.value(weight).name.clone();
    let value = add(graph, &name, suffix, narrow);
    let scale = scale.map(|scale| add(graph, &name, "scale", scale));
    let entry = (value, scale, bytes, sqnr_db);
    done.insert((weight, axis), entry);
    Ok(entry)
}

/// Adds a constant under a name that no value has yet.
fn add(graph: &mut Graph, base: &str, suffix: &str, tensor: Tensor) -> ValueId {
    let taken = |graph: &Graph, name: &str| graph.values().any(|(_, v)| v.name == name);
    let plain = format!("{base}.{suffix}");
    let numbered = |n: usize| format!("{plain}.{n}");
    let name = if taken(graph, &plain) {
        (1..).map(numbered).find(|name| !taken(graph, name)).expect("numbers do not run out")
    } else {
        plain
    };
    graph.add_constant(name, tensor)
}

/// The constant f32 table of a Gather along its first axis.
fn table(graph: &Graph, node: &Node) -> Option<ValueId> {
    let table = node.input(0)?;
    let tensor = graph.constant(table)?;
    (tensor.dtype() == DType::F32 && tensor.shape().len() >= 2 && node.attrs.int_or("axis", 0) == 0)
        .then_some(table)
}

/// Stores a table in narrow form and casts the gathered rows back.
fn lower_table(
    graph: &mut Graph,
    id: NodeId,
    table: ValueId,
    options: &PrecisionOptions,
    done: &mut Done,
) -> Result<Decision, Refusal> {
    let (weight, _, bytes_after, sqnr_db) = narrow(graph, table, 0, 1, options, done)?;
    let bytes_before = graph.constant(table).map_or(0, |t| t.data().len());
    let narrow_type = graph.value(weight).ty.tensor().map(|t| t.dtype).ok_or(Refusal::NotConstant)?;
    let output = graph.node(id).output(0).ok_or(Refusal::NotConstant)?;
    let shape = graph.value(output).ty.tensor().and_then(|t| t.shape.clone());
    let rows = graph.add_typed(TensorType { dtype: narrow_type, shape });
    graph.node_mut(id).inputs[0] = Some(weight);
    graph.set_outputs(id, [Some(rows)]);
    let to = Attrs::new().with("to", i64::from(DType::F32.to_onnx()));
    let mut cast = Node::new(OpName::onnx("Cast"), [Some(rows)], [Some(output)], to);
    cast.metadata.push(("fusebox.precision".into(), options.precision.name().into()));
    cast.metadata.push(("fusebox.sources".into(), graph.node(id).name.clone()));
    graph.add_node(cast);
    Ok(Decision::Lowered { bytes_before, bytes_after, sqnr_db })
}
