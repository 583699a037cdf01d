//! The text form and the diff on what exporters really write.

use fusebox_ir::diff::{DiffOptions, LineKind, diff};
use fusebox_ir::text::{Constants, PrintOptions, parse_model, print_model};
use fusebox_onnx::{LoadOptions, load};
use std::path::{Path, PathBuf};

/// Their weights take hundreds of megabytes once filled in, and their layers are those of the others.
const LARGE: &[&str] = &["bert_base.onnx", "clip_vit_b32.onnx", "vgg_production.onnx"];

fn models() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    let files = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("the corpus is there");
        entries.map(|entry| entry.expect("a folder of the repository is readable").path())
    };
    let small = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".onnx") && !LARGE.contains(&name.as_str())
    };
    let mut models: Vec<PathBuf> =
        files(&corpus).chain(files(&corpus.join("torchscript"))).filter(small).collect();
    models.sort();
    models
}

#[test]
fn every_model_reads_back_and_differs_from_itself_in_nothing() {
    let models = models();
    assert!(models.len() >= 20, "only {} models", models.len());
    for path in models {
        let model =
            load(&path, &LoadOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let options = PrintOptions { metadata: true, ..PrintOptions::default() };
        let text = print_model(&model, &options);
        let named = print_model(&model, &PrintOptions { names: true, ..options });
        let known = Constants::of(&model.graph);
        for text_read in [&text, &named] {
            let back = parse_model(text_read, &|_, hash| known.get(hash).cloned())
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(print_model(&back, &options), text, "{}", path.display());
            assert!(
                diff(&model.graph, &back.graph, &DiffOptions::default()).is_empty(),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn both_exports_of_a_model_share_their_weights() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    let graph = |path: PathBuf| load(path, &LoadOptions::default()).unwrap().graph;
    let (dynamo, torchscript) =
        (graph(corpus.join("attention.onnx")), graph(corpus.join("torchscript/attention.onnx")));
    let diff = diff(&dynamo, &torchscript, &DiffOptions::default());
    let softmax = diff.counts.operators.iter().find(|o| o.op == "Softmax").unwrap();
    assert_eq!((softmax.before, softmax.after), (1, 1));
    assert!(diff.counts.unchanged >= 5 && diff.counts.removed >= 10, "{diff}");
    let shown =
        |kind: LineKind| diff.lines().any(|line| line.kind == kind && line.text.contains("= Softmax["));
    assert!(shown(LineKind::Context) && !shown(LineKind::Removed) && !shown(LineKind::Added), "{diff}");
}
