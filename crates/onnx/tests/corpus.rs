//! Every corpus model: written and read again it is the same model.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use fusebox_ir::Model;
use fusebox_ir::text::{PrintOptions, print_model};
use fusebox_onnx::{LoadOptions, Opset, SaveOptions, Target, load, load_bytes, save, to_bytes};
use std::path::{Path, PathBuf};

/// All models of the corpus but the largest, which is half a gigabyte once filled and has no operator that others lack.
fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    let folders = [root.clone(), root.join("torchscript")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension().is_some_and(|e| e == "onnx") && !path.ends_with("vgg_production.onnx")
    });
    files.sort();
    assert!(files.len() > 10);
    files
}

fn raw() -> LoadOptions {
    LoadOptions { upgrade: false, ..LoadOptions::default() }
}

fn as_written() -> SaveOptions {
    SaveOptions { opset: Opset::AsWritten, ..SaveOptions::default() }
}

fn meaning(model: &Model) -> String {
    print_model(model, &PrintOptions { inline_limit: 8, names: true, metadata: true })
}

/// Small models only: round trips of large ones would take minutes in a test build.
fn small(path: &Path) -> bool {
    !["bert_base.onnx", "clip_vit_b32.onnx"].iter().any(|name| path.ends_with(name))
}

#[test]
fn written_as_read_is_the_identity() {
    for path in corpus().iter().filter(|path| small(path)) {
        let model = load(path, &raw()).unwrap();
        let bytes = to_bytes(&model, &as_written()).unwrap();
        let again = load_bytes(&bytes.into(), &raw()).unwrap();
        assert!(model == again, "{path:?} changes when written and read again");
    }
}

#[test]
fn upgrading_and_lowering_keep_the_meaning_and_the_opset() {
    for path in corpus().iter().filter(|path| small(path)) {
        let model = load(path, &LoadOptions::default()).unwrap();
        let bytes = to_bytes(&model, &SaveOptions::default()).unwrap();
        let again = load_bytes(&bytes.clone().into(), &LoadOptions::default()).unwrap();
        assert_eq!(meaning(&model), meaning(&again), "{path:?}");
        assert_eq!(model.opsets, again.opsets, "{path:?}");
        assert_eq!(
            bytes,
            to_bytes(&model, &SaveOptions::default()).unwrap(),
            "{path:?}: bytes differ between runs"
        );
    }
}

#[test]
fn every_target_and_a_newer_opset_can_be_written() {
    let path = corpus().into_iter().find(|p| p.ends_with("torchscript/medium_mlp.onnx")).unwrap();
    let model = load(&path, &LoadOptions::default()).unwrap();
    for target in [Target::Fusebox, Target::Onnx, Target::OnnxRuntime] {
        let options = SaveOptions { target, opset: Opset::Exactly(18), ..SaveOptions::default() };
        let bytes = to_bytes(&model, &options).unwrap();
        let again = load_bytes(&bytes.into(), &LoadOptions::default()).unwrap();
        assert_eq!(again.opset(""), Some(18));
        assert_eq!(again.graph.node_count(), model.graph.node_count());
    }
}

#[test]
fn data_files_hold_the_same_weights() {
    let path = corpus().into_iter().find(|p| p.ends_with("small_cnn.onnx")).unwrap();
    let model = load(&path, &raw()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.onnx");
    let options = SaveOptions { max_model_bytes: 40_000, ..as_written() };
    let report = save(&model, &out, &options).unwrap();
    assert!(report.data_bytes > 50_000 && report.model_bytes < 40_000, "{report:?}");
    assert_eq!(std::fs::metadata(folder.path().join("model.onnx.data")).unwrap().len(), report.data_bytes);
    assert!(load(&out, &raw()).unwrap() == model);
    let named = SaveOptions { data: fusebox_onnx::DataFile::Named("weights".into()), ..as_written() };
    save(&model, &out, &named).unwrap();
    assert!(load(&out, &raw()).unwrap() == model);
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["model.onnx", "model.onnx.data", "weights"]);
}
