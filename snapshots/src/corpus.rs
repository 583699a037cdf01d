//! The corpus as tests see it: every model by name, loaded, optimized by the built-in rules, its operators counted.
//!
//! A name is the path below `corpus/` without its ending: `bert_base` as torch's dynamo exporter wrote it,
//! `torchscript/bert_base` as the TorchScript exporter did.

use fusebox_ir::{Graph, Model};
use fusebox_rewrite::{Options, Report, RuleSet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folders of the corpus, one per exporter, as prefixes of a name.
pub const EXPORTERS: [&str; 2] = ["", "torchscript/"];

/// Folder of the corpus.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// Names of all models, sorted.
///
/// # Panics
/// When the corpus is not where the repository has it.
pub fn models() -> Vec<String> {
    let mut names = Vec::new();
    for exporter in EXPORTERS {
        for entry in std::fs::read_dir(folder().join(exporter)).expect("the corpus is part of the repository")
        {
            let path = entry.expect("a folder of the repository is readable").path();
            if path.extension().is_some_and(|ending| ending == "onnx") {
                let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                names.push(format!("{exporter}{}", stem.unwrap_or_default()));
            }
        }
    }
    names.sort();
    names
}

/// Loads a model, its weights filled in.
///
/// # Panics
/// When it does not load.
pub fn load(name: &str) -> Model {
    let path = folder().join(format!("{name}.onnx"));
    fusebox_onnx::load(&path, &fusebox_onnx::LoadOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The model rewritten by the built-in rules on so many threads, and what that did.
///
/// # Panics
/// When the rewriter refuses it.
pub fn optimized(name: &str, model: &Model, threads: usize) -> (Model, Report) {
    let mut new = model.clone();
    let options = Options { threads, ..Options::default() };
    let report = fusebox_rewrite::optimize(&mut new.graph, &model.functions, &RuleSet::builtin(), &options)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    (new, report)
}

/// How often each operator occurs, by domain and name.
pub fn operators(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, node) in graph.nodes() {
        *counts.entry(node.op.to_string()).or_default() += 1;
    }
    counts
}
