//! `fusebox inspect MODEL`: interface, operators, work, family, modules.

use super::Verb;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::{DimArgs, ModelArg};
use clap::Args;
use fusebox::inspect::{Inspection, Line};
use fusebox_report::{Cell, Paint, Style, Table, number};
use serde_json::json;

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    dims: DimArgs,
    /// Levels of the module hierarchy to show
    #[arg(long, value_name = "N", default_value_t = 3)]
    depth: usize,
    /// Print the graph in its text form instead
    #[arg(long)]
    text: bool,
}

impl Verb for Inspect {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Show what a model is: interface, operators, work, family, modules";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        let progress = cx.progress("loading");
        let model = self.model.open()?;
        if self.text {
            let text = fusebox::print(&model);
            drop(progress);
            return if cx.json {
                cx.answer(&json!({ "text": text }), |_| String::new())
            } else {
                cx.print(&text)
            };
        }
        progress.stage("inspecting");
        let inspection = fusebox::inspect(&model, &self.dims.sizes()?)?;
        drop(progress);
        cx.answer(&inspection, |style| text(&inspection, self.depth, style))
    }
}

fn text(found: &Inspection, depth: usize, style: &Style) -> String {
    let mut out = facts(found, style);
    let mut ports = Table::new(&["", "name", "type"]);
    for (what, list) in [("input", &found.inputs), ("output", &found.outputs)] {
        for port in list {
            let what = if port.optional { format!("{what}, optional") } else { what.to_owned() };
            ports.row([what, port.name.clone(), port.ty.clone()]);
        }
    }
    out.push('\n');
    out.push_str(&ports.text(style));
    let mut operators = Table::new(&["operator", ">count", ">work", ">share", ""]);
    for operator in &found.operators {
        let share = operator.flops / found.work.flops.max(1.0);
        let unknown = if operator.known { Cell::default() } else { Cell::painted("unknown", Paint::Warn) };
        operators.row([
            operator.op.clone().into(),
            operator.count.to_string().into(),
            number::flops(operator.flops).into(),
            number::percent(share).into(),
            unknown,
        ]);
    }
    out.push('\n');
    out.push_str(&operators.text(style));
    out.push('\n');
    out.push_str(&modules(found, depth, style));
    out
}

fn facts(found: &Inspection, style: &Style) -> String {
    let mut table = Table::new(&["", ""]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            table.row([Cell::painted(name, Paint::Strong), value.into()]);
        }
    };
    fact("family", found.family.to_string());
    fact("producer", found.producer.clone());
    fact("opsets", found.opsets.join(", "));
    let sizes: Vec<String> = found.sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
    fact("sizes assumed", sizes.join(" "));
    let work = &found.work;
    fact("nodes", work.nodes.to_string());
    if found.functions > 0 {
        fact("functions", found.functions.to_string());
    }
    fact("parameters", number::count(work.parameters));
    fact("weights", number::bytes(work.weight_bytes));
    fact("activations", format!("{} at most at once", number::bytes(work.peak_activation_bytes)));
    fact("work", format!("{}, {} moved", number::flops(work.flops), number::bytes(work.bytes)));
    fact("predicted time", number::seconds(work.seconds));
    if found.untyped > 0 {
        fact("untyped nodes", format!("{} (unknown operators)", found.untyped));
    }
    table.text(style)
}

fn modules(found: &Inspection, depth: usize, style: &Style) -> String {
    let share = number::percent(found.hierarchy.share);
    if found.hierarchy.root.modules.is_empty() {
        return format!("no module hierarchy: {share} of the nodes say where they belong\n");
    }
    let mut table = Table::new(&["module", "class", ">nodes", ">parameters", ">work"]);
    for Line { depth, name, count, module } in found.hierarchy.lines(depth) {
        let times = if count > 1 { format!(" (×{count})") } else { String::new() };
        table.row([
            format!("{}{name}{times}", "  ".repeat(depth)),
            module.class.clone().unwrap_or_default(),
            module.nodes.to_string(),
            number::count(module.parameters),
            number::flops(module.flops),
        ]);
    }
    format!("{}{share} of the nodes say which module they belong to\n", table.text(style))
}
