//! What commands answer on small models of the corpus.

use crate::desk::{Desk, measured_settings, table_settings};

fn answers(name: &str, model: &str, arguments: &[&str]) {
    let desk = Desk::new();
    desk.corpus(model);
    let text: Vec<String> = arguments.iter().map(|arguments| desk.run(arguments)).collect();
    assert!(text.iter().all(|text| text.ends_with("exit code 0\n")), "{}", text.join("\n"));
    table_settings().bind(|| insta::assert_snapshot!(name, text.join("\n")));
}

#[test]
fn inspect() {
    answers("inspect-cnn", "torchscript/mobilenet_block.onnx", &["inspect mobilenet_block.onnx"]);
    answers("inspect-attention", "attention.onnx", &["inspect attention.onnx"]);
}

#[test]
fn optimize_then_diff_then_verify() {
    let arguments = [
        "optimize mobilenet_block.onnx -o fused.onnx",
        "diff mobilenet_block.onnx fused.onnx",
        "optimize mobilenet_block.onnx -o plain.onnx --target onnx --quiet",
        "inspect plain.onnx",
    ];
    answers("optimize-cnn", "torchscript/mobilenet_block.onnx", &arguments);
}

#[test]
fn optimize_attention() {
    let arguments = ["optimize cross_attention.onnx -o fused.onnx --dim batch=2", "inspect fused.onnx"];
    answers("optimize-attention", "torchscript/cross_attention.onnx", &arguments);
}

#[test]
fn lower_precision() {
    let arguments = ["optimize digits_cnn.onnx -o int8.onnx --int8 --tolerance cosine=0.99 --disable conv.*"];
    answers("optimize-int8", "torchscript/digits_cnn.onnx", &arguments);
}

/// What is measured differs from run to run: the shape of the answer is what stays.
#[test]
fn run_verify_and_bench() {
    let desk = Desk::new();
    desk.corpus("mobilenet_block.onnx");
    let arguments = [
        "optimize mobilenet_block.onnx -o fused.onnx --quiet",
        "run fused.onnx -o out.npz",
        "run mobilenet_block.onnx --reference --json",
        "verify mobilenet_block.onnx fused.onnx",
        "verify mobilenet_block.onnx fused.onnx --tolerance rel=1e-12",
        "bench fused.onnx --baseline mobilenet_block.onnx --runs 2 --threads 1",
    ];
    let text: Vec<String> = arguments.iter().map(|arguments| desk.run(arguments)).collect();
    assert_eq!(desk.files(), ["fused.onnx", "mobilenet_block.onnx", "out.npz"]);
    measured_settings().bind(|| insta::assert_snapshot!("run-verify-bench", text.join("\n")));
}

#[test]
fn rules() {
    answers("rules-show", "medium_mlp.onnx", &["rules show gelu.erf", "rules check"]);
}

#[test]
fn rules_list() {
    let listed = Desk::new().run("rules list");
    table_settings().bind(|| insta::assert_snapshot!("rules-list", listed));
}

#[test]
fn help() {
    answers("help", "medium_mlp.onnx", &["--help", "optimize --help"]);
}
