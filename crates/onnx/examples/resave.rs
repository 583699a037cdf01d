//! Reads a model and writes it again, filling in generated weights: `resave IN OUT [fusebox|onnx|onnxruntime|raw] [OPSET]`.
//!
//! `raw` keeps every node as the file has it; the others bring the model to the newest operators and back.

use fusebox_onnx::{LoadOptions, Opset, SaveOptions, Target, load, save};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = arguments.as_slice() else { return Err("resave IN OUT".into()) };
    let raw = rest.first().is_some_and(|mode| mode == "raw");
    let target = match rest.first().map(String::as_str) {
        Some("onnx") => Target::Onnx,
        Some("onnxruntime") => Target::OnnxRuntime,
        _ => Target::Fusebox,
    };
    let opset = match rest.get(1) {
        Some(version) => Opset::Exactly(version.parse()?),
        None if raw => Opset::AsWritten,
        None => Opset::Lowest,
    };
    let start = Instant::now();
    let model = load(input, &LoadOptions { upgrade: !raw, ..LoadOptions::default() })?;
    let loaded = start.elapsed();
    let report = save(&model, output, &SaveOptions { target, opset, ..SaveOptions::default() })?;
    println!("loaded in {loaded:?}, saved in {:?}: {report:?}", start.elapsed() - loaded);
    Ok(())
}
