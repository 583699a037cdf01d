//! Snapshots of what the built-in rules make of every corpus model: rules with their sites, counts, the folded diff.
//!
//! A snapshot stays short enough to review: it ends after [`MAX_LINES`] lines and says how much was left out.

use fusebox_ir::diff::{DiffOptions, Line, LineKind, diff};
use fusebox_rewrite::Report;
use fusebox_snapshots::corpus;
use std::fmt::Write;

/// Lines of the diff that a snapshot shows.
const MAX_LINES: usize = 200;

fn summary(name: &str, report: &Report) -> String {
    let mut text = format!("{name}: {} nodes -> {}\n", report.before.nodes, report.after.nodes);
    for fired in &report.fired {
        let sites = fired.sites.len();
        writeln!(text, "  {} [{}] ×{sites}", fired.rule, fired.contract).expect("a String takes everything");
    }
    for limit in &report.limits {
        writeln!(text, "  limit: {limit}").expect("a String takes everything");
    }
    text + "\n"
}

/// The lines up to the first hunk that begins past the cap, or to the cap itself where one hunk crosses it widely.
fn capped(lines: &[Line]) -> String {
    let begins = |line: &Line| matches!(line.kind, LineKind::Place | LineKind::Heading);
    let soft = lines.iter().skip(MAX_LINES).position(begins).map_or(lines.len(), |at| MAX_LINES + at);
    let end = soft.min(MAX_LINES + MAX_LINES / 4);
    let (shown, hidden) = lines.split_at(end.min(lines.len()));
    let mut text: String = shown.iter().map(|line| format!("{}{}\n", line.kind, line.text)).collect();
    if !hidden.is_empty() {
        let hunks = hidden.iter().filter(|line| line.kind == LineKind::Place).count();
        writeln!(text, "… {} more lines, {hunks} more hunks", hidden.len())
            .expect("a String takes everything");
    }
    text
}

fn shown(name: &str) -> String {
    let model = corpus::load(name);
    let (optimized, report) = corpus::optimized(name, &model, 2);
    let changes = diff(&model.graph, &optimized.graph, &DiffOptions { context: 1, ..DiffOptions::default() });
    summary(name, &report) + &capped(&changes.lines().collect::<Vec<_>>())
}

#[test]
fn every_model_under_the_built_in_rules() {
    let models = corpus::models();
    assert!(models.len() >= 34, "only {} models", models.len());
    let settings = fusebox_testing::snapshot::settings("graphs");
    settings.bind(|| {
        for name in &models {
            let start = std::time::Instant::now();
            insta::assert_snapshot!(name.replace('/', "-"), shown(name));
            println!("{name}: {:.2} s", start.elapsed().as_secs_f64());
        }
    });
}
