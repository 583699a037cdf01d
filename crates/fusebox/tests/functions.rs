//! Model-local functions: calls stay calls where nothing touched them, and are expanded where rules have work.

use fusebox::verification::{VerifyOptions, verify_optimized};
use fusebox::{Model, OptimizeOptions, optimize};
use fusebox_ir::{Attrs, Builder, DType, Dim, Function, Node, OpName, OpsetImport, Tensor, TensorType};

const DOMAIN: &str = "my.functions";

fn matrix() -> TensorType {
    TensorType::new(DType::F32, [Dim::symbol("n"), Dim::known(4)])
}

fn function(
    name: &str,
    body: impl FnOnce(&mut Builder, fusebox_ir::ValueId) -> fusebox_ir::ValueId,
) -> Function {
    let mut b = Builder::new();
    let x = b.input("x", fusebox_ir::Type::Unknown);
    let y = body(&mut b, x);
    Function {
        domain: DOMAIN.into(),
        name: name.into(),
        graph: b.finish(&[y]),
        opsets: vec![OpsetImport { domain: String::new(), version: 20 }],
        doc: format!("what {name} does"),
        ..Function::default()
    }
}

/// `Plain` is nothing that a rule knows, `Twice` negates twice, `Outer` calls `Plain`, `Unused` is called by nobody.
fn functions() -> Vec<Function> {
    let call = |b: &mut Builder, name: &str, x| {
        let y = b.node(OpName::new(DOMAIN, name), &[Some(x)], 1, Attrs::new())[0];
        b.op("Sin", &[y])
    };
    vec![
        function("Plain", |b, x| {
            let sine = b.op("Sin", &[x]);
            let weights = b.constant(Tensor::vector(vec![1f32, 2.0, 3.0, 4.0]));
            let product = b.op("Mul", &[sine, weights]);
            b.op("Cos", &[product])
        }),
        function("Twice", |b, x| {
            let once = b.op("Neg", &[x]);
            b.op("Neg", &[once])
        }),
        function("Outer", |b, x| call(b, "Plain", x)),
        function("Unused", |b, x| b.op("Exp", &[x])),
    ]
}

fn model(calls: &[&str]) -> Model {
    let mut b = Builder::new();
    let mut x = b.input("x", matrix());
    for name in calls {
        x = b.node(OpName::new(DOMAIN, name), &[Some(x)], 1, Attrs::new())[0];
    }
    let y = b.op("Tanh", &[x]);
    let mut graph = b.finish(&[y]);
    for (index, id) in graph.node_ids().into_iter().enumerate() {
        let node: &mut Node = graph.node_mut(id);
        node.name = format!("node{index}");
        node.metadata.push(("note".into(), format!("of {index}")));
    }
    let opsets =
        [("", 20), (DOMAIN, 1)].map(|(domain, version)| OpsetImport { domain: domain.into(), version });
    let model = fusebox_ir::Model {
        graph,
        functions: functions(),
        opsets: opsets.into(),
        ir_version: 10,
        ..Default::default()
    };
    model.into()
}

fn optimized(calls: &[&str]) -> (Model, Vec<String>) {
    let before = model(calls);
    let (after, report) = optimize(&before, &OptimizeOptions::default()).expect("well typed");
    let verified = verify_optimized(&before, &after, &VerifyOptions::default()).expect("can be evaluated");
    assert!(verified.compared() && verified.passed(), "{verified:?}");
    assert_eq!(report.before.flops > 0.0, report.after.flops > 0.0);
    let nodes = after.graph.nodes().map(|(_, node)| node.op.to_string()).collect();
    (after, nodes)
}

fn names(model: &Model) -> Vec<&str> {
    model.functions.iter().map(|function| function.name.as_str()).collect()
}

#[test]
fn calls_that_no_rule_touches_stay_calls() {
    let (after, nodes) = optimized(&["Plain", "Outer", "Plain"]);
    assert_eq!(nodes, ["my.functions.Plain", "my.functions.Outer", "my.functions.Plain", "Tanh"]);
    assert_eq!(names(&after), ["Plain", "Twice", "Outer", "Unused"]);
    let before = model(&["Plain", "Outer", "Plain"]);
    for ((_, was), (_, is)) in before.graph.nodes().zip(after.graph.nodes()) {
        assert_eq!((&was.name, &was.metadata, &was.attrs), (&is.name, &is.metadata, &is.attrs));
    }
    assert_eq!(after.functions, before.functions);
}

#[test]
fn a_function_that_a_rule_simplifies_is_expanded_and_dropped() {
    let (after, nodes) = optimized(&["Plain", "Twice"]);
    assert_eq!(nodes, ["my.functions.Plain", "Tanh"]);
    assert_eq!(names(&after), ["Plain", "Outer", "Unused"]);
}

#[test]
fn equal_calls_are_computed_once() {
    let mut twin = model(&["Plain"]);
    let (id, call) = twin.graph.nodes().next().map(|(id, node)| (id, node.clone())).expect("a call");
    let copy = twin.graph.add_typed(matrix());
    twin.graph.add_node(Node { outputs: [Some(copy)].into_iter().collect(), name: "twin".into(), ..call });
    let first = twin.graph.node(id).output(0).expect("one output");
    let sum = twin.graph.add_typed(matrix());
    twin.graph.add_node(Node::new(OpName::onnx("Add"), [Some(first), Some(copy)], [Some(sum)], Attrs::new()));
    twin.graph.value_mut(sum).name = "sum".into();
    twin.graph.outputs.push(sum);
    let (after, _) = optimize(&twin, &OptimizeOptions::default()).expect("well typed");
    let calls = after.graph.nodes().filter(|(_, node)| &*node.op.name == "Plain").count();
    assert_eq!(calls, 1);
    let verified = verify_optimized(&twin, &after, &VerifyOptions::default()).expect("can be evaluated");
    assert!(verified.passed(), "{verified:?}");
}

/// A file may carry the mark that expansion uses; it says nothing there.
#[test]
fn marks_in_the_file_are_none() {
    let mut before = model(&["Plain"]);
    let x = before.graph.inputs[0];
    let ids = before.graph.node_ids();
    let relu = before.graph.add_typed(matrix());
    let mut node = Node::new(OpName::onnx("Erf"), [Some(x)], [Some(relu)], Attrs::new());
    node.name = "stranger".into();
    node.metadata.push(("fusebox.call".into(), "0".into()));
    before.graph.add_node(node);
    before.graph.node_mut(ids[0]).inputs[0] = Some(relu);
    before.graph.compact().expect("no cycle");
    let (after, _) = optimize(&before, &OptimizeOptions::default()).expect("well typed");
    let verified = verify_optimized(&before, &after, &VerifyOptions::default()).expect("can be evaluated");
    assert!(verified.passed(), "{verified:?}");
    let nodes: Vec<String> = after.graph.nodes().map(|(_, node)| node.op.name.to_string()).collect();
    assert_eq!(nodes, ["Erf", "Plain", "Tanh"]);
}

/// One result of a call, computed outside as well and merged with it, makes the call's other operand.
#[test]
fn a_call_that_would_wait_for_itself_stays_expanded() {
    let mut b = Builder::new();
    let (left, right) = (b.input("l", fusebox_ir::Type::Unknown), b.input("r", fusebox_ir::Type::Unknown));
    let sine = b.op("Sin", &[left]);
    let cosine = b.op("Cos", &[right]);
    let pair = Function { name: "Pair".into(), graph: b.finish(&[sine, cosine]), ..function("", |_, x| x) };
    for outside_first in [true, false] {
        let mut b = Builder::new();
        let x = b.input("x", matrix());
        let sine = b.op("Sin", &[x]);
        let other = b.op("Exp", &[sine]);
        let both = b.node(OpName::new(DOMAIN, "Pair"), &[Some(x), Some(other)], 2, Attrs::new());
        let (first, second) = if outside_first { (sine, both[0]) } else { (both[0], sine) };
        let mut y = b.op("Sub", &[first, second]);
        y = b.op("Add", &[y, both[0]]);
        y = b.op("Sub", &[y, both[1]]);
        let mut before = model(&[]);
        before.graph = b.finish(&[y]);
        for (index, id) in before.graph.node_ids().into_iter().enumerate() {
            before.graph.node_mut(id).name = format!("node{index}");
        }
        before.functions = vec![pair.clone()];
        let (after, _) = optimize(&before, &OptimizeOptions::default()).expect("well typed");
        assert!(after.graph.nodes().all(|(_, node)| &*node.op.name != "Pair"));
        let verified =
            verify_optimized(&before, &after, &VerifyOptions::default()).expect("can be evaluated");
        assert!(verified.passed(), "{verified:?}");
    }
}
