//! Writes the seeds that come from this repository: every rule alone, the graphs that rules fire on as models and in the
//! text form, and small fused models with their functions.
//!
//! `cargo run -p fusebox-fuzzing --example seeds` from the root of the repository.

use fusebox::{Model, OptimizeOptions, SaveOptions};
use fusebox_ir::OpsetImport;
use fusebox_ir::text::{PrintOptions, print, print_model};
use fusebox_rewrite::{RuleSet, instance};
use std::error::Error;
use std::path::Path;

/// Larger seeds slow every execution down.
const LARGEST: usize = 12_000;

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let write = |folder: &str, name: &str, content: &[u8]| -> std::io::Result<()> {
        if content.len() > LARGEST {
            return Ok(());
        }
        std::fs::write(seeds.join(folder).join(name), content)
    };
    for rule in RuleSet::builtin().iter() {
        let name = rule.name.replace(['/', ' '], "_");
        write("rules", &format!("{name}.rules"), rule.text.as_bytes())?;
        let Some(first) = instance::instances(rule).map_err(|error| error.to_string())?.into_iter().next()
        else {
            continue;
        };
        let opset = |domain: &str, version| OpsetImport { domain: domain.into(), version };
        let opsets = vec![opset("", 21), opset("com.microsoft", 1), opset("ai.fusebox", 1)];
        let model = fusebox_ir::Model { graph: first.graph, ir_version: 10, opsets, ..Default::default() };
        let model = Model::from(model);
        let text = print(&model.graph, &PrintOptions { inline_limit: 64, ..PrintOptions::complete() });
        if !text.contains('#') {
            write("text", &format!("{name}.txt"), text.as_bytes())?;
        }
        if let Ok(bytes) = fusebox_onnx::to_bytes(&model, &SaveOptions::default()) {
            write("models", &format!("rule_{name}.onnx"), &bytes)?;
        }
        let Ok((fused, _)) = fusebox::optimize(&model, &OptimizeOptions::default()) else { continue };
        if let Ok(bytes) = fusebox_onnx::to_bytes(&fused, &SaveOptions::default()) {
            write("models", &format!("fused_{name}.onnx"), &bytes)?;
        }
    }
    for name in
        ["if", "loop11", "scan9_sum", "sequence_map_identity_1_sequence", "optional_get_element_sequence"]
    {
        let path = seeds.join("models").join(format!("{name}.onnx"));
        let Ok(model) = Model::open(&path) else { continue };
        write("text", &format!("{name}.txt"), print_model(&model, &PrintOptions::complete()).as_bytes())?;
    }
    Ok(())
}
