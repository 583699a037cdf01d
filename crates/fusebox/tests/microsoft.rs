//! Operators of com.microsoft against what ONNX Runtime computed for them: `corpus/microsoft/*.onnx`, which
//! `corpus/export/microsoft.py` writes. Each is evaluated by the reference, and optimized and run on kernels.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use fusebox::{DType, Model, OptimizeOptions, Session, SessionOptions, Tensor, optimize};
use fusebox_ops::{Datum, Interpreter};
use std::path::{Path, PathBuf};

/// Differences of floats against their magnitude: ONNX Runtime sums in f32 and approximates exp, erf and tanh.
const RELATIVE: f64 = 2e-4;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/microsoft");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 80, "only {} cases", files.len());
    files
}

/// Operators whose steps ONNX Runtime quantizes by ranges that it finds on the way: they mean the same on reals, which
/// it follows in direction.
const QUANTIZED_ON_THE_WAY: &[&str] = &["DynamicQuantizeLSTM"];

/// Named tensors that the file stores under a prefix.
fn stored(model: &Model, prefix: &str) -> Vec<(String, Tensor)> {
    let value = |(_, value): (_, &fusebox_ir::Value)| {
        Some((value.name.strip_prefix(prefix)?.to_owned(), value.constant.clone()?))
    };
    model.graph.values().filter_map(value).collect()
}

/// Quantized results may differ by one step where a real is half way between two; rounding of the reals decides.
fn compare(found: &Tensor, expected: &Tensor, is_noisy: bool) -> Result<(), String> {
    if found.ty() != expected.ty() {
        return Err(format!("{} instead of {}", found.ty(), expected.ty()));
    }
    let is_quantized = matches!(found.dtype(), DType::U8 | DType::I8 | DType::I16);
    let wide = |t: &Tensor| -> Vec<f64> {
        match t.dtype() {
            DType::U8 => t.elements::<u8>().unwrap().iter().map(|x| f64::from(*x)).collect(),
            DType::I8 => t.elements::<i8>().unwrap().iter().map(|x| f64::from(*x)).collect(),
            DType::I16 => t.elements::<i16>().unwrap().iter().map(|x| f64::from(*x)).collect(),
            DType::I32 => t.elements::<i32>().unwrap().iter().map(|x| f64::from(*x)).collect(),
            _ => t.floats().unwrap(),
        }
    };
    let (found, expected) = (wide(found), wide(expected));
    if is_noisy {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
        return if cosine >= 0.999 { Ok(()) } else { Err(format!("cosine {cosine}")) };
    }
    let largest = expected.iter().fold(1f64, |most, x| most.max(x.abs()));
    let allowed = if is_quantized { 1.0 } else { RELATIVE * largest };
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f64, f64::max);
    if worst <= allowed { Ok(()) } else { Err(format!("off by {worst}: {found:?}, expected {expected:?}")) }
}

fn compare_all(
    model: &Model,
    outputs: &[(String, Tensor)],
    expected: &[(String, Tensor)],
) -> Result<(), String> {
    let is_noisy = model.graph.nodes().any(|(_, node)| QUANTIZED_ON_THE_WAY.contains(&&*node.op.name));
    for (name, tensor) in expected {
        let (_, found) = outputs.iter().find(|(n, _)| n == name).ok_or(format!("no output {name}"))?;
        compare(found, tensor, is_noisy).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn reference(model: &Model, feeds: &[(String, Tensor)]) -> Result<Vec<(String, Tensor)>, String> {
    let name = |id: &fusebox_ir::ValueId| model.graph.value(*id).name.clone();
    let feed = |id: &fusebox_ir::ValueId| {
        feeds.iter().find(|(n, _)| *n == name(id)).map(|(_, tensor)| Datum::Tensor(tensor.clone()))
    };
    let inputs: Vec<Option<Datum>> = model.graph.inputs.iter().map(feed).collect();
    let outputs = Interpreter::new(&[]).run(&model.graph, &inputs, &[]).map_err(|e| e.to_string())?;
    Ok(model
        .graph
        .outputs
        .iter()
        .map(name)
        .zip(outputs.into_iter().map(|o| o.into_tensor().unwrap()))
        .collect())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn optimized(model: &Model, feeds: &[(String, Tensor)]) -> Result<Vec<(String, Tensor)>, String> {
    let (done, _) = optimize(model, &OptimizeOptions::default()).map_err(|e| chain(&e))?;
    if let Some((_, node)) = done.graph.nodes().find(|(_, node)| node.op.domain.starts_with("com.microsoft"))
    {
        return Err(format!("{} is left", node.op));
    }
    let session = Session::new(&done, SessionOptions { threads: 1, ..Default::default() });
    let feeds: Vec<(&str, Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    session.and_then(|session| session.run(&feeds)).map_err(|e| chain(&e))
}

#[test]
fn every_case_agrees_with_onnxruntime() {
    let mut failures = Vec::new();
    for path in cases() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let model = Model::open(&path).unwrap();
        let (feeds, expected) = (stored(&model, "feed/"), stored(&model, "expect/"));
        assert!(!feeds.is_empty() && !expected.is_empty(), "{name} holds no case");
        for (route, run) in [("reference", reference as fn(&_, &_) -> _), ("optimized", optimized)] {
            if let Err(error) =
                run(&model, &feeds).and_then(|outputs| compare_all(&model, &outputs, &expected))
            {
                failures.push(format!("{name}, {route}: {error}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
