//! Groups elementwise nodes into chains that run as one pass.
//!
//! A node joins the group of its readers when all of them are in one group and it has the group's shape: then its
//! value never reaches memory. The group runs where its last node stood.

use super::elementwise::{Operands, emit, is_narrow, takes, takes_narrow};
use super::movement::{element, memory_order};
use super::{Lower, Lowered};
use crate::view::View;
use fusebox_ir::{DType, Graph, Node, NodeId, Tensor, ValueId};
use fusebox_kernels::elementwise::{Chain, ChainInput, ChainOutput, ChainSpec, ChainStep, Kind, Op, Value};
use fusebox_kernels::{Layout, SpecError};
use std::collections::BTreeMap;

/// Nodes of one chain: more would not fit the first-level cache with their intermediate values.
const MAX_NODES: usize = 24;

/// Groups the needed nodes into the units that are lowered together, in an order in which inputs come first.
pub(crate) fn schedule(graph: &Graph, constants: &[Option<Tensor>], needed: &[NodeId]) -> Vec<Vec<NodeId>> {
    let mut readers: BTreeMap<ValueId, Vec<NodeId>> = BTreeMap::new();
    for id in needed {
        graph.node(*id).reads().for_each(|value| readers.entry(value).or_default().push(*id));
    }
    let mut group_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<NodeId>> = Vec::new();
    for id in needed.iter().rev() {
        let joined = chainable(graph, constants, *id).and_then(|value| {
            let readers = readers.get(&value).filter(|_| !graph.outputs.contains(&value))?;
            let group = *group_of.get(readers.first()?)?;
            let root = *groups[group].first()?;
            let fits = readers.iter().all(|reader| group_of.get(reader) == Some(&group))
                && groups[group].len() < MAX_NODES
                && chainable(graph, constants, root).is_some_and(|r| sizes(graph, r) == sizes(graph, value));
            fits.then_some(group)
        });
        let group = joined.unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(*id);
        group_of.insert(*id, group);
    }
    // Groups were found from the back, and each lists its nodes from the back.
    groups.reverse();
    for group in &mut groups {
        group.reverse();
    }
    groups
}

fn sizes(graph: &Graph, value: ValueId) -> Option<Vec<usize>> {
    graph.value(value).ty.tensor().and_then(fusebox_ir::TensorType::sizes)
}

/// The node's only output, when the node is an elementwise operator on types that chains take.
fn chainable(graph: &Graph, constants: &[Option<Tensor>], id: NodeId) -> Option<ValueId> {
    let node = graph.node(id);
    let output = node.output(0).filter(|_| node.outputs.len() == 1 && node.op.domain.is_empty())?;
    emit(&node.op.name)?;
    let dtype = |value: ValueId| match &constants[value.0 as usize] {
        Some(tensor) => Some(tensor.dtype()),
        None => graph.value(value).ty.tensor().map(|t| t.dtype),
    };
    let inputs: Vec<DType> = node.inputs.iter().flatten().map(|v| dtype(*v)).collect::<Option<_>>()?;
    let result = dtype(output)?;
    let fits = takes(result) && inputs.iter().all(|d| takes(*d));
    (fits || takes_narrow(&node.op.name, &inputs, result)).then_some(output)
}

/// Lowers a group as one step; when an emitter declines, every node by itself.
pub(super) fn lower(cx: &mut Lower<'_>, nodes: &[NodeId]) -> Result<(), SpecError> {
    cx.attribute(nodes.to_vec());
    if try_lower(cx, nodes)? {
        return Ok(());
    }
    nodes.iter().try_for_each(|id| cx.node(*id))
}

/// Lowers a single elementwise node.
pub(super) fn lower_single(cx: &mut Lower<'_>, id: NodeId) -> Result<Lowered, SpecError> {
    if chainable(cx.graph, cx.constants, id).is_none() {
        return Ok(Lowered::Declined("an element type that chains do not take".into()));
    }
    Ok(if try_lower(cx, &[id])? {
        Lowered::Done
    } else {
        Lowered::Declined("no chain operation for this form".into())
    })
}

/// How a node reads an operand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reading {
    /// By the rules of broadcasting.
    Broadcast,
    /// One element per channel, the second dim.
    PerChannel,
}

impl Reading {
    /// `None` where no way of reading fits: a parameter per element of another axis than the second.
    fn of(cx: &Lower<'_>, node: &Node, slot: usize) -> Option<Self> {
        match &*node.op.name {
            "BatchNormalization" if slot > 0 => Some(Self::PerChannel),
            "QuantizeLinear" | "DequantizeLinear" if slot > 0 => {
                let (_, own) = cx.sizes(node.input(slot)?);
                let (_, dims) = cx.sizes(node.input(0)?);
                let (axis, rank) = (node.attrs.int_or("axis", 1), dims.len() as i64);
                match own.as_slice() {
                    [] | [1] => Some(Self::Broadcast),
                    [_] => (axis == 1 || axis == 1 - rank).then_some(Self::PerChannel),
                    _ => None,
                }
            }
            _ => Some(Self::Broadcast),
        }
    }
}

pub(super) struct Building {
    pub(super) chain: Chain,
    pub(super) inputs: Vec<View>,
    values: BTreeMap<(ValueId, Reading), Value>,
}

impl Building {
    /// A chain over operands that broadcast to one shape; its inputs are numbered as the operands are.
    pub(super) fn over(inputs: Vec<View>) -> Self {
        let kinds: Vec<Kind> = inputs.iter().map(|view| kind(view.dtype)).collect();
        Self { chain: Chain::new(&kinds), inputs, values: BTreeMap::new() }
    }
}

/// A vector with one element per channel as an operand of a value of these dims.
pub(super) fn per_channel(vector: &View, dims: &[usize]) -> Option<View> {
    let channels = *dims.get(1)?;
    let mut shape = vec![1; dims.len() - 1];
    shape[0] = channels;
    vector.reshaped(&shape)?.broadcast(dims)
}

fn kind(dtype: DType) -> Kind {
    match dtype {
        DType::Bool => Kind::Truth,
        DType::I64 => Kind::Int,
        narrow if is_narrow(narrow) => Kind::Int,
        _ => Kind::Float,
    }
}

fn try_lower(cx: &mut Lower<'_>, nodes: &[NodeId]) -> Result<bool, SpecError> {
    let root = nodes[nodes.len() - 1];
    let output = cx.graph.node(root).output(0).expect("chainable nodes have one output");
    let (dtype, dims) = cx.sizes(output);
    let Some(mut building) = inputs(cx, nodes, &dims) else { return Ok(false) };
    for id in nodes {
        let node = cx.graph.node(*id);
        let result = node.output(0).expect("chainable nodes have one output");
        let mut values = Vec::new();
        for (slot, value) in node.inputs.iter().enumerate() {
            values.push(match value {
                Some(value) => {
                    let Some(reading) = Reading::of(cx, node, slot) else { return Ok(false) };
                    Some(operand(cx, &mut building, *value, reading)?)
                }
                None => None,
            });
        }
        let constants: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|s| s.and_then(|v| cx.constant(v))).collect();
        let operands = Operands {
            attrs: &node.attrs,
            values: &values,
            constants: &constants,
            result: cx.sizes(result).0,
        };
        let emitter = emit(&node.op.name).expect("chainable nodes have an emitter");
        let Some(value) = emitter(&mut building.chain, &operands)? else { return Ok(false) };
        // Inner values have the shape of the chain, so it does not matter how they are read.
        building.values.insert((result, Reading::Broadcast), value);
    }
    let value = building.values[&(output, Reading::Broadcast)];
    let order = preferred_order(&building.inputs, &dims);
    let target = cx.allocate_in(dtype, &dims, &order);
    push(cx, building, value, &target);
    cx.set(output, target);
    Ok(true)
}

/// Declares the chain's inputs: values from outside the group that are not scalar constants.
fn inputs(cx: &mut Lower<'_>, nodes: &[NodeId], dims: &[usize]) -> Option<Building> {
    let inner: Vec<ValueId> = nodes.iter().filter_map(|id| cx.graph.node(*id).output(0)).collect();
    let mut outer: Vec<(ValueId, Reading)> = Vec::new();
    for node in nodes.iter().map(|id| cx.graph.node(*id)) {
        for (slot, value) in node.inputs.iter().enumerate() {
            let Some(value) = *value else { continue };
            let read = (value, Reading::of(cx, node, slot)?);
            let immediate = cx.constant(value).is_some_and(|t| t.len() == 1);
            if inner.contains(&value) && read.1 == Reading::PerChannel {
                return None;
            }
            if !inner.contains(&value) && !immediate && !outer.contains(&read) {
                outer.push(read);
            }
        }
    }
    let mut views = Vec::new();
    for (value, reading) in &outer {
        let view = cx.view(*value);
        views.push(match reading {
            Reading::Broadcast => view.broadcast(dims)?,
            Reading::PerChannel => per_channel(&view, dims)?,
        });
    }
    let mut building = Building::over(views);
    let chain = &building.chain;
    building.values =
        outer.into_iter().enumerate().filter_map(|(i, v)| Some((v, chain.input(i).ok()?))).collect();
    Some(building)
}

fn operand(
    cx: &Lower<'_>,
    building: &mut Building,
    value: ValueId,
    reading: Reading,
) -> Result<Value, SpecError> {
    if let Some(found) = building.values.get(&(value, reading)) {
        return Ok(*found);
    }
    let missing = || SpecError { reason: "a chain reads a value that is neither input nor constant".into() };
    let tensor = cx.constant(value).ok_or_else(missing)?;
    let op = match (tensor.dtype(), tensor.data().first()) {
        (DType::F32, _) => Op::Float(tensor.elements::<f32>().map_err(|_| missing())?[0]),
        (DType::I64, _) => Op::Int(tensor.elements::<i64>().map_err(|_| missing())?[0]),
        (DType::U8, Some(byte)) => Op::Int(i64::from(*byte)),
        (DType::I8, Some(byte)) => Op::Int(i64::from(byte.cast_signed())),
        (DType::U16, _) => Op::Int(tensor.elements::<u16>().map_err(|_| missing())?[0].into()),
        (DType::I16, _) => Op::Int(tensor.elements::<i16>().map_err(|_| missing())?[0].into()),
        (DType::I32, _) => Op::Int(tensor.elements::<i32>().map_err(|_| missing())?[0].into()),
        (_, Some(byte)) => Op::Int(i64::from(*byte != 0)),
        _ => return Err(missing()),
    };
    let mut found = building.chain.push(op)?;
    if tensor.dtype() == DType::Bool {
        found = building.chain.push(Op::Convert(Kind::Truth, found))?;
    }
    building.values.insert((value, reading), found);
    Ok(found)
}

/// The memory order of the first input that covers the whole index space without gaps, else row-major: channels-last
/// activations stay channels-last.
pub(super) fn preferred_order(inputs: &[View], dims: &[usize]) -> Vec<usize> {
    let full = inputs.iter().filter(|view| view.buffer().is_some() && !view.layout.strides.contains(&0));
    let mut orders = full.filter_map(|view| memory_order(&view.layout));
    orders.next().unwrap_or_else(|| (0..dims.len()).collect())
}

/// Adds the step that computes a value of the chain into a fresh target.
pub(super) fn push(cx: &mut Lower<'_>, building: Building, value: Value, target: &View) {
    let Building { chain, inputs, .. } = building;
    // The index space is walked in the order of the target's memory, so its writes run through.
    let order = memory_order(&target.layout).expect("fresh buffers have no gaps");
    let inputs: Vec<View> = inputs.iter().map(|view| view.permuted(&order)).collect();
    let sink = target.permuted(&order);
    let (isa, dims) = (cx.isa, sink.dims().to_vec());
    let reads: Vec<View> = inputs.clone();
    let reads: Vec<&View> = reads.iter().collect();
    cx.push(&reads, &[target], None, move |spans| {
        let unknown = || SpecError { reason: "an element type without a kernel".into() };
        let input = |view: &View| {
            let layout: Layout = view.layout.clone();
            Ok(ChainInput {
                element: element(view.dtype).ok_or_else(unknown)?,
                operand: spans.operand(view),
                layout,
            })
        };
        let inputs = inputs.iter().map(input).collect::<Result<_, SpecError>>()?;
        let span = spans.tail(&sink)?;
        let element = element(sink.dtype).ok_or_else(unknown)?;
        let outputs = vec![ChainOutput { value, element, span, layout: sink.layout }];
        Ok(Box::new(ChainStep::new(ChainSpec { dims, chain, inputs, outputs }, isa)?))
    });
}
