//! Fusion is complete on the corpus, from both exporters: counts of operators before and after, results against the
//! reference for the small models, the same bytes for any number of threads.

use fusebox_ir::Graph;
use fusebox_ops::{Datum, Interpreter};
use fusebox_rewrite::{Options, Report, RuleSet, optimize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn path(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(model)
}

fn optimized(model: &str, options: &Options) -> (Graph, Graph, Report) {
    let mut loaded =
        fusebox_onnx::load(path(model), &fusebox_onnx::LoadOptions::default()).expect("corpus model");
    let original = loaded.graph.clone();
    let report = optimize(&mut loaded.graph, &loaded.functions, &RuleSet::builtin(), options)
        .unwrap_or_else(|e| panic!("{model}: {e}"));
    (original, loaded.graph, report)
}

fn counts(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, node) in graph.nodes() {
        *counts.entry(node.op.to_string()).or_default() += 1;
    }
    counts
}

const EXPORTERS: [&str; 2] = ["", "torchscript/"];
/// What must not be left of attention, norms, activations and sums behind products.
const GONE: [&str; 9] =
    ["Softmax", "Erf", "Sqrt", "ReduceMean", "MatMul", "Sigmoid", "Gelu", "BatchNormalization", "IsNaN"];

fn check(model: &str, expected: &[(&str, usize)]) {
    for exporter in EXPORTERS {
        let file = format!("{exporter}{model}.onnx");
        let (_, graph, report) = optimized(&file, &Options::default());
        let counts = counts(&graph);
        for (op, count) in expected {
            assert_eq!(counts.get(*op).copied().unwrap_or(0), *count, "{op} in {file}: {counts:?}");
        }
        for op in GONE {
            assert!(!counts.contains_key(op), "{op} is left in {file}: {counts:?}");
        }
        assert!(report.after.picoseconds <= report.before.picoseconds);
        assert!(report.limits.is_empty(), "{file}: {:?}", report.limits);
        lone_adds(&file, &graph);
        let missing = graph.nodes().filter(|(_, n)| {
            n.op.domain.as_ref() == "ai.fusebox"
                && (n.metadata("fusebox.rules").is_none() || n.metadata("fusebox.sources").is_none())
        });
        assert_eq!(missing.count(), 0, "{file}: a fused node without provenance");
    }
}

/// No sum reads a product with weights: it would be that product's bias or residual.
fn lone_adds(file: &str, graph: &Graph) {
    for (id, node) in graph.nodes().filter(|(_, n)| n.op.is("Add")) {
        for value in node.inputs.iter().flatten() {
            if let Some((producer, _)) = graph.value(*value).producer {
                let op = graph.node(producer).op.to_string();
                let product = ["MatMul", "ai.fusebox.Linear", "ai.fusebox.NormLinear", "ai.fusebox.Conv"];
                assert!(!product.contains(&op.as_str()), "{file}: {} behind {op}", graph.describe(id));
            }
        }
    }
}

#[test]
fn bert() {
    check(
        "bert_base",
        &[
            ("ai.fusebox.Attention", 12),
            ("ai.fusebox.Linear", 49),
            ("LayerNormalization", 24),
            ("ai.fusebox.SkipLayerNorm", 1),
            ("Transpose", 0),
        ],
    );
}

#[test]
fn whisper() {
    check(
        "whisper_tiny_encoder",
        &[
            ("ai.fusebox.Attention", 4),
            ("ai.fusebox.NormLinear", 8),
            ("ai.fusebox.Linear", 8),
            ("ai.fusebox.Conv", 2),
            ("LayerNormalization", 1),
        ],
    );
}

#[test]
fn clip() {
    check(
        "clip_vit_b32",
        &[("ai.fusebox.Attention", 12), ("ai.fusebox.NormLinear", 25), ("ai.fusebox.Linear", 24)],
    );
}

#[test]
fn attention_models() {
    check(
        "multilayer_attention",
        &[
            ("ai.fusebox.Attention", 4),
            ("ai.fusebox.Linear", 16),
            ("LayerNormalization", 8),
            ("Transpose", 0),
        ],
    );
    check("cross_attention", &[("ai.fusebox.Attention", 1), ("ai.fusebox.Linear", 3), ("Transpose", 0)]);
    check("attention", &[("ai.fusebox.Attention", 1), ("ai.fusebox.Linear", 2), ("Split", 1)]);
    check("vision_attention", &[("ai.fusebox.Attention", 2), ("ai.fusebox.NormLinear", 4)]);
    check("digits_vit", &[("ai.fusebox.Attention", 2), ("ai.fusebox.NormLinear", 4)]);
    check("smallmind_small", &[("ai.fusebox.Attention", 2), ("ai.fusebox.NormLinear", 7)]);
    check("smallmind_medium", &[("ai.fusebox.Attention", 4), ("ai.fusebox.NormLinear", 13)]);
}

#[test]
fn convolutional_models() {
    const ACTIVATIONS: [(&str, usize); 4] = [("Relu", 0), ("HardSwish", 0), ("Swish", 0), ("Conv", 0)];
    for (model, convolutions) in [
        ("production_resnet", 15),
        ("efficientnet_block", 6),
        ("mobilenet_block", 4),
        ("small_cnn", 3),
        ("digits_cnn", 3),
    ] {
        for exporter in EXPORTERS {
            let (_, graph, _) = optimized(&format!("{exporter}{model}.onnx"), &Options::default());
            let counts = counts(&graph);
            let found = |op: &str| counts.get(op).copied().unwrap_or(0);
            assert_eq!(found("ai.fusebox.Conv"), convolutions, "{model}: {counts:?}");
            assert_eq!(
                found("BatchNormalization") + found("Sigmoid") + found("Add"),
                0,
                "{model}: {counts:?}"
            );
            for (op, count) in ACTIVATIONS {
                assert_eq!(found(op), count, "{op} in {model}: {counts:?}");
            }
        }
    }
}

#[test]
fn small_models_compute_the_same() {
    for model in
        ["attention", "cross_attention", "vision_attention", "digits_vit", "smallmind_small", "small_cnn"]
    {
        for exporter in EXPORTERS {
            let file = format!("{exporter}{model}.onnx");
            let (original, graph, _) = optimized(&file, &Options::default());
            let inputs = fusebox_testing::inputs_for(&original, 3);
            let data: Vec<Option<Datum>> = inputs.into_iter().map(|t| Some(t.into())).collect();
            let run = |graph: &Graph| {
                Interpreter::new(&[]).run(graph, &data, &[]).unwrap_or_else(|e| panic!("{file}: {e}"))
            };
            for (expected, found) in run(&original).iter().zip(&run(&graph)) {
                let (expected, found) = (expected.tensor().expect("tensor"), found.tensor().expect("tensor"));
                let agreement =
                    fusebox_testing::compare(expected, found).unwrap_or_else(|e| panic!("{file}: {e:?}"));
                assert!(agreement.cosine >= 0.999_999 && agreement.max_rel <= 1e-4, "{file}: {agreement:?}");
            }
        }
    }
}

#[test]
fn the_same_bytes_for_one_and_eight_threads() {
    let print = |graph: &Graph| {
        fusebox_ir::text::print(
            graph,
            &fusebox_ir::text::PrintOptions { names: true, metadata: true, ..Default::default() },
        )
    };
    for file in [
        "bert_base.onnx",
        "torchscript/clip_vit_b32.onnx",
        "vision_attention.onnx",
        "torchscript/mobilenet_block.onnx",
    ] {
        let with = |threads: usize| optimized(file, &Options { threads, ..Options::default() });
        let (one, eight) = (with(1), with(8));
        assert_eq!(print(&one.1), print(&eight.1), "{file}");
        assert_eq!(one.2, eight.2, "{file}");
    }
}

#[test]
fn optimizing_twice_changes_nothing_more() {
    let (_, mut graph, first) = optimized("torchscript/multilayer_attention.onnx", &Options::default());
    let report =
        optimize(&mut graph, &[], &RuleSet::builtin(), &Options::default()).expect("optimizes again");
    assert_eq!((report.before.nodes, report.after.nodes), (first.after.nodes, first.after.nodes));
    assert_eq!(report.fired, Vec::new());
}
