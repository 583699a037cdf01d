//! `fusebox optimize MODEL -o OUT`: rewrites, lowers precision, verifies, writes.

use super::Verb;
use super::verify;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::{
    DimArgs, ModelArg, PrecisionArgs, TargetArg, parse_threads, refuse_input, refuse_same_file,
};
use clap::Args;
use fusebox::measure;
use fusebox::verification::{Verification, VerifyOptions};
use fusebox::{
    Comparison, Decision, Error, Opset, OptimizeOptions, PrecisionReport, Report, SaveOptions, Tolerance,
};
use fusebox_report::{Cell, Paint, Style, Table, number};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Places of a rule that are listed without `-v`.
const PLACES: usize = 3;
/// Characters that these may take together, so that rows stay on a line of a terminal.
const PLACES_WIDTH: usize = 72;

/// Arguments of `optimize`.
#[derive(Args, Debug)]
pub(crate) struct Optimize {
    #[command(flatten)]
    model: ModelArg,
    /// File to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// Who is to run the written model
    #[arg(long, value_enum, default_value_t)]
    target: TargetArg,
    /// Opset of ai.onnx to write; the lowest that holds the model when absent
    #[arg(long, value_name = "N")]
    opset: Option<i64>,
    /// Rule file to use besides the built-in rules; repeat for several
    #[arg(long = "rules", value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// Rule to leave out, by name or as family.*; repeat for several
    #[arg(long = "disable", value_name = "RULE")]
    disable: Vec<String>,
    /// Layer that keeps its precision, by node name; repeat for several
    #[arg(long = "exclude", value_name = "NODE")]
    exclude: Vec<String>,
    /// The written model takes only the sizes that --dim gives
    #[command(flatten)]
    dims: DimArgs,
    /// Write without comparing the result with the original
    #[arg(long, conflicts_with = "tolerance")]
    no_verify: bool,
    /// Limits of the comparison, for example rel=1e-3,cosine=0.999; any of abs, rel, cosine, sqnr
    #[arg(long, value_name = "LIMITS")]
    tolerance: Option<Tolerance>,
    /// Threads; 0 is one per core. The written bytes do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
}

/// Seconds of the stages.
#[derive(Default)]
struct Times {
    load: f64,
    optimize: f64,
    write: f64,
}

impl Verb for Optimize {
    const NAME: &'static str = "optimize";
    const ABOUT: &'static str = "Fuse operators, lower precision, verify, and write the result";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        refuse_same_file(&self.model.model, &self.output)?;
        let sizes = self.dims.sizes()?;
        let mut times = Times::default();
        let progress = cx.progress("loading");
        let start = Instant::now();
        let model = self.model.open()?;
        times.load = start.elapsed().as_secs_f64();
        refuse_input(&self.output, self.rules.iter().map(PathBuf::as_path))?;
        progress.stage("optimizing");
        let options = OptimizeOptions {
            precision: self.precision.precision(),
            exclude: self.exclude.clone(),
            rules: self.rules.clone(),
            disable: self.disable.clone(),
            sizes: sizes.clone(),
            threads: self.threads,
        };
        let start = Instant::now();
        let (optimized, report) = fusebox::optimize(&model, &options)?;
        times.optimize = start.elapsed().as_secs_f64();
        let save = SaveOptions {
            target: self.target.into(),
            opset: self.opset.map_or(Opset::Lowest, Opset::Exactly),
            ..SaveOptions::default()
        };
        let start = Instant::now();
        let mut verification = None;
        let written = if self.no_verify {
            progress.stage("writing");
            optimized.save(&self.output, &save)?
        } else {
            progress.stage("verifying");
            let tolerance = self.tolerance;
            let verify = VerifyOptions {
                tolerance,
                precision: options.precision,
                sizes,
                threads: self.threads,
                seed: 0,
            };
            let written = fusebox::save_verified(&model, &optimized, &self.output, &save, &verify)
                .map_err(|error| self.explain(cx, error))?;
            verification = Some(written.verification);
            written.file
        };
        times.write = start.elapsed().as_secs_f64() - verification.as_ref().map_or(0.0, |v| v.seconds);
        drop(progress);
        if let Some(v) = verification.as_ref().filter(|v| !v.compared()) {
            cx.warn(&format!("not verified: {}", v.note.as_deref().unwrap_or("nothing could be compared")));
        }
        for node in verification.iter().filter(|v| v.compared()).flat_map(|v| &v.left_out) {
            cx.warn(&format!("node {node} is of an unknown operator: it was left out of the verification, which compared what surrounds it"));
        }
        for reason in verification.iter().flat_map(|v| &v.amplified) {
            cx.warn(reason);
        }
        let compared = verification.iter().flat_map(|v| &v.executor);
        for output in compared.flat_map(Comparison::hollow) {
            cx.warn(&format!("output {output:?} held nothing finite on the inputs of the verification: `run` both models on inputs of your own"));
        }
        for limit in &report.limits {
            cx.warn(&format!("{limit}; the result is correct but may be fused less than it could be"));
        }
        cx.answer(&self.json(&report, verification.as_ref(), &times, &written), |style| {
            self.text(cx, &report, verification.as_ref(), &times, &written, style)
        })
    }
}

impl Optimize {
    /// Shows the comparison that failed before the error says so.
    fn explain(&self, cx: &Context, error: Error) -> Failure {
        if let Error::NotVerified(verification) = &error
            && let Some(failed) = verification.failed()
        {
            if !cx.json {
                drop(cx.print(&verify::table(failed, &cx.style)));
            }
            if let Some(difference) = &failed.first_difference {
                cx.note(&verify::place(difference));
            }
        }
        error.into()
    }

    fn text(
        &self,
        cx: &Context,
        report: &Report,
        verification: Option<&Verification>,
        times: &Times,
        written: &fusebox::SaveReport,
        style: &Style,
    ) -> String {
        let mut out = fired(report, cx.verbose > 0, style);
        if let Some(precision) = &report.precision {
            out.push_str(&layers(precision, cx.verbose > 0, style));
        }
        if cx.verbose > 0 {
            out.push_str(&passes(report, style));
        }
        out.push_str(&work(report, style));
        if let Some(verification) = verification {
            out.push_str(&verdict(verification, style));
        }
        let Times { load, optimize, write } = times;
        out.push_str(&format!(
            "wrote {} ({}, {} node{}, opset {}); {} to load, {} to optimize, {} to write{}\n",
            self.output.display(),
            number::bytes((written.model_bytes + written.data_bytes) as f64),
            written.nodes,
            if written.nodes == 1 { "" } else { "s" },
            written.opset.map_or_else(|| "-".into(), |o| o.to_string()),
            number::seconds(*load),
            number::seconds(*optimize),
            number::seconds(*write),
            measure::peak_memory()
                .map(|m| format!("; memory at most {}", number::bytes(m as f64)))
                .unwrap_or_default(),
        ));
        out
    }

    fn json(
        &self,
        report: &Report,
        verification: Option<&Verification>,
        times: &Times,
        written: &fusebox::SaveReport,
    ) -> Value {
        let fired: Vec<Value> = report
            .fired
            .iter()
            .map(|fired| {
                let sites: Vec<Value> = fired
                    .sites
                    .iter()
                    .map(|s| json!({ "node": s.node, "op": s.op, "sources": s.sources }))
                    .collect();
                json!({ "rule": fired.rule, "at": fired.at, "contract": fired.contract, "sites": sites })
            })
            .collect();
        let passes: Vec<Value> = report
            .passes
            .iter()
            .map(|p| json!({ "name": p.name, "nodes": p.nodes, "seconds": p.time.as_secs_f64() }))
            .collect();
        let phases: Vec<Value> = report
            .phases
            .iter()
            .map(|p| {
                json!({ "phase": p.phase, "iterations": p.iterations, "matches": p.matches,
                        "applied": p.applied, "e_nodes": p.nodes, "e_classes": p.classes })
            })
            .collect();
        json!({
            "output": self.output,
            "fired": fired,
            "limits": report.limits.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "passes": passes,
            "phases": phases,
            "precision": report.precision.as_ref().map(precision_json),
            "sizes": report.sizes,
            "before": report.before,
            "after": report.after,
            "verification": verification.map(|v| json!({ "passed": v.passed(), "compared": v.compared(), "details": v })),
            "file": { "model_bytes": written.model_bytes, "data_bytes": written.data_bytes, "nodes": written.nodes, "opset": written.opset,
                      "ir_version": written.ir_version, "functions": written.functions },
            "seconds": { "load": times.load, "optimize": times.optimize, "write": times.write,
                         "verify": verification.map(|v| v.seconds) },
            "peak_memory_bytes": measure::peak_memory(),
        })
    }
}

fn precision_json(report: &PrecisionReport) -> Value {
    let layers: Vec<Value> = report
        .layers
        .iter()
        .map(|layer| match &layer.decision {
            Decision::Lowered { bytes_before, bytes_after, sqnr_db } => json!({
                "node": layer.node, "op": layer.op.to_string(), "lowered": true,
                "bytes_before": bytes_before, "bytes_after": bytes_after, "weights_sqnr_db": sqnr_db,
            }),
            Decision::Refused(reason) => json!({
                "node": layer.node, "op": layer.op.to_string(), "lowered": false, "reason": reason.to_string(),
            }),
        })
        .collect();
    json!({ "precision": report.precision.name(), "lowered": report.lowered(), "layers": layers })
}

/// What fired, and where.
fn fired(report: &Report, all: bool, style: &Style) -> String {
    if report.fired.is_empty() {
        return "no rule fired\n\n".into();
    }
    let mut table = Table::new(&["rule", ">times", "at"]);
    for fired in &report.fired {
        let places: Vec<&str> = fired.sites.iter().map(|site| site.node.as_str()).collect();
        let shown = if all { places.len() } else { fitting(&places) };
        let mut at = places[..shown].join(", ");
        if shown < places.len() {
            at.push_str(&format!(", and {} more", places.len() - shown));
        }
        table.row([fired.rule.clone(), places.len().to_string(), at]);
    }
    table.text(style) + "\n"
}

/// How many of the first places go on a line; never none.
fn fitting(places: &[&str]) -> usize {
    let mut width = 0;
    let fits = |place: &&&str| {
        width += place.chars().count() + 2;
        width <= PLACES_WIDTH
    };
    places.iter().take(PLACES).take_while(fits).count().max(1)
}

/// The passes with their times, and how the rewriter's phases went.
fn passes(report: &Report, style: &Style) -> String {
    let mut table = Table::new(&["pass", ">nodes after", ">time"]);
    for pass in &report.passes {
        table.row([pass.name.to_owned(), pass.nodes.to_string(), number::time(pass.time)]);
    }
    let mut phases = Table::new(&["phase", ">iterations", ">matches", ">applied", ">e-nodes", ">e-classes"]);
    for phase in &report.phases {
        let counts = [phase.iterations, phase.matches, phase.applied, phase.nodes, phase.classes];
        phases.row(std::iter::once(phase.phase.to_owned()).chain(counts.map(|n| n.to_string())));
    }
    format!("{}\n{}\n", table.text(style), phases.text(style))
}

/// Layers that were lowered, and those that were refused with the reason.
fn layers(report: &PrecisionReport, all: bool, style: &Style) -> String {
    let lowered = report.layers.iter().filter_map(|layer| match &layer.decision {
        Decision::Lowered { bytes_before, bytes_after, sqnr_db } => {
            Some((layer, *bytes_before, *bytes_after, *sqnr_db))
        }
        Decision::Refused(_) => None,
    });
    let (mut before, mut after, mut worst) = (0usize, 0usize, f64::INFINITY);
    let mut table = Table::new(&["layer", ">before", ">after", ">weights SQNR dB"]);
    for (layer, from, to, sqnr) in lowered {
        (before, after, worst) = (before + from, after + to, worst.min(sqnr));
        let bytes = |n: usize| number::bytes(n as f64);
        table.row([layer.node.clone(), bytes(from), bytes(to), format!("{sqnr:.1}")]);
    }
    let mut out = format!(
        "{}: {} of {} layers lowered",
        report.precision.name(),
        report.lowered(),
        report.layers.len()
    );
    if report.lowered() > 0 {
        let (before, after) = (number::bytes(before as f64), number::bytes(after as f64));
        out.push_str(&format!(", weights {before} -> {after}, at least {worst:.1} dB signal to noise"));
    }
    out.push('\n');
    if all && !table.is_empty() {
        out.push_str(&table.text(style));
    }
    let mut refused = Table::new(&["layer kept as it is", "because"]);
    for (layer, reason) in report.refused() {
        refused.row([Cell::from(layer.node.clone()), Cell::painted(reason.to_string(), Paint::Warn)]);
    }
    if !refused.is_empty() {
        out.push_str(&refused.text(style));
    }
    out + "\n"
}

/// Nodes, FLOPs, bytes and predicted time before and after.
fn work(report: &Report, style: &Style) -> String {
    let (before, after) = (&report.before, &report.after);
    let at: Vec<String> = report.sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
    let title = if at.is_empty() { String::new() } else { format!("at {}", at.join(" ")) };
    let mut table = Table::new(&[&title, ">before", ">after", ">"]);
    let mut row = |what: &str, a: f64, b: f64, show: fn(f64) -> String| {
        table.row([what.to_owned(), show(a), show(b), number::change(a, b)]);
    };
    row("nodes", before.nodes as f64, after.nodes as f64, number::count);
    row("work", before.flops, after.flops, number::flops);
    row("bytes moved", before.bytes, after.bytes, number::bytes);
    row("weights", before.weight_bytes, after.weight_bytes, number::bytes);
    row("predicted time", before.seconds, after.seconds, number::seconds);
    table.text(style) + "\n"
}

/// What the verification found, in one line.
fn verdict(verification: &Verification, style: &Style) -> String {
    let sizes: Vec<String> = verification.sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
    let at = if sizes.is_empty() { String::new() } else { format!(" at {}", sizes.join(" ")) };
    let Some(worst) = verification.executor.iter().chain(&verification.reference).find_map(Comparison::worst)
    else {
        return style.paint(Paint::Warn, "not verified") + "\n";
    };
    let note = verification.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    format!(
        "{}{at}: cosine {:.7}, relative error {}, signal to noise {} dB (limits: {}) in {}{note}\n",
        style.paint(Paint::Good, "verified"),
        worst.cosine,
        number::plain(worst.max_rel),
        number::plain(worst.sqnr_db),
        if verification.amplified.is_empty() {
            verification.tolerance.to_string()
        } else {
            format!("{}, past them only where the model amplifies rounding", verification.tolerance)
        },
        number::seconds(verification.seconds),
    )
}
