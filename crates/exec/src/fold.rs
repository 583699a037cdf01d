//! Computes, once per session, the nodes that only read constants: weights that a file stores in integers or halves.
//!
//! Owns which nodes those are and how much memory they may take. Refuses to know operators: each is evaluated by its
//! reference. What does not fit the allowance stays a node and runs with the others.

use fusebox_ir::{Function, Graph, NodeId, Tensor, Type, Value, ValueId};
use fusebox_ops::typing::Typer;
use fusebox_ops::{Datum, Interpreter, Purity};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that constants of any model may take in all.
const ALLOWANCE: usize = 64 << 20;
/// Bytes for each byte of the model's own constants: halves of a byte as floats.
const WIDENING: usize = 8;
/// Longest chain of operators that is computed; one round costs a walk over the graph.
const MOST_ROUNDS: usize = 16;
/// Constants of fewer bytes at one depth are computed by one thread.
const WORTH_THREADS: usize = 1 << 20;

/// Replaces what only reads constants by constants.
pub(crate) fn fold(graph: &mut Graph, functions: &[Function], threads: usize) {
    let own: usize = graph.values().filter_map(|(_, v)| v.constant.as_ref()).map(|t| t.data().len()).sum();
    let mut left = own.saturating_mul(WIDENING).saturating_add(ALLOWANCE);
    let mut made: Vec<ValueId> = Vec::new();
    for _ in 0..MOST_ROUNDS {
        let ready = ready(graph, functions, &mut left);
        let before = made.len();
        for (id, tensors) in compute(graph, functions, &ready, threads) {
            let Some(node) = graph.remove_node(id) else { continue };
            for (value, tensor) in node.outputs.iter().zip(tensors) {
                if let (Some(value), Some(tensor)) = (value, tensor) {
                    made.push(*value);
                    let ty = tensor.ty().into();
                    let name = graph.value(*value).name.clone();
                    let value = graph.value_mut(*value);
                    *value = Value { name, ty, constant: Some(tensor), ..Value::default() };
                }
            }
        }
        if made.len() == before {
            break;
        }
    }
    let readers = graph.readers();
    for value in made.into_iter().filter(|value| readers[value.0 as usize].is_empty()) {
        *graph.value_mut(value) = Value::default();
    }
}

/// Nodes all of whose operands are constants now, as far as their results fit into what is `left`.
fn ready(graph: &Graph, functions: &[Function], left: &mut usize) -> Vec<(NodeId, usize)> {
    let is_constant =
        |value: ValueId| graph.value(value).constant.is_some() && !graph.inputs.contains(&value);
    let mut typer = Typer::new(graph, functions);
    let mut ready = Vec::new();
    for (id, node) in graph.nodes() {
        let pure = fusebox_ops::op(&node.op).is_some_and(|op| op.schema().purity == Purity::Pure);
        let reads = node.reads().count();
        if !pure || !node.regions.is_empty() || reads == 0 || !node.reads().all(is_constant) {
            continue;
        }
        let outputs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        if outputs.iter().any(|value| graph.outputs.contains(value)) || typer.node(id).is_err() {
            continue;
        }
        let size = |value: &ValueId| match &typer.types[value.0 as usize] {
            Type::Tensor(ty) => ty
                .sizes()?
                .into_iter()
                .try_fold(ty.dtype.bits().div_ceil(8), |bytes: usize, size| bytes.checked_mul(size)),
            _ => None,
        };
        let bytes = outputs.iter().map(size).try_fold(0usize, |all, bytes| all.checked_add(bytes?));
        if let Some(bytes) = bytes.filter(|bytes| bytes <= left) {
            *left -= bytes;
            ready.push((id, bytes));
        }
    }
    ready
}

type Results = Vec<(NodeId, Vec<Option<Tensor>>)>;

/// Evaluates nodes side by side. One that its operator refuses is missing: it fails when it runs, with its name.
fn compute(graph: &Graph, functions: &[Function], nodes: &[(NodeId, usize)], threads: usize) -> Results {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Results::new();
        loop {
            let Some((id, _)) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) else { return done };
            let node = graph.node(*id);
            let datum = |value: ValueId| graph.constant(value).cloned().map(Datum::Tensor);
            let data: Vec<Option<Datum>> = node.inputs.iter().map(|slot| slot.and_then(datum)).collect();
            let inputs: Vec<Option<&Datum>> = data.iter().map(Option::as_ref).collect();
            if let Ok(results) = Interpreter::new(functions).node(node, &inputs, &[]) {
                done.push((*id, results.into_iter().map(|datum| datum.into_tensor().ok()).collect()));
            }
        }
    };
    let bytes: usize = nodes.iter().map(|(_, bytes)| *bytes).sum();
    let workers = if bytes < WORTH_THREADS { 1 } else { threads.clamp(1, 16).min(nodes.len()) };
    let mut all = std::thread::scope(|scope| {
        let handles: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for handle in handles {
            all.extend(handle.join().expect("evaluation reports errors, it does not panic"));
        }
        all
    });
    all.retain(|(_, results)| results.iter().all(Option::is_some));
    all.sort_by_key(|(id, _)| *id);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Attrs, DType, Node, OpName, TensorType};

    fn weights(graph: &mut Graph, scale: f32) -> ValueId {
        let w = graph.add_constant("w", Tensor::from_vec(vec![2], vec![3i8, -4]).unwrap());
        let s = graph.add_constant("s", Tensor::scalar(scale));
        let real = graph.add_typed(TensorType::known(DType::F32, &[2]));
        graph.add_node(Node::new(
            OpName::onnx("DequantizeLinear"),
            [Some(w), Some(s)],
            [Some(real)],
            Attrs::new(),
        ));
        real
    }

    #[test]
    fn stored_weights_are_read_once_and_what_they_feed_stays() {
        let mut graph = Graph::new();
        let x = graph.add_input("x", TensorType::known(DType::F32, &[2]));
        let real = weights(&mut graph, 0.5);
        let negative = graph.add_typed(TensorType::known(DType::F32, &[2]));
        graph.add_node(Node::new(OpName::onnx("Neg"), [Some(real)], [Some(negative)], Attrs::new()));
        let y = graph.add_typed(TensorType::known(DType::F32, &[2]));
        graph.add_node(Node::new(OpName::onnx("Add"), [Some(x), Some(negative)], [Some(y)], Attrs::new()));
        graph.outputs.push(y);
        fold(&mut graph, &[], 2);
        graph.verify().unwrap();
        assert_eq!(graph.node_count(), 1);
        let found = graph.constant(negative).unwrap().elements::<f32>().unwrap().into_owned();
        assert_eq!(found, [-1.5, 2.0]);
    }

    #[test]
    fn outputs_and_defaults_of_inputs_stay() {
        let mut graph = Graph::new();
        let real = weights(&mut graph, 0.5);
        graph.outputs.push(real);
        let default = graph.add_input("d", TensorType::known(DType::F32, &[]));
        graph.value_mut(default).constant = Some(Tensor::scalar(1f32));
        let y = graph.add_typed(TensorType::known(DType::F32, &[]));
        graph.add_node(Node::new(OpName::onnx("Neg"), [Some(default)], [Some(y)], Attrs::new()));
        graph.outputs.push(y);
        fold(&mut graph, &[], 1);
        assert_eq!(graph.node_count(), 2);
    }
}
