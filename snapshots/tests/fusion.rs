//! Fusion is complete: what is left of attention, norms, GELU, biases, batch norms and activations in the corpus.
//!
//! `cargo test -p fusebox-snapshots --test fusion -- --nocapture` prints the counts as a table. Claims are made for
//! both exporters of a model: they spell the same module differently and must end alike.

use fusebox_ir::{Graph, Node};
use fusebox_snapshots::corpus::{self, EXPORTERS};
use std::collections::BTreeSet;

/// Models with attention: name, attention blocks, LayerNorms of the module that was exported.
const TRANSFORMERS: [(&str, usize, usize); 5] = [
    ("bert_base", 12, 25),
    ("whisper_tiny_encoder", 4, 9),
    ("clip_vit_b32", 12, 26),
    ("multilayer_attention", 4, 8),
    ("cross_attention", 1, 0),
];

/// Convolutional models: name, convolutions of the module that was exported.
const CONVOLUTIONAL: [(&str, usize); 6] = [
    ("production_resnet", 15),
    ("small_cnn", 3),
    ("mobilenet_block", 4),
    ("efficientnet_block", 6),
    ("vgg_production", 8),
    ("digits_cnn", 3),
];

/// Operators that compute a product with weights.
const PRODUCTS: [&str; 7] =
    ["MatMul", "Gemm", "Conv", "FusedConv", "ai.fusebox.Linear", "ai.fusebox.NormLinear", "ai.fusebox.Conv"];
/// Operators that normalise a row, alone or before or after something else.
const NORMS: [&str; 4] =
    ["LayerNormalization", "RMSNormalization", "ai.fusebox.SkipLayerNorm", "ai.fusebox.NormLinear"];
/// What a LayerNorm in primitives, a softmax of its own or an unrecognised GELU leaves behind in a transformer.
const PRIMITIVES: [&str; 7] = ["ReduceMean", "Pow", "Sqrt", "Reciprocal", "Softmax", "IsNaN", "Erf"];
/// Element by element, one input that matters.
const ACTIVATIONS: [&str; 14] = [
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Swish",
    "Gelu",
    "Tanh",
    "Softplus",
    "Mish",
];

/// What is counted of one optimized model.
#[derive(Debug)]
struct Counts {
    nodes: (usize, usize),
    attention: usize,
    /// Different values that are normalised, and operators that do it: Q, K and V may each normalise what they read.
    norms: (usize, usize),
    convolutions: usize,
    erf: usize,
    /// Names of nodes that a fusion should have taken in, each with what it is.
    left: Vec<String>,
}

fn op(node: &Node) -> String {
    node.op.to_string()
}

fn of(node: &Node, names: &[&str]) -> bool {
    names.contains(&op(node).as_str())
}

/// The producer of one of a node's inputs, when it is one of `names` and nobody else reads it.
fn only_reader_of<'g>(graph: &'g Graph, node: &Node, names: &[&str]) -> Option<&'g Node> {
    let readers = graph.readers();
    node.reads().find_map(|value| {
        let (producer, _) = graph.value(value).producer?;
        let alone = readers[value.0 as usize].len() == 1 && !graph.outputs.contains(&value);
        let producer = graph.node(producer);
        (alone && of(producer, names)).then_some(producer)
    })
}

fn left(graph: &Graph, primitives: &[&str]) -> Vec<String> {
    let mut left = Vec::new();
    for (id, node) in graph.nodes() {
        let name = graph.describe(id);
        if of(node, primitives) {
            left.push(format!("{name}: a primitive"));
        }
        if of(node, &["Add"])
            && let Some(product) = only_reader_of(graph, node, &PRODUCTS)
        {
            left.push(format!("{name}: a lone Add after {}", op(product)));
        }
        if of(node, &["BatchNormalization"]) {
            left.push(format!("{name}: a lone BatchNormalization"));
        }
        if of(node, &ACTIVATIONS)
            && let Some(product) = only_reader_of(graph, node, &PRODUCTS)
        {
            left.push(format!("{name}: a lone activation after {}", op(product)));
        }
    }
    left
}

/// How many different values are normalised.
fn normalised(graph: &Graph) -> usize {
    let norms = graph.nodes().filter(|(_, node)| of(node, &NORMS));
    norms
        .map(|(_, node)| (node.input(0), op(node).contains("Skip").then(|| node.input(1))))
        .collect::<BTreeSet<_>>()
        .len()
}

fn counts(name: &str, primitives: &[&str]) -> Counts {
    let model = corpus::load(name);
    let (optimized, report) = corpus::optimized(name, &model, 2);
    let graph = &optimized.graph;
    let number = |names: &[&str]| graph.nodes().filter(|(_, node)| of(node, names)).count();
    Counts {
        nodes: (report.before.nodes, report.after.nodes),
        attention: number(&["Attention", "ai.fusebox.Attention"]),
        norms: (normalised(graph), number(&NORMS)),
        convolutions: number(&["Conv", "ai.fusebox.Conv"]),
        erf: number(&["Erf"]),
        left: left(graph, primitives),
    }
}

fn row(name: &str, counts: &Counts) {
    let Counts { nodes: (before, after), attention, norms: (norms, operators), convolutions, erf, left } =
        counts;
    let with = |text: &str| left.iter().filter(|l| l.contains(text)).count();
    let (add, norm, activation) =
        (with("lone Add"), with("lone BatchNormalization"), with("lone activation"));
    println!(
        "| {name:34} | {before:5} | {after:5} | {attention:9} | {norms:5} | {operators:4} | {convolutions:5} | {erf:3} | {add:8} | \
         {norm:7} | {activation:8} |"
    );
}

fn head() {
    println!(
        "\n| {:34} | {:5} | {:5} | {:9} | {:5} | {:4} | {:5} | {:3} | {:8} | {:7} | {:8} |",
        "model",
        "nodes",
        "after",
        "attention",
        "norms",
        "by",
        "convs",
        "Erf",
        "lone Add",
        "lone BN",
        "lone act"
    );
    println!("|{}|", ["-"; 11].map(|_| "---").join("|"));
}

#[test]
fn every_attention_block_is_one_operator_and_every_norm_part_of_one() {
    head();
    let mut faults = Vec::new();
    for (model, blocks, norms) in TRANSFORMERS {
        for exporter in EXPORTERS {
            let name = format!("{exporter}{model}");
            let found = counts(&name, &PRIMITIVES);
            row(&name, &found);
            if (found.attention, found.norms.0) != (blocks, norms) {
                let (attention, others) = (found.attention, found.norms.0);
                faults.push(format!(
                    "{name}: {attention} attention operators of {blocks}, {others} norms of {norms}"
                ));
            }
            faults.extend(found.left.iter().map(|left| format!("{name}: {left}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_batch_norm_or_activation_stands_behind_a_convolution() {
    head();
    let mut faults = Vec::new();
    for (model, convolutions) in CONVOLUTIONAL {
        for exporter in EXPORTERS {
            let name = format!("{exporter}{model}");
            let found = counts(&name, &[]);
            row(&name, &found);
            if found.convolutions != convolutions {
                faults.push(format!("{name}: {} convolutions of {convolutions}", found.convolutions));
            }
            faults.extend(found.left.iter().map(|left| format!("{name}: {left}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
