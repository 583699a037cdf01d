//! The engine's promises: wrong rules stop the run, growth is bounded, names and interfaces stay, order does not matter.

use fusebox_ir::{Attrs, Builder, DType, Dim, Graph, Node, OpName, Tensor, TensorType};
use fusebox_rewrite::instance::random;
use fusebox_rewrite::{Options, RewriteError, RuleSet, optimize};

fn f32s(dims: &[&str]) -> TensorType {
    let dim = |d: &&str| d.parse().map_or_else(|_| Dim::symbol(*d), Dim::known);
    TensorType::new(DType::F32, dims.iter().map(dim).collect::<Vec<_>>())
}

fn weights(b: &mut Builder, shape: &[usize], seed: u64) -> fusebox_ir::ValueId {
    b.constant(random(DType::F32, shape, false, seed).expect("f32"))
}

fn only(text: &str) -> RuleSet {
    let mut rules = RuleSet::empty();
    rules.load_text("test.rules", text).unwrap_or_else(|e| panic!("{e}"));
    rules
}

fn ops(graph: &Graph) -> Vec<String> {
    graph.nodes().map(|(_, n)| n.op.to_string()).collect()
}

#[test]
fn a_rule_that_contradicts_types_is_named() {
    // Right on its example, whose reduced axis has size 1; wrong on every other size, which no trial gives it.
    let rules = only(
        r#"rule wrong.sum : real
             why "a test needs a wrong rule"
             example ?x: f32[1, 1]
             ReduceSum[keepdims=1](?x) => ?x"#,
    );
    let mut b = Builder::new();
    let x = b.input("x", f32s(&["2", "7"]));
    let y = b.op("ReduceSum", &[x]);
    let z = b.op("Exp", &[y]);
    let mut graph = b.finish(&[z]);
    let before = graph.clone();
    let error = optimize(&mut graph, &[], &rules, &Options::default()).expect_err("1 is not 7");
    let RewriteError::Conflict { rule, at, .. } = &error else { panic!("{error}") };
    assert_eq!((rule.as_str(), at.as_str()), ("wrong.sum", "test.rules:1"));
    assert_eq!(graph, before);
}

#[test]
fn towers_of_every_family_grow_linearly() {
    // Eight and sixteen storeys of what rules match: the e-graph may double, not square.
    let nodes = |storeys: usize| {
        let mut b = Builder::new();
        let mut x = b.input("x", f32s(&["batch", "seq", "16"]));
        for storey in 0..storeys as u64 {
            let w = weights(&mut b, &[16, 16], storey);
            let g = weights(&mut b, &[16], 100 + storey);
            let half = b.f32(0.5 + storey as f32);
            let n = b.op("LayerNormalization", &[x, g]);
            let p = b.op("MatMul", &[n, w]);
            let p = b.op("Mul", &[p, half]);
            let split = b.i64s(&[0, 0, 4, 4]);
            let r = b.op("Reshape", &[p, split]);
            let t = b.op_with("Transpose", &[r], Attrs::new().with("perm", vec![0, 2, 1, 3]));
            let k = b.op_with("Transpose", &[t], Attrs::new().with("perm", vec![0, 1, 3, 2]));
            let s = b.op("MatMul", &[t, k]);
            let s = b.op("Softmax", &[s]);
            let o = b.op("MatMul", &[s, t]);
            let o = b.op_with("Transpose", &[o], Attrs::new().with("perm", vec![0, 2, 1, 3]));
            let join = b.i64s(&[0, 0, 16]);
            let o = b.op("Reshape", &[o, join]);
            let gate = b.op("Sigmoid", &[o]);
            let o = b.op("Mul", &[o, gate]);
            x = b.op("Add", &[o, x]);
        }
        let mut graph = b.finish(&[x]);
        let report = optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes");
        assert_eq!(report.limits, Vec::new());
        report.phases.last().expect("four phases").nodes as f64
    };
    let (small, large) = (nodes(8), nodes(16));
    assert!(large < 2.2 * small, "{small} e-nodes for 8 storeys, {large} for 16");
}

#[test]
fn the_order_of_rule_files_does_not_matter() {
    let one = r#"rule a.first : exact
        why "a test"
        example ?x: f32[b, 4]
        Neg(Neg(?x)) => ?x"#;
    let two = r#"rule b.second : real
        why "a test"
        example ?x: f32[b, 4]
        Mul(?x, ?x) => Pow(?x, 2.0)"#;
    let build = |texts: [&str; 2]| {
        let mut rules = RuleSet::empty();
        for text in texts {
            rules.load_text("r.rules", text).expect("loads");
        }
        let mut b = Builder::new();
        let x = b.input("x", f32s(&["b", "4"]));
        let n = b.op("Neg", &[x]);
        let n = b.op("Neg", &[n]);
        let y = b.op("Mul", &[n, x]);
        let mut graph = b.finish(&[y]);
        optimize(&mut graph, &[], &rules, &Options::default()).expect("optimizes");
        graph
    };
    assert_eq!(build([one, two]), build([two, one]));
}

#[test]
fn outputs_keep_their_names_even_when_they_share_a_value() {
    let mut b = Builder::new();
    let x = b.input("x", f32s(&["b", "4"]));
    let y = b.op("Identity", &[x]);
    let z = b.op("Relu", &[x]);
    let one = b.f32(1.0);
    let same = b.op("Mul", &[z, one]);
    let c = b.constant(Tensor::vector(vec![1f32, 2.0]));
    let k = b.op("Neg", &[c]);
    let mut graph = b.finish(&[y, z, same, k]);
    for (value, name) in [(y, "y"), (z, "z"), (same, "same"), (k, "k")] {
        graph.value_mut(value).name = name.into();
    }
    optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes");
    let names: Vec<&str> = graph.outputs.iter().map(|o| graph.value(*o).name.as_str()).collect();
    assert_eq!(names, ["y", "z", "same", "k"]);
    assert_eq!(ops(&graph).iter().filter(|op| *op == "Relu").count(), 1);
    graph.verify().expect("verifies");
}

#[test]
fn random_and_unknown_operators_are_carried_through_and_never_merged() {
    let mut b = Builder::new();
    let x = b.input("x", f32s(&["b", "4"]));
    let random = |b: &mut Builder| b.node(OpName::onnx("RandomNormalLike"), &[Some(x)], 1, Attrs::new())[0];
    let (r, s) = (random(&mut b), random(&mut b));
    let unknown =
        |b: &mut Builder| b.node(OpName::new("com.example", "Mystery"), &[Some(x)], 2, Attrs::new())[1];
    let (u, v) = (unknown(&mut b), unknown(&mut b));
    let sum = b.op("Sum", &[r, s, u, v]);
    let mut graph = b.finish(&[sum]);
    optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes");
    let ops = ops(&graph);
    assert_eq!(ops.iter().filter(|op| *op == "RandomNormalLike").count(), 2);
    assert_eq!(ops.iter().filter(|op| *op == "com.example.Mystery").count(), 2);
}

#[test]
fn constants_fold_but_never_explode() {
    let mut b = Builder::new();
    let x = b.input("x", f32s(&["1000", "1000"]));
    let one = b.f32(2.0);
    let small = b.i64s(&[3, 4]);
    let large = b.i64s(&[1000, 1000]);
    let small = b.op("Expand", &[one, small]);
    let large = b.op("Expand", &[one, large]);
    let sum = b.op("Sub", &[large, x]);
    let mut graph = b.finish(&[sum, small]);
    optimize(&mut graph, &[], &RuleSet::empty(), &Options::default()).expect("optimizes");
    assert_eq!(ops(&graph).iter().filter(|op| *op == "Expand").count(), 1, "four megabytes stay an operator");
}

#[test]
fn a_rule_that_only_removes_nodes_is_reported() {
    let mut b = Builder::new();
    let x = b.input("x", f32s(&["n"]));
    let inner = b.op("Neg", &[x]);
    let outer = b.op("Neg", &[inner]);
    let y = b.op("Exp", &[outer]);
    let mut graph = b.finish(&[y]);
    for (id, name) in graph.node_ids().into_iter().zip(["inner", "outer", "exp"]) {
        graph.node_mut(id).name = name.into();
    }
    let report = optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("well typed");
    assert_eq!(ops(&graph), ["Exp"]);
    let [fired] = &report.fired[..] else { panic!("{:?}", report.fired) };
    assert_eq!((fired.rule.as_str(), fired.sites.len()), ("neg.neg", 1));
    assert_eq!(
        (fired.sites[0].node.as_str(), &fired.sites[0].sources[..]),
        ("outer", &["inner".to_owned(), "outer".to_owned()][..])
    );
}

#[test]
fn bodies_of_regions_are_rewritten_too() {
    let mut inner = Graph::new();
    let captured = inner.add_typed(f32s(&["4"]));
    inner.captured.push(captured);
    let once = inner.add_typed(f32s(&["4"]));
    let twice = inner.add_typed(f32s(&["4"]));
    inner.add_node(Node::new(OpName::onnx("Neg"), [Some(captured)], [Some(once)], Attrs::new()));
    inner.add_node(Node::new(OpName::onnx("Neg"), [Some(once)], [Some(twice)], Attrs::new()));
    let last = inner.add_typed(f32s(&["4"]));
    inner.add_node(Node::new(OpName::onnx("Exp"), [Some(twice)], [Some(last)], Attrs::new()));
    inner.outputs.push(last);
    let mut b = Builder::new();
    let condition = b.input("c", TensorType::known(DType::Bool, &[]));
    let x = b.input("x", f32s(&["4"]));
    let y = b.graph.add_typed(f32s(&["4"]));
    let mut node = Node::new(OpName::onnx("If"), [Some(condition)], [Some(y)], Attrs::new());
    for name in ["else_branch", "then_branch"] {
        node.regions.push(fusebox_ir::Region { name: name.into(), graph: inner.clone(), captures: vec![x] });
    }
    b.graph.add_node(node);
    let mut graph = b.finish(&[y]);
    optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes");
    let (_, node) = graph.nodes().next().expect("the If");
    for region in &node.regions {
        assert_eq!(ops(&region.graph), ["Exp"], "{}", region.name);
    }
}

/// A convolution of weights that are stored as i8, whose scales a quantization annotation names.
fn stored() -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", f32s(&["1", "32", "8", "8"]));
    let w = b.constant(random(DType::I8, &[64, 32, 3, 3], false, 1).expect("i8"));
    let s = b.constant(random(DType::F32, &[64], true, 2).expect("f32"));
    let real = b.op_with("DequantizeLinear", &[w, s], Attrs::new().with("axis", 0));
    let y = b.op("Conv", &[x, real]);
    let mut graph = b.finish(&[y]);
    graph.add_constant("x_scale", Tensor::scalar(0.5f32));
    let field = "quantization_annotation".into();
    graph.carried.push(fusebox_ir::Carried { field, bytes: vec![] });
    graph
}

fn constant_bytes(graph: &Graph) -> usize {
    graph.values().filter_map(|(_, value)| value.constant.as_ref()).map(|tensor| tensor.data().len()).sum()
}

#[test]
fn stored_weights_stay_as_they_are_unless_their_numbers_are_wanted() {
    let mut graph = stored();
    let before = constant_bytes(&graph);
    optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes");
    assert!(constant_bytes(&graph) <= before);
    let options = Options { keep_stored: false, ..Options::default() };
    optimize(&mut graph, &[], &RuleSet::builtin(), &options).expect("optimizes");
    assert!(constant_bytes(&graph) > 3 * before);
}

#[test]
fn constants_that_annotations_name_stay() {
    let held = |graph: &Graph| graph.values().any(|(_, value)| value.name == "x_scale");
    let mut graph = stored();
    optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes");
    assert!(held(&graph));
    let mut graph = stored();
    graph.carried.clear();
    optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes");
    assert!(!held(&graph));
}
