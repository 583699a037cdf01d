//! How much work a graph is: FLOPs, bytes moved, and the time that a roofline predicts from them.

use crate::Model;
use crate::sizes::{self, Sizes};
use fusebox_ir::{Graph, Node, NodeId, Tensor, Type, ValueId};
use fusebox_ops::{Cost, Shapes};
use serde::Serialize;
use std::collections::BTreeSet;

/// Work of one evaluation of a graph, sizes being given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Nodes, those of subgraphs included.
    pub nodes: usize,
    /// Floating-point operations; a multiply-add counts two.
    pub flops: f64,
    /// Bytes that nodes read and write.
    pub bytes: f64,
    /// Seconds that a roofline over FLOPs and bytes predicts, with a constant per step.
    pub seconds: f64,
    /// Bytes of constants, each counted once.
    pub weight_bytes: f64,
    /// Elements of float and quantized constants.
    pub parameters: f64,
    /// Largest sum of the bytes of values that are needed at the same time, weights not counted.
    pub peak_activation_bytes: f64,
}

/// Work of a node under the types that the graph gives; symbols that are left count as one.
pub fn of_node(graph: &Graph, node: &Node) -> Cost {
    let Some(op) = fusebox_ops::op(&node.op) else { return Cost::default() };
    let of = |slot: &Option<ValueId>| slot.and_then(|v| graph.value(v).ty.tensor());
    let inputs: Vec<_> = node.inputs.iter().map(of).collect();
    let outputs: Vec<_> = node.outputs.iter().map(of).collect();
    op.cost(&Shapes { attrs: &node.attrs, inputs: &inputs, outputs: &outputs, assume: &|_| 1 })
}

/// Adds the constants that a graph's nodes read, each once, and those of its bodies.
fn add_constants(work: &mut Work, graph: &Graph) {
    let reads = graph.nodes().flat_map(|(_, node)| node.reads());
    let constants: BTreeSet<ValueId> = reads.filter(|v| graph.constant(*v).is_some()).collect();
    for tensor in constants.iter().filter_map(|v| graph.constant(*v)) {
        work.weight_bytes += tensor.data().len() as f64;
        if tensor.dtype().is_float() || tensor.dtype().bits() <= 8 {
            work.parameters += tensor.len() as f64;
        }
    }
    let bodies = graph.nodes().flat_map(|(_, node)| &node.regions);
    bodies.for_each(|body| add_constants(work, &body.graph));
}

/// Work of a typed graph with sizes for its symbols.
pub fn of_graph(graph: &Graph, sizes: &Sizes) -> Work {
    let mut graph = graph.clone();
    sizes::substitute_typed(&mut graph, sizes);
    let mut work = Work { nodes: graph.total_node_count(), ..Work::default() };
    add_nodes(&mut work, &graph);
    work.seconds =
        fusebox_rewrite::totals(&graph, &crate::optimize::machine(sizes)).picoseconds as f64 * 1e-12;
    add_constants(&mut work, &graph);
    work.peak_activation_bytes = peak(&graph, &|_| true);
    work
}

/// Least bytes that the reference holds at once when it evaluates a model on these inputs, weights and results that share
/// their operand's memory not counted; 0 where the types do not fit, which the evaluation reports better. What a node
/// needs while it is evaluated, and what happens in subgraphs, comes on top.
pub(crate) fn held_by_reference(model: &Model, inputs: &[Option<Tensor>]) -> f64 {
    let mut graph = model.graph.clone();
    for (id, tensor) in graph.inputs.clone().into_iter().zip(inputs) {
        if let Some(tensor) = tensor {
            graph.value_mut(id).ty = tensor.ty().into();
        }
    }
    match fusebox_ops::infer_graph(&mut graph, &model.functions) {
        Ok(_) => peak(&graph, &|node| of_node(&graph, node).bytes > 0.0),
        Err(_) => 0.0,
    }
}

/// Adds FLOPs and bytes of a graph's nodes; a body counts once, however often it runs.
fn add_nodes(work: &mut Work, graph: &Graph) {
    for (_, node) in graph.nodes() {
        let cost = of_node(graph, node);
        work.flops += cost.flops;
        work.bytes += cost.bytes;
        node.regions.iter().for_each(|region| add_nodes(work, &region.graph));
    }
}

/// Bytes of the largest set of values alive at once, in topological order; of nodes only those that are `counted`.
fn peak(graph: &Graph, counted: &dyn Fn(&Node) -> bool) -> f64 {
    let mut free = BTreeSet::new();
    for (_, node) in graph.nodes().filter(|(_, node)| !counted(node)) {
        free.extend(node.outputs.iter().flatten().copied());
    }
    let Ok(order) = graph.topological() else { return 0.0 };
    let mut uses = vec![0usize; graph.value_count()];
    for (_, node) in graph.nodes() {
        node.reads().for_each(|v| uses[v.0 as usize] += 1);
    }
    for value in &graph.outputs {
        uses[value.0 as usize] += 1;
    }
    let bytes = |value: ValueId| match &graph.value(value).ty {
        Type::Tensor(ty) if graph.constant(value).is_none() && !free.contains(&value) => {
            let elements = ty.elements().and_then(|d| d.value()).unwrap_or(0).max(0);
            elements as f64 * ty.dtype.bits() as f64 / 8.0
        }
        _ => 0.0,
    };
    let mut alive: f64 = graph.inputs.iter().map(|v| bytes(*v)).sum();
    let mut peak = alive;
    let mut step = |id: NodeId| {
        let node = graph.node(id);
        alive += node.outputs.iter().flatten().map(|v| bytes(*v)).sum::<f64>();
        peak = peak.max(alive);
        for value in node.reads() {
            let left = &mut uses[value.0 as usize];
            if *left == 1 {
                alive -= bytes(value);
            }
            *left = left.saturating_sub(1);
        }
        let unread = node.outputs.iter().flatten().filter(|value| uses[value.0 as usize] == 0);
        alive -= unread.map(|value| bytes(*value)).sum::<f64>();
    };
    order.into_iter().for_each(&mut step);
    peak
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Attrs, Builder, DType, Dim, TensorType};

    #[test]
    fn a_chain_keeps_two_values_alive_and_counts_its_constant_once() {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n"), Dim::known(4)]));
        let w = b.constant(Tensor::vector(vec![1f32; 4]));
        let mut y = x;
        for _ in 0..3 {
            y = b.op("Add", &[y, w]);
        }
        let mut graph = b.finish(&[y]);
        fusebox_ops::infer_graph(&mut graph, &[]).unwrap();
        let work = of_graph(&graph, &Sizes::from([("n".into(), 10)]));
        assert_eq!((work.nodes, work.parameters, work.weight_bytes), (3, 4.0, 16.0));
        assert_eq!(work.flops, 120.0);
        assert_eq!(work.peak_activation_bytes, 320.0);
    }
    #[test]
    fn the_reference_holds_what_is_alive_without_views() {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n")]));
        let twice = b.op_with("Concat", &[x, x], Attrs::new().with("axis", 0i64));
        let column = b.constant(Tensor::vector(vec![-1i64, 1]));
        let mut y = b.op("Reshape", &[twice, column]);
        y = b.op("Relu", &[y]);
        let graph = b.finish(&[y]);
        let model = Model::from(fusebox_ir::Model { graph, ..fusebox_ir::Model::default() });
        let held = |n| held_by_reference(&model, &[Some(Tensor::vector(vec![0f32; n]))]);
        assert_eq!(held(10), 40.0 + 80.0);
        assert_eq!(held_by_reference(&model, &[Some(Tensor::scalar(0f32))]), 0.0, "scalars cannot be joined");
    }
}
