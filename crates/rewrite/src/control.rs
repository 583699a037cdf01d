//! Control flow whose course is known: an If with a known condition becomes its branch, a Loop with a few known trips its
//! iterations one after the other. Constants that only a body reads move into it, so that its rules can see them.
//!
//! Works on typed graphs, before rules do; conditions that rules make known are met in a second round.

use fusebox_ir::{Attrs, DType, Graph, Node, NodeId, OpName, Tensor, Type, Value, ValueId};
use fusebox_ops::Typing;
use std::collections::BTreeMap;

/// Trips of a loop that are written out at most.
const MAX_TRIPS: i64 = 16;
/// Nodes that writing out a loop may make.
const MAX_NODES: usize = 512;
/// Elements up to which a constant is copied into every body that captures it.
const SMALL: usize = 64;

/// Replaces nodes whose course is known by what they do; returns how many there were. `typing` is that of the graph as
/// it is; types of new values are unknown.
pub(crate) fn resolve(graph: &mut Graph, typing: &Typing) -> usize {
    let mut resolved = 0;
    for id in graph.node_ids() {
        let done = match &*graph.node(id).op.name {
            _ if !graph.node(id).op.domain.is_empty() => false,
            "If" => resolve_if(graph, typing, id),
            "Loop" => resolve_loop(graph, typing, id),
            _ => false,
        };
        resolved += usize::from(done);
    }
    resolved
}

/// Gives bodies the constants that they capture: small ones as copies, large ones when nothing else reads them.
pub(crate) fn sink_constants(graph: &mut Graph) {
    let mut uses: BTreeMap<ValueId, usize> = BTreeMap::new();
    let reads = graph.nodes().flat_map(|(_, node)| node.reads());
    reads.chain(graph.outputs.iter().copied()).for_each(|value| *uses.entry(value).or_default() += 1);
    for id in graph.node_ids() {
        for region in 0..graph.node(id).regions.len() {
            let captures = graph.node(id).regions[region].captures.clone();
            let sinks: Vec<Option<Tensor>> = captures
                .iter()
                .map(|value| {
                    let tensor = graph.constant(*value)?;
                    (tensor.len() <= SMALL || uses.get(value) == Some(&1)).then(|| tensor.clone())
                })
                .collect();
            let region = &mut graph.node_mut(id).regions[region];
            let captured = std::mem::take(&mut region.graph.captured);
            region.captures.clear();
            for ((inner, outer), sink) in captured.into_iter().zip(captures).zip(sinks) {
                match sink {
                    Some(tensor) => {
                        region.graph.value_mut(inner).ty = tensor.ty().into();
                        region.graph.value_mut(inner).constant = Some(tensor);
                    }
                    None => {
                        region.graph.captured.push(inner);
                        region.captures.push(outer);
                    }
                }
            }
        }
    }
}

/// The one number that a value is known to hold; truth values are 0 and 1.
fn known(graph: &Graph, typing: &Typing, value: ValueId) -> Option<i64> {
    if let Some(tensor) = graph.constant(value) {
        let flag =
            || (tensor.dtype() == DType::Bool).then(|| tensor.data().first().map(|b| i64::from(*b != 0)));
        let number = || tensor.integers().and_then(|numbers| numbers.first().copied());
        return if tensor.len() == 1 { flag().flatten().or_else(number) } else { None };
    }
    match typing.dims.get(value.0 as usize)?.as_ref()?.as_slice() {
        [only] => only.value(),
        _ => None,
    }
}

fn resolve_if(graph: &mut Graph, typing: &Typing, id: NodeId) -> bool {
    let Some(condition) = graph.node(id).input(0).and_then(|value| known(graph, typing, value)) else {
        return false;
    };
    let name = if condition != 0 { "then_branch" } else { "else_branch" };
    let Some(region) = graph.node(id).regions.iter().position(|region| region.name == name) else {
        return false;
    };
    if graph.node(id).outputs.len() > graph.node(id).regions[region].graph.outputs.len() {
        return false;
    }
    let Some(mut node) = graph.remove_node(id) else { return false };
    let region = node.regions.swap_remove(region);
    let results = inline(graph, &region.graph, &[], &region.captures, "");
    for (output, result) in node.outputs.iter().zip(results) {
        if let Some(output) = output {
            stand_for(graph, *output, result);
        }
    }
    true
}

fn resolve_loop(graph: &mut Graph, typing: &Typing, id: NodeId) -> bool {
    let node = graph.node(id);
    let number = |index: usize| node.input(index).map(|value| known(graph, typing, value));
    let Some(region) = node.regions.iter().find(|region| region.name == "body") else { return false };
    let body = &region.graph;
    let carried = node.inputs.len().saturating_sub(2);
    let fits = body.inputs.len() == carried + 2
        && body.outputs.len() > carried
        && node.outputs.len() < body.outputs.len()
        && node.inputs.iter().skip(2).all(Option::is_some);
    let goes_on = node.input(1).is_none() || (number(1) == Some(Some(1)) && always_goes_on(body));
    let never = number(1) == Some(Some(0));
    let (Some(Some(trips)), true) = (number(0), fits && (goes_on || never)) else {
        return never && fits && skip(graph, id, carried);
    };
    let trips = if never { 0 } else { trips.max(0) };
    if trips == 0 {
        return skip(graph, id, carried);
    }
    if trips > MAX_TRIPS || body.total_node_count().saturating_mul(trips as usize) > MAX_NODES {
        return false;
    }
    let Some(mut node) = graph.remove_node(id) else { return false };
    let region = node.regions.swap_remove(0);
    let mut state: Vec<ValueId> = node.inputs.iter().skip(2).flatten().copied().collect();
    let mut seen: Vec<Vec<ValueId>> = vec![Vec::new(); region.graph.outputs.len() - 1 - carried];
    let go_on = graph.add_constant("", truth());
    for trip in 0..trips {
        let index = graph.add_constant("", Tensor::scalar(trip));
        let actuals: Vec<ValueId> = [index, go_on].into_iter().chain(state).collect();
        let results = inline(graph, &region.graph, &actuals, &region.captures, &format!("_{trip}"));
        state = results[1..=carried].to_vec();
        seen.iter_mut().zip(&results[1 + carried..]).for_each(|(list, value)| list.push(*value));
    }
    let stacked: Vec<Option<Vec<ValueId>>> =
        (0..carried).map(|_| None).chain(seen.into_iter().map(Some)).collect();
    for (position, (output, list)) in node.outputs.iter().zip(stacked).enumerate() {
        let Some(output) = output else { continue };
        match list {
            None => stand_for(graph, *output, state[position]),
            Some(list) => stack(graph, *output, &list),
        }
    }
    true
}

fn truth() -> Tensor {
    Tensor::from_bools(vec![], [true]).expect("one element fills a scalar")
}

/// Replaces a loop without iterations; one that collects stays, for its result has a type to keep.
fn skip(graph: &mut Graph, id: NodeId, carried: usize) -> bool {
    if graph.node(id).outputs.iter().skip(carried).any(Option::is_some) {
        return false;
    }
    let Some(node) = graph.remove_node(id) else { return false };
    for (output, input) in node.outputs.iter().zip(node.inputs.iter().skip(2)) {
        if let (Some(output), Some(input)) = (output, input) {
            stand_for(graph, *output, *input);
        }
    }
    true
}

/// Whether the body hands on the condition that it was given, or one that is always true.
fn always_goes_on(body: &Graph) -> bool {
    let Some(mut value) = body.outputs.first().copied() else { return false };
    while let Some((producer, _)) = body.value(value).producer
        && body.node(producer).op.is("Identity")
        && let Some(source) = body.node(producer).input(0)
    {
        value = source;
    }
    let holds =
        |tensor: &Tensor| tensor.dtype() == DType::Bool && tensor.data().iter().all(|byte| *byte != 0);
    body.inputs.get(1) == Some(&value) || body.constant(value).is_some_and(holds)
}

/// Makes `output` the value of `result`: readers that name it keep it.
fn stand_for(graph: &mut Graph, output: ValueId, result: ValueId) {
    graph.add_node(Node::new(OpName::onnx("Identity"), [Some(result)], [Some(output)], Attrs::new()));
}

/// Makes `output` the values of a list along a new first axis.
fn stack(graph: &mut Graph, output: ValueId, list: &[ValueId]) {
    let axes = graph.add_constant("", Tensor::vector(vec![0i64]));
    let rows: Vec<Option<ValueId>> = list
        .iter()
        .map(|value| {
            let row = graph.add_typed(Type::Unknown);
            let unsqueeze = OpName::onnx("Unsqueeze");
            graph.add_node(Node::new(unsqueeze, [Some(*value), Some(axes)], [Some(row)], Attrs::new()));
            Some(row)
        })
        .collect();
    graph.add_node(Node::new(OpName::onnx("Concat"), rows, [Some(output)], Attrs::new().with("axis", 0)));
}

/// Copies a body into the graph and returns what its outputs are there. Names of nodes get `suffix`; values lose theirs.
fn inline(
    graph: &mut Graph,
    body: &Graph,
    actuals: &[ValueId],
    captures: &[ValueId],
    suffix: &str,
) -> Vec<ValueId> {
    let mut map: Vec<Option<ValueId>> = vec![None; body.value_count()];
    let formals = body.inputs.iter().zip(actuals).chain(body.captured.iter().zip(captures));
    formals.for_each(|(formal, actual)| map[formal.0 as usize] = Some(*actual));
    let mut place = |graph: &mut Graph, value: ValueId| {
        *map[value.0 as usize].get_or_insert_with(|| match &body.value(value).constant {
            Some(tensor) => graph.add_constant("", tensor.clone()),
            // The body's symbols are not the graph's: types are inferred afresh.
            None => graph.add_value(Value::default()),
        })
    };
    for (_, node) in body.nodes() {
        let mut copy = node.clone();
        if !copy.name.is_empty() {
            copy.name.push_str(suffix);
        }
        for value in copy.inputs.iter_mut().flatten().chain(copy.outputs.iter_mut().flatten()) {
            *value = place(graph, *value);
        }
        for value in copy.regions.iter_mut().flat_map(|region| &mut region.captures) {
            *value = place(graph, *value);
        }
        graph.add_node(copy);
    }
    body.outputs.iter().map(|value| place(graph, *value)).collect()
}
