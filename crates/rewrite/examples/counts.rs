//! Optimizes models and prints their operators before and after: `cargo run --release --example counts -- MODEL…`.
//! `--disable=RULE` switches rules off, `--verify` compares with the reference. With `-v`, also every rule and site; with `-t`, the text form of the result.

use fusebox_ir::Graph;
use fusebox_rewrite::{Options, RuleSet, optimize};
use std::collections::BTreeMap;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().any(|a| a == name);
    for path in args.iter().filter(|a| !a.starts_with('-')) {
        let mut model = fusebox_onnx::load(path, &fusebox_onnx::LoadOptions::default())?;
        println!("{path}");
        println!("  before: {}", counts(&model.graph));
        let mut rules = RuleSet::builtin();
        for name in args.iter().filter_map(|a| a.strip_prefix("--disable=")) {
            rules.disable(name)?;
        }
        let original = model.graph.clone();
        let start = Instant::now();
        let report = optimize(&mut model.graph, &model.functions, &rules, &Options::default())?;
        let seconds = start.elapsed().as_secs_f64();
        println!("  after:  {}", counts(&model.graph));
        println!(
            "  {seconds:.3} s; nodes {} -> {}; predicted {:.1} us -> {:.1} us",
            report.before.nodes,
            report.after.nodes,
            report.before.picoseconds as f64 / 1e6,
            report.after.picoseconds as f64 / 1e6
        );
        for stats in &report.phases {
            println!("  {stats:?}");
        }
        for limit in &report.limits {
            println!("  limit: {limit}");
        }
        if flag("--verify") {
            verify(&original, &model)?;
        }
        for fired in report.fired.iter().filter(|_| flag("-v")) {
            println!("  {} [{}] {}: {} sites", fired.rule, fired.contract, fired.at, fired.sites.len());
        }
        if flag("-t") {
            println!("{}", fusebox_ir::text::print(&model.graph, &fusebox_ir::text::PrintOptions::default()));
        }
    }
    Ok(())
}

/// Evaluates both graphs by the reference on generated inputs and prints the worst cosine and relative error.
fn verify(original: &Graph, model: &fusebox_ir::Model) -> Result<(), Box<dyn std::error::Error>> {
    let inputs = fusebox_testing::inputs_for(original, 1);
    let data: Vec<Option<fusebox_ops::Datum>> = inputs.into_iter().map(|t| Some(t.into())).collect();
    let interpreter = fusebox_ops::Interpreter::new(&model.functions);
    let expected = interpreter.run(original, &data, &[])?;
    let found = interpreter.run(&model.graph, &data, &[])?;
    for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
        println!("  output {index}: {:?}", fusebox_testing::compare(expected.tensor()?, found.tensor()?));
    }
    Ok(())
}

fn counts(graph: &Graph) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, node) in graph.nodes() {
        *counts.entry(node.op.to_string()).or_default() += 1;
    }
    counts.iter().map(|(op, n)| format!("{op} {n}")).collect::<Vec<_>>().join(", ")
}
