//! The diff says exactly what changed, and nothing about what did not.

use super::*;
use crate::text::{PrintOptions, print, tests as random};
use crate::{Attrs, Builder, DType, Node, NodeId, OpName, Tensor, TensorType, Type, ValueId};
use proptest::prelude::*;

fn weight(layer: usize, which: usize) -> Tensor {
    Tensor::from_vec(vec![4, 4], (0..16).map(|i| (i + layer * 31 + which * 7) as f32).collect()).unwrap()
}

fn name(graph: &mut Graph, value: ValueId, name: &str) {
    let (node, _) = graph.value(value).producer.unwrap();
    name.clone_into(&mut graph.node_mut(node).name);
}

/// Layers of MatMul, bias, sigmoid-GELU and residual; `fused` ones carry what the rewriter writes.
fn layers(count: usize, fused: bool) -> Graph {
    let mut b = Builder::new();
    let mut x = b.input("x", TensorType::known(DType::F32, &[2, 4]));
    for layer in 0..count {
        let (w, bias) = (b.constant(weight(layer, 0)), b.constant(Tensor::vector(vec![layer as f32; 16])));
        let m = b.op("MatMul", &[x, w]);
        name(&mut b.graph, m, &format!("layer.{layer}/MatMul"));
        let y = if fused {
            let out = b.op("QuickGelu", &[m, bias]);
            let (node, _) = b.graph.value(out).producer.unwrap();
            b.graph.node_mut(node).metadata = vec![
                (RULES.into(), "bias;gelu".into()),
                (
                    SOURCES.into(),
                    ["Add", "Mul", "Sigmoid", "Mul_1"].map(|n| format!("layer.{layer}/{n}")).join(";"),
                ),
            ];
            out
        } else {
            let a = b.op("Add", &[m, bias]);
            let k = b.f32(1.702);
            let scaled = b.op("Mul", &[a, k]);
            let s = b.op("Sigmoid", &[scaled]);
            let out = b.op("Mul", &[a, s]);
            for (value, op) in [(a, "Add"), (scaled, "Mul"), (s, "Sigmoid"), (out, "Mul_1")] {
                name(&mut b.graph, value, &format!("layer.{layer}/{op}"));
            }
            out
        };
        x = b.op("Add", &[x, y]);
    }
    b.finish(&[x])
}

#[test]
fn equal_layers_fold_under_their_rule() {
    let diff = diff(&layers(12, false), &layers(12, true), &DiffOptions::default());
    let counts = &diff.counts;
    assert_eq!((counts.removed, counts.added, counts.rewired, counts.unchanged), (48, 12, 0, 24));
    assert_eq!(diff.groups.len(), 1);
    assert_eq!((diff.groups[0].rule.as_str(), diff.groups[0].count()), ("bias; gelu", 12));
    let expected = "\
48 nodes removed, 12 added, 0 rewired, 24 unchanged
  Add 24 -> 12
  Mul 24 -> 0
  QuickGelu 0 -> 12
  Sigmoid 12 -> 0
bias; gelu ×12
@ ×12, first at layer.0/Add
  %1 = MatMul(%0, f32[4, 4]{#HASH})
- %2 = Add(%1, f32[16]{#HASH})
- %3 = Mul(%2, f32[]{1.702})
- %4 = Sigmoid(%3)
- %5 = Mul(%2, %4)
+ %5 = QuickGelu(%1, f32[16]{#HASH})
  %6 = Add(%0, %5)
";
    let text = diff.to_string();
    let mut parts = text.split("{#");
    let first = parts.next().unwrap_or_default().to_owned();
    let masked = parts.fold(first, |text, part| text + "{#HASH" + &part[16..]);
    assert_eq!(masked, expected);
}

#[test]
fn layers_fold_however_much_is_known_of_their_types() {
    let mut before = layers(3, false);
    let last = before.outputs[0];
    let (node, _) = before.value(last).producer.unwrap();
    let branch = before.node(node).input(1).unwrap();
    before.value_mut(branch).ty = TensorType::known(DType::F32, &[2, 4]).into();
    let diff = diff(&before, &layers(3, true), &DiffOptions::default());
    assert_eq!(diff.groups[0].hunks.len(), 1, "{diff}");
}

#[test]
fn every_hunk_shows_without_folding() {
    let options = DiffOptions { fold: false, context: 0, ..DiffOptions::default() };
    let diff = diff(&layers(3, false), &layers(3, true), &options);
    assert_eq!(diff.groups[0].hunks.len(), 3);
    assert_eq!(diff.groups[0].hunks[2].places, ["layer.2/Add"]);
    assert_eq!(diff.groups[0].hunks[2].count(LineKind::Context), 0);
    assert_eq!(diff.groups[0].hunks[2].count(LineKind::Removed), 4);
}

#[test]
fn a_removed_node_shows_who_reads_something_else() {
    let chain = |identity: bool| {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::known(DType::F32, &[2]));
        let w = b.constant(Tensor::vector(vec![3f32, 4.0]));
        let mut y = b.op("Mul", &[x, w]);
        if identity {
            y = b.op("Identity", &[y]);
        }
        let z = b.op("Sqrt", &[y]);
        b.finish(&[z])
    };
    let diff = diff(&chain(true), &chain(false), &DiffOptions::default());
    let expected = "\
1 nodes removed, 0 added, 1 rewired, 1 unchanged
  Identity 1 -> 0
other
@ Identity
  %1 = Mul(%0, f32[2]{3, 4})
- %2 = Identity(%1)
- %3 = Sqrt(%2)
+ %3 = Sqrt(%1)
";
    assert_eq!(diff.to_string(), expected);
}

#[test]
fn a_changed_attribute_constant_and_interface_show() {
    let build = |perm: Vec<i64>, scale: f32, output: bool| {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::known(DType::F32, &[2, 3]));
        let t = b.op_with("Transpose", &[x], Attrs::new().with("perm", perm));
        let k = b.f32(scale);
        let y = b.op("Mul", &[t, k]);
        let outputs = if output { vec![t, y] } else { vec![y] };
        b.finish(&outputs)
    };
    let options = DiffOptions::default();
    let old = build(vec![1, 0], 2.0, false);
    let text = diff(&old, &build(vec![0, 1], 2.0, false), &options).to_string();
    assert!(
        text.contains("- %1 = Transpose[perm=[1, 0]](%0)\n+ %1 = Transpose[perm=[0, 1]](%0)\n  %2 = Mul"),
        "{text}"
    );
    let text = diff(&old, &build(vec![1, 0], 3.0, false), &options).to_string();
    assert!(text.contains("- %2 = Mul(%1, f32[]{2})\n+ %2 = Mul(%1, f32[]{3})\n"), "{text}");
    let text = diff(&old, &build(vec![1, 0], 2.0, true), &options).to_string();
    assert!(text.contains("interface\n@ inputs and outputs\n- graph (%0: f32[2, 3]) -> (%2)\n+ "), "{text}");
    assert!(text.contains("+ graph (%0: f32[2, 3]) -> (%1, %2)\n"), "{text}");
}

#[test]
fn large_graphs_that_repeat_themselves_are_aligned() {
    // One kind of node only, in long chains of different length: the worst case for pairwise comparison.
    let chain = |length: usize| {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::known(DType::F32, &[2]));
        let last = (0..length).fold(x, |x, _| b.op("Relu", &[x]));
        b.finish(&[last])
    };
    let shorter = diff(&chain(20_000), &chain(19_990), &DiffOptions::default());
    assert_eq!((shorter.counts.removed, shorter.counts.added), (10, 0));
    let fused = diff(&layers(1_000, false), &layers(1_000, true), &DiffOptions::default());
    assert_eq!((fused.counts.removed, fused.groups[0].hunks.len()), (4_000, 1));
}

/// Types of computed values are no difference.
fn without_types(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let computed: Vec<ValueId> =
        graph.nodes().flat_map(|(_, n)| n.outputs.iter().flatten().copied()).collect();
    computed.into_iter().for_each(|value| graph.value_mut(value).ty = Type::Unknown);
    graph
}

/// Changes one thing of a graph.
fn mutate(graph: &mut Graph, at: usize, kind: u8) {
    let ids: Vec<NodeId> = graph.node_ids();
    let inputs = graph.inputs.clone();
    let Some(id) = ids.get(at % ids.len().max(1)).copied() else { return };
    match kind {
        0 => graph.node_mut(id).attrs.set("changed", 1),
        1 => graph.node_mut(id).op = OpName::onnx("Changed"),
        2 => graph.node_mut(id).inputs.push(Some(inputs[at % inputs.len()])),
        3 => graph.node_mut(id).inputs.clear(),
        4 => {
            let value = graph.add_typed(Type::Unknown);
            graph.add_node(Node::new(OpName::onnx("Extra"), [Some(inputs[0])], [Some(value)], Attrs::new()));
        }
        5 => graph.outputs.push(inputs[at % inputs.len()]),
        6 => {
            if let Some(Some(value)) = graph.node(id).outputs.first().copied() {
                graph.replace_uses(value, inputs[0]);
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn nothing_differs_exactly_when_the_texts_are_equal(
        graph in random::graph(true), salt in any::<u64>(), at in 0usize..8, kind in 0u8..8,
    ) {
        let before = without_types(&graph);
        let key = |i: usize| (i as u64 + 1).wrapping_mul(salt | 1).rotate_left(29);
        let mut after = random::shuffled(&before, key);
        mutate(&mut after, at, kind);
        let options = PrintOptions { metadata: false, ..PrintOptions::complete() };
        let same = print(&before, &options) == print(&after, &options);
        let diff = diff(&before, &after, &DiffOptions::default());
        prop_assert_eq!(diff.is_empty(), same, "{}\n{}", diff, print(&before, &options));
    }

    #[test]
    fn every_node_is_counted_once(before in random::graph(true), after in random::graph(true)) {
        let diff = diff(&before, &after, &DiffOptions { fold: false, context: 0, inline_limit: 2 });
        let counts = &diff.counts;
        prop_assert_eq!(counts.removed + counts.rewired + counts.unchanged, before.node_count());
        prop_assert_eq!(counts.added + counts.rewired + counts.unchanged, after.node_count());
        let again = super::diff(&before, &after, &DiffOptions { fold: false, context: 0, inline_limit: 2 });
        prop_assert_eq!(diff, again);
    }
}
