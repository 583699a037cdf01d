//! Control flow whose course is known disappears; what remains has its bodies rewritten.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_ir::{
    Attrs, Builder, DType, Dim, Graph, Node, OpName, Region, Tensor, TensorType, Type, ValueId,
};
use fusebox_ops::{Datum, Interpreter};
use fusebox_rewrite::{Options, RuleSet, optimize};

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let data: Vec<Option<Datum>> = inputs.iter().map(|t| Some(Datum::Tensor(t.clone()))).collect();
    let outputs = Interpreter::new(&[]).run(graph, &data, &[]).unwrap();
    outputs.into_iter().map(|datum| datum.into_tensor().unwrap()).collect()
}

/// Optimizes, and compares with the original on `inputs`.
fn optimized(graph: &Graph, inputs: &[Tensor]) -> Graph {
    let mut new = graph.clone();
    optimize(&mut new, &[], &RuleSet::builtin(), &Options::default()).unwrap();
    for (a, b) in run(graph, inputs).iter().zip(run(&new, inputs)) {
        assert_eq!(a.shape(), b.shape());
        for (x, y) in a.floats().unwrap().iter().zip(b.floats().unwrap()) {
            assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0), "{x} against {y}");
        }
    }
    new
}

fn count(graph: &Graph, name: &str) -> usize {
    graph.nodes().filter(|(_, node)| &*node.op.name == name).count()
}

fn with_region(
    b: &mut Builder,
    op: &str,
    inputs: &[ValueId],
    regions: Vec<Region>,
    outputs: usize,
) -> Vec<ValueId> {
    let outputs: Vec<ValueId> = (0..outputs).map(|_| b.graph.add_typed(Type::Unknown)).collect();
    let mut node = Node::new(
        OpName::onnx(op),
        inputs.iter().copied().map(Some),
        outputs.iter().copied().map(Some),
        Attrs::new(),
    );
    node.regions = regions;
    b.graph.add_node(node);
    outputs
}

fn matrix(rows: usize, columns: usize) -> Tensor {
    let at = |i: usize| ((i * 37) % 19) as f32 / 8.0 - 1.0;
    Tensor::from_vec(vec![rows, columns], (0..rows * columns).map(at).collect()).unwrap()
}

/// A branch that applies `op` to the one value that it captures.
fn branch(name: &str, op: &str, captured: ValueId) -> Region {
    let mut b = Builder::new();
    let x = b.graph.add_typed(Type::Unknown);
    b.graph.captured.push(x);
    let y = b.op(op, &[x]);
    Region { name: name.into(), graph: b.finish(&[y]), captures: vec![captured] }
}

#[test]
fn an_if_on_a_known_size_becomes_its_branch() {
    for (rows, chosen) in [(4usize, "Neg"), (5, "Abs")] {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::known(DType::F32, &[rows, 3]));
        let shape = b.op("Shape", &[x]);
        let (zero, four) = (b.constant(Tensor::scalar(0i64)), b.constant(Tensor::scalar(4i64)));
        let first = b.op("Gather", &[shape, zero]);
        let condition = b.op("Equal", &[first, four]);
        let branches = vec![branch("else_branch", "Abs", x), branch("then_branch", "Neg", x)];
        let y = with_region(&mut b, "If", &[condition], branches, 1)[0];
        let graph = b.finish(&[y]);
        let new = optimized(&graph, &[matrix(rows, 3)]);
        assert_eq!((new.node_count(), count(&new, chosen)), (1, 1));
    }
}

#[test]
fn an_if_on_data_keeps_both_branches() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n"), Dim::known(3)]));
    let condition = b.input("c", TensorType::new(DType::Bool, []));
    let branches = vec![branch("else_branch", "Abs", x), branch("then_branch", "Neg", x)];
    let y = with_region(&mut b, "If", &[condition], branches, 1)[0];
    let graph = b.finish(&[y]);
    for flag in [false, true] {
        let new = optimized(&graph, &[matrix(2, 3), Tensor::from_bools(vec![], [flag]).unwrap()]);
        assert_eq!(count(&new, "If"), 1);
    }
}

/// A loop that carries `tanh(carried @ w)` and collects it, `w` captured.
fn repeated(trips: Option<i64>) -> Graph {
    let mut body = Builder::new();
    body.input("i", TensorType::new(DType::I64, []));
    let go_on = body.input("c", TensorType::new(DType::Bool, []));
    let carried = body.input("carried", TensorType::known(DType::F32, &[4, 4]));
    let w = body.graph.add_typed(Type::Unknown);
    body.graph.captured = vec![w];
    let bias = body.constant(matrix(1, 4).reshaped(vec![4]).unwrap());
    let product = body.op("MatMul", &[carried, w]);
    let sum = body.op("Add", &[product, bias]);
    let tanh = body.op("Tanh", &[sum]);
    let again = body.op("Identity", &[go_on]);
    let body = body.finish(&[again, tanh, tanh]);
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[4, 4]));
    let w = b.constant(matrix(4, 4));
    let count = match trips {
        Some(trips) => b.constant(Tensor::scalar(trips)),
        None => b.input("trips", TensorType::new(DType::I64, [])),
    };
    let go_on = b.constant(Tensor::from_bools(vec![], [true]).unwrap());
    let body = Region { name: "body".into(), graph: body, captures: vec![w] };
    let outputs = with_region(&mut b, "Loop", &[count, go_on, x], vec![body], 2);
    b.finish(&outputs)
}

#[test]
fn a_few_known_trips_are_written_out_and_fused() {
    let new = optimized(&repeated(Some(3)), &[matrix(4, 4)]);
    assert_eq!((count(&new, "Loop"), count(&new, "MatMul"), count(&new, "Linear")), (0, 0, 3));
}

#[test]
fn many_trips_stay_a_loop_whose_body_is_fused_around_its_own_weights() {
    for (graph, inputs) in [
        (repeated(Some(100)), vec![matrix(4, 4)]),
        (repeated(None), vec![matrix(4, 4), Tensor::scalar(3i64)]),
    ] {
        let new = optimized(&graph, &inputs);
        let (_, node) = new.nodes().find(|(_, node)| node.op.is("Loop")).unwrap();
        assert_eq!(node.regions[0].captures, []);
        assert_eq!(count(&node.regions[0].graph, "Linear"), 1);
    }
}
