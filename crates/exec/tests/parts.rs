//! Views: parts of larger buffers as outputs of the graph and inputs of nodes without a kernel, and nodes that are only
//! sometimes the identity.

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Attrs, DType, Graph, Model, Node, OpName, Tensor, TensorType};

/// `x` cut into three; the parts are outputs, and so is what the reference makes of the first and the last.
fn graph() -> Graph {
    let mut graph = Graph::new();
    let x = graph.add_input("x", TensorType::known(DType::F32, &[6]));
    let mut value = |name: &str| {
        let id = graph.add_typed(TensorType::known(DType::F32, &[2]));
        graph.value_mut(id).name = name.into();
        id
    };
    let parts = [value("a"), value("b"), value("c")];
    let hard = [value("d"), value("e")];
    let attrs = Attrs::new().with("axis", 0i64).with("num_outputs", 3i64);
    graph.add_node(Node::new(OpName::onnx("Split"), [Some(x)], parts.map(Some), attrs));
    for (from, to) in [(parts[0], hard[0]), (parts[2], hard[1])] {
        graph.add_node(Node::new(OpName::onnx("Hardmax"), [Some(from)], [Some(to)], Attrs::new()));
    }
    graph.outputs.extend(parts.into_iter().chain(hard));
    graph
}

#[test]
fn a_part_at_the_start_of_a_buffer_is_no_longer_than_itself() {
    let model = Model { graph: graph(), ..Model::default() };
    let session = Session::new(&model, SessionOptions { threads: 1, ..Default::default() }).unwrap();
    let found = session.run(&[("x", Tensor::vector(vec![1f32, 2.0, 3.0, 4.0, 6.0, 5.0]))]).unwrap();
    let vectors: Vec<Vec<f64>> = found.iter().map(|(_, tensor)| tensor.floats().unwrap()).collect();
    assert_eq!(vectors, [[1.0, 2.0], [3.0, 4.0], [6.0, 5.0], [0.0, 1.0], [1.0, 0.0]]);
}

#[test]
fn dropout_that_may_train_is_no_identity() {
    let mut graph = Graph::new();
    let x = graph.add_input("x", TensorType::known(DType::F32, &[4]));
    let training = graph.add_input("training", TensorType::known(DType::Bool, &[]));
    let ratio = graph.add_constant("ratio", Tensor::scalar(0.5f32));
    let y = graph.add_typed(TensorType::known(DType::F32, &[4]));
    let inputs = [Some(x), Some(ratio), Some(training)];
    graph.add_node(Node::new(OpName::onnx("Dropout"), inputs, [Some(y)], Attrs::new()));
    graph.outputs.push(y);
    let model = Model { graph, ..Model::default() };
    let session = Session::new(&model, SessionOptions { threads: 1, ..Default::default() }).unwrap();
    let types = [TensorType::known(DType::F32, &[4]), TensorType::known(DType::Bool, &[])].map(Some);
    let fallbacks = |plan: Result<&fusebox_exec::Plan, Option<&fusebox_exec::Plan>>| {
        plan.ok().unwrap().steps.iter().filter(|step| step.fallback.is_some()).count()
    };
    assert_eq!(session.with_plan(&types, fallbacks).unwrap(), 1);
}
