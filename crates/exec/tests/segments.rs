//! Graphs with sizes that data decides and with bodies: sessions against the reference, and which parts ran on kernels.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_exec::{Profile, Session, SessionOptions};
use fusebox_ir::{
    Attrs, Builder, DType, Dim, Graph, Model, Node, OpName, Region, Tensor, TensorType, ValueId,
};
use fusebox_ops::{Datum, Interpreter};

fn model(graph: Graph) -> Model {
    Model { graph, ..Model::default() }
}

fn matrix(rows: usize, columns: usize, seed: usize) -> Tensor {
    let at = |i: usize| ((i * 37 + seed * 11) % 19) as f32 / 4.0 - 2.0;
    Tensor::from_vec(vec![rows, columns], (0..rows * columns).map(at).collect()).unwrap()
}

/// Runs twice through a session and once by the reference; gives the session's profile.
fn check(session: &Session, inputs: &[(&str, Tensor)]) -> Profile {
    let graph = session.graph();
    let find = |id: &ValueId| inputs.iter().find(|(name, _)| *name == graph.value(*id).name);
    let data: Vec<Option<Datum>> =
        graph.inputs.iter().map(|id| find(id).map(|(_, t)| Datum::Tensor(t.clone()))).collect();
    let expected = Interpreter::new(&[]).run(graph, &data, &[]).unwrap();
    let (outputs, profile) = session.profile(inputs).unwrap();
    assert_eq!(outputs, session.run(inputs).unwrap());
    for ((name, ours), reference) in outputs.iter().zip(expected) {
        let reference = reference.into_tensor().unwrap();
        assert_eq!((ours.dtype(), ours.shape()), (reference.dtype(), reference.shape()), "{name}");
        let numbers = |t: &Tensor| {
            t.floats().unwrap_or_else(|| t.integers().unwrap().iter().map(|i| *i as f64).collect())
        };
        for (a, b) in numbers(ours).iter().zip(numbers(&reference)) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{name}: {a} against {b}");
        }
    }
    profile
}

fn session(graph: Graph) -> Session {
    Session::new(&model(graph), SessionOptions { threads: 2, isa: None }).unwrap()
}

fn kernels<'a>(profile: &'a Profile, part: &str) -> Vec<&'a str> {
    profile.steps.iter().map(|s| s.kernel.as_str()).filter(|k| k.starts_with(part)).collect()
}

/// Rows of `x @ w` whose sum is positive, through another product: sizes depend on data between two products.
fn selection() -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n"), Dim::known(8)]));
    let (w, v) = (b.constant(matrix(8, 8, 1)), b.constant(matrix(8, 4, 2)));
    let y = b.op("MatMul", &[x, w]);
    let axis = b.constant(Tensor::vector(vec![1i64]));
    let sums = b.op_with("ReduceSum", &[y, axis], Attrs::new().with("keepdims", 0));
    let zero = b.f32(0.0);
    let keep = b.op("Greater", &[sums, zero]);
    let rows = b.op_with("Compress", &[y, keep], Attrs::new().with("axis", 0));
    let z = b.op("MatMul", &[rows, v]);
    let z = b.op("Relu", &[z]);
    b.finish(&[z, y])
}

#[test]
fn parts_around_a_data_dependent_size_run_on_kernels() {
    let session = session(selection());
    for rows in [7, 1, 12, 7] {
        let profile = check(&session, &[("x", matrix(rows + 8, 8, 3))]);
        assert_eq!(kernels(&profile, "reference."), ["reference.Compress"]);
        assert_eq!(kernels(&profile, "gemm.").len(), 2);
    }
    assert_eq!(session.footprint().0, 3);
}

#[test]
fn no_rows_left_is_a_size_too() {
    let session = session(selection());
    let x = Tensor::from_vec(vec![3, 8], vec![0f32; 24]).unwrap();
    let outputs = session.run(&[("x", x)]).unwrap();
    assert_eq!(outputs[0].1.shape(), [0, 4]);
}

/// `Loop` over `trips` with a body that multiplies what it carries by a captured constant and adds a captured input.
fn repeated(trips: Option<i64>) -> Graph {
    let mut body = Builder::new();
    body.input("i", TensorType::new(DType::I64, []));
    let go_on = body.input("c", TensorType::new(DType::Bool, []));
    let carried = body.input("carried", TensorType::known(DType::F32, &[4, 4]));
    let (w, x) =
        (body.graph.add_typed(fusebox_ir::Type::Unknown), body.graph.add_typed(fusebox_ir::Type::Unknown));
    body.graph.captured = vec![w, x];
    let product = body.op("MatMul", &[carried, w]);
    let tanh = body.op("Tanh", &[product]);
    let sum = body.op("Add", &[tanh, x]);
    let again = body.op("Identity", &[go_on]);
    let seen = body.op("Identity", &[sum]);
    let body = body.finish(&[again, sum, seen]);

    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[4, 4]));
    let count = match trips {
        Some(trips) => b.constant(Tensor::scalar(trips)),
        None => b.input("trips", TensorType::new(DType::I64, [])),
    };
    let go_on = b.constant(Tensor::from_bools(vec![], [true]).unwrap());
    let w = b.constant(matrix(4, 4, 3));
    let start = b.op("Relu", &[x]);
    let mut node = Node::new(OpName::onnx("Loop"), [Some(count), Some(go_on), Some(start)], [], Attrs::new());
    node.regions.push(Region { name: "body".into(), graph: body, captures: vec![w, x] });
    let outputs: Vec<ValueId> = (0..2).map(|_| b.graph.add_typed(fusebox_ir::Type::Unknown)).collect();
    node.outputs = outputs.iter().copied().map(Some).collect();
    b.graph.add_node(node);
    let last = b.op("Neg", &[outputs[0]]);
    b.finish(&[last, outputs[1]])
}

#[test]
fn bodies_run_by_plans_of_their_own() {
    let known = session(repeated(Some(5)));
    let profile = check(&known, &[("x", matrix(4, 4, 5))]);
    assert_eq!(kernels(&profile, "control."), ["control.Loop"]);
    assert_eq!(kernels(&profile, "reference."), Vec::<&str>::new());
    let session = session(repeated(None));
    for trips in [0i64, 1, 6, 2] {
        // The reference cannot tell the type of what no iteration collects.
        if trips > 0 {
            check(&session, &[("x", matrix(4, 4, 5)), ("trips", Tensor::scalar(trips))]);
        }
    }
}

#[test]
fn an_arena_is_shared_and_does_not_grow_once_shapes_were_seen() {
    let session = session(selection());
    let run = |rows: usize| session.run(&[("x", matrix(rows, 8, 1))]).unwrap();
    run(300);
    let (_, bytes) = session.footprint();
    for rows in 1..100 {
        run(rows);
    }
    let (plans, after) = session.footprint();
    assert_eq!(bytes, after);
    assert!(plans <= fusebox_exec::executor::MAX_PLANS);
}

#[test]
fn an_output_may_be_the_first_part_of_a_larger_value() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[4, 2]));
    let y = b.op("Neg", &[x]);
    let (start, end) = (b.constant(Tensor::vector(vec![0i64])), b.constant(Tensor::vector(vec![2i64])));
    let part = b.op("Slice", &[y, start, end]);
    check(&session(b.finish(&[part])), &[("x", matrix(4, 2, 1))]);
}
