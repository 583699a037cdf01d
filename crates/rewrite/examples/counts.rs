//! Optimizes models and prints their operators before and after: `cargo run --release --example counts -- MODEL…`.
//! With `-v`, also every rule and site; with `-t`, the text form of the result.

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
        let rules = RuleSet::builtin();
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
        for fired in report.fired.iter().filter(|_| flag("-v")) {
            println!("  {} [{}] {}: {} sites", fired.rule, fired.contract, fired.at, fired.sites.len());
        }
        if flag("-t") {
            println!("{}", fusebox_ir::text::print(&model.graph, &fusebox_ir::text::PrintOptions::default()));
        }
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
