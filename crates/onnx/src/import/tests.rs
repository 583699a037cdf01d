//! Import of whole models.

use super::*;

fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    let mut files = Vec::new();
    for folder in [root.clone(), root.join("torchscript")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "onnx") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 10);
    files
}

#[test]
fn every_corpus_model_loads_and_verifies() {
    for path in corpus() {
        // The largest is half a gigabyte once filled: its graph has no operator that others lack.
        if path.ends_with("vgg_production.onnx") {
            continue;
        }
        let model = load(&path, &LoadOptions::default()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        model.graph.verify().unwrap();
        assert!(
            model.graph.node_count() > 3 && !model.graph.inputs.is_empty() && !model.graph.outputs.is_empty()
        );
    }
}
