//! `fusebox diff A B`: what changed between two graphs, grouped by the rule that changed it.

use super::Verb;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::DataArg;
use clap::Args;
use fusebox::{DiffOptions, LineKind};
use fusebox_report::{Paint, Style};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// Model before
    #[arg(value_name = "A")]
    before: PathBuf,
    /// Model after
    #[arg(value_name = "B")]
    after: PathBuf,
    #[command(flatten)]
    data: DataArg,
    /// Unchanged nodes to show around changed ones
    #[arg(long, value_name = "N", default_value_t = 2)]
    context: usize,
    /// Show every place, also those that say the same
    #[arg(long)]
    no_fold: bool,
    /// Only the number of nodes and operators, and how often each rule changed something
    #[arg(long)]
    stat: bool,
    /// End with 1 when the graphs differ
    #[arg(long)]
    exit_code: bool,
}

impl Verb for Diff {
    const NAME: &'static str = "diff";
    const ABOUT: &'static str = "Show what changed between two models, by the rule that changed it";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        let progress = cx.progress("comparing");
        let (before, after) = (self.data.open(&self.before)?, self.data.open(&self.after)?);
        let options = DiffOptions { context: self.context, fold: !self.no_fold, ..DiffOptions::default() };
        let diff = fusebox::diff(&before, &after, &options);
        drop(progress);
        cx.answer(&answer(&diff, self.stat), |style| text(&diff, self.stat, style))?;
        if self.exit_code && !diff.is_empty() {
            let message = format!("the models differ: {}", diff.counts);
            return Err(Failure::Mismatch {
                message,
                help: "leave out --exit-code to see the difference only".into(),
            });
        }
        Ok(())
    }
}

fn text(diff: &fusebox::Diff, stat: bool, style: &Style) -> String {
    if diff.is_empty() {
        return format!("no difference: {} nodes\n", diff.counts.unchanged);
    }
    let mut out = String::new();
    for line in diff.lines() {
        if stat && !matches!(line.kind, LineKind::Heading) {
            continue;
        }
        let paint = match line.kind {
            LineKind::Heading => Paint::Strong,
            LineKind::Place => Paint::Faint,
            LineKind::Context => Paint::Plain,
            LineKind::Removed => Paint::Bad,
            LineKind::Added => Paint::Good,
        };
        out.push_str(&style.paint(paint, &format!("{}{}", line.kind, line.text)));
        out.push('\n');
    }
    out
}

fn answer(diff: &fusebox::Diff, stat: bool) -> serde_json::Value {
    let kind = |kind: LineKind| match kind {
        LineKind::Heading => "heading",
        LineKind::Place => "place",
        LineKind::Context => "context",
        LineKind::Removed => "removed",
        LineKind::Added => "added",
    };
    let counts = &diff.counts;
    let operators: Vec<_> = counts
        .operators
        .iter()
        .map(|o| json!({ "op": o.op, "before": o.before, "after": o.after }))
        .collect();
    let groups: Vec<_> = diff
        .groups
        .iter()
        .map(|group| {
            let hunks: Vec<_> = group
                .hunks
                .iter()
                .filter(|_| !stat)
                .map(|hunk| {
                    let lines: Vec<_> =
                        hunk.lines.iter().map(|l| json!({ "kind": kind(l.kind), "text": l.text })).collect();
                    json!({ "places": hunk.places, "lines": lines })
                })
                .collect();
            json!({ "rule": group.rule, "count": group.count(), "hunks": hunks })
        })
        .collect();
    json!({
        "equal": diff.is_empty(),
        "removed": counts.removed, "added": counts.added, "rewired": counts.rewired, "unchanged": counts.unchanged,
        "operators": operators, "groups": groups,
    })
}
