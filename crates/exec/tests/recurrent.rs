//! LSTM, GRU and RNN on kernels against the reference: every direction, layout and optional operand.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Attr, Attrs, DType, Graph, Model, Node, OpName, Tensor, TensorType, Type};
use fusebox_ops::{Datum, Interpreter};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    op: usize,
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    direction: usize,
    is_batch_first: bool,
    /// Bias, lengths, initial states, peepholes, x transposed.
    has: [bool; 5],
    flag: bool,
    clip: bool,
    outputs: usize,
}

fn noise(shape: &[usize], seed: u64, scale: f32) -> Tensor {
    let bits = |i: usize| (i as u64 + 1 + seed * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let count = shape.iter().product();
    let values = (0..count).map(|i| (bits(i) as f32 / (1 << 23) as f32 - 1.0) * scale).collect();
    Tensor::from_vec(shape.to_vec(), values).unwrap()
}

fn graph(case: &Case) -> Graph {
    let Case { steps, batch, input, hidden, .. } = *case;
    let count = if case.direction == 2 { 2 } else { 1 };
    let (name, gates) = [("LSTM", 4), ("GRU", 3), ("RNN", 1)][case.op];
    let mut graph = Graph::new();
    let first = |a: usize, b: usize| if case.is_batch_first { [b, a] } else { [a, b] };
    let [x0, x1] = first(steps, batch);
    let given = if case.has[4] { [x1, x0, input] } else { [x0, x1, input] };
    let mut x = graph.add_input("x", TensorType::known(DType::F32, &given));
    if case.has[4] {
        let turned = graph.add_typed(TensorType::known(DType::F32, &[x0, x1, input]));
        let perm = Attrs::new().with("perm", vec![1i64, 0, 2]);
        graph.add_node(Node::new(OpName::onnx("Transpose"), [Some(x)], [Some(turned)], perm));
        x = turned;
    }
    let [s0, s1] = first(count, batch);
    let state = TensorType::known(DType::F32, &[s0, s1, hidden]);
    let rows = gates * hidden;
    let scale = 0.5 / (hidden as f32).sqrt();
    let mut inputs = vec![
        Some(x),
        Some(graph.add_constant("w", noise(&[count, rows, input], 1, 0.5))),
        Some(graph.add_constant("r", noise(&[count, rows, hidden], 2, scale))),
        case.has[0].then(|| graph.add_constant("b", noise(&[count, 2 * rows], 3, 0.5))),
        case.has[1].then(|| {
            let lengths = (0..batch).map(|n| (n * 3 % (steps + 1)) as i32).collect();
            graph.add_constant("lengths", Tensor::vector::<i32>(lengths))
        }),
        case.has[2].then(|| graph.add_input("h", state.clone())),
    ];
    if case.op == 0 {
        inputs.push(case.has[2].then(|| graph.add_input("c", state)));
        let peepholes = noise(&[count, 3 * hidden], 4, 0.5);
        inputs.push(case.has[3].then(|| graph.add_constant("p", peepholes)));
    }
    let mut attrs = Attrs::new().with("direction", ["forward", "reverse", "bidirectional"][case.direction]);
    attrs.set("hidden_size", hidden as i64);
    attrs.set("layout", i64::from(case.is_batch_first));
    match case.op {
        0 => attrs.set("input_forget", i64::from(case.flag)),
        1 => attrs.set("linear_before_reset", i64::from(case.flag)),
        _ => {
            let names = vec![if case.flag { b"Relu".to_vec() } else { b"LeakyRelu".to_vec() }; count];
            attrs.set("activations", Attr::Strings(names));
        }
    }
    if case.clip {
        attrs.set("clip", 0.3f32);
    }
    let slots = if case.op == 0 { 3 } else { 2 };
    let outputs: Vec<_> = (0..slots)
        .map(|slot| (case.outputs >> slot & 1 == 1).then(|| graph.add_typed(Type::Unknown)))
        .collect();
    graph.outputs = outputs.iter().flatten().copied().collect();
    graph.add_node(Node::new(OpName::onnx(name), inputs, outputs, attrs));
    graph
}

fn check(case: &Case) {
    let model = Model { graph: graph(case), ..Model::default() };
    let inputs: Vec<(String, Tensor)> = model
        .graph
        .inputs
        .iter()
        .enumerate()
        .map(|(seed, id)| {
            let value = model.graph.value(*id);
            (value.name.clone(), noise(&value.ty.tensor().unwrap().sizes().unwrap(), 10 + seed as u64, 1.0))
        })
        .collect();
    let data: Vec<Option<Datum>> = inputs.iter().map(|(_, t)| Some(Datum::Tensor(t.clone()))).collect();
    let expected = Interpreter::new(&[]).run(&model.graph, &data, &[]).unwrap();
    for threads in [1, 3] {
        let session = Session::new(&model, SessionOptions { threads, isa: None }).unwrap();
        let given: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        let (found, profile) = session.profile(&given).unwrap();
        let left: Vec<_> = profile.steps.iter().filter_map(|step| step.fallback.clone()).collect();
        assert!(left.is_empty(), "{left:?}");
        for ((_, ours), reference) in found.iter().zip(&expected) {
            let reference = reference.tensor().unwrap();
            assert_eq!(reference.shape(), ours.shape());
            for (x, y) in reference.floats().unwrap().iter().zip(ours.floats().unwrap()) {
                assert!((x - y).abs() <= 2e-5 * x.abs().max(1.0), "{x} against {y}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn layers_agree_with_the_reference(
        op in 0_usize..3,
        sizes in (1_usize..5, 1_usize..6, 1_usize..9, 1_usize..40),
        direction in 0_usize..3,
        flags in any::<[bool; 3]>(),
        has in any::<[bool; 5]>(),
        outputs in 1_usize..4,
    ) {
        let (steps, batch, input, hidden) = sizes;
        let [is_batch_first, flag, clip] = flags;
        // An LSTM's third output too.
        let outputs = if op == 0 && flag { outputs | 4 } else { outputs };
        check(&Case { op, steps, batch, input, hidden, direction, is_batch_first, has, flag, clip, outputs });
    }
}
