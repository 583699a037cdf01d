//! `optimize`: runs the pipeline and reports what it did.

use crate::pass::PIPELINE;
use crate::pass::outline::Calls;
use crate::sizes::{self, Preferred, Sizes};
use crate::work::{self, Work};
use crate::{Error, Model, Precision};
use fusebox_quant::PrecisionReport;
use fusebox_rewrite::{Fired, LimitHit, Machine, PhaseStats};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to do with a model.
#[derive(Clone, Debug, Default)]
pub struct OptimizeOptions {
    /// Precision to lower weights to; f32 stays f32 when absent.
    pub precision: Option<Precision>,
    /// Layers that keep their precision, by node name.
    pub exclude: Vec<String>,
    /// Rule files besides the built-in rules.
    pub rules: Vec<PathBuf>,
    /// Rules to switch off, by name or as `family.*`.
    pub disable: Vec<String>,
    /// Symbolic dims to fix: the optimized model takes these sizes only.
    pub sizes: Sizes,
    /// Threads of the rewriter; 0 means one per core. The result does not depend on it.
    pub threads: usize,
}

/// A pass as it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassReport {
    /// Name.
    pub name: &'static str,
    /// Nodes afterwards, those of subgraphs included.
    pub nodes: usize,
    /// Wall time, verification of the graph included.
    pub time: Duration,
}

/// What `optimize` did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Passes in order.
    pub passes: Vec<PassReport>,
    /// Rules that had a part in the result, with the places.
    pub fired: Vec<Fired>,
    /// Limits of the rewriter that were reached.
    pub limits: Vec<LimitHit>,
    /// Statistics of the rewriter's phases.
    pub phases: Vec<PhaseStats>,
    /// Layers that were lowered in precision, and those that were refused.
    pub precision: Option<PrecisionReport>,
    /// Nodes that could not be typed, as messages name them.
    pub untyped: Vec<String>,
    /// Work of the original at [`Report::sizes`].
    pub before: Work,
    /// Work of the result at [`Report::sizes`].
    pub after: Work,
    /// Size assumed for every symbolic dim where work is counted.
    pub sizes: Sizes,
    /// Calls of functions as they were, until they are put back.
    pub(crate) calls: Calls,
}

/// Optimizes a model: rules first, then precision.
///
/// # Errors
/// Options that do not fit the model, a rule file that is refused, a model that contradicts itself.
pub fn optimize(model: &Model, options: &OptimizeOptions) -> Result<(Model, Report), Error> {
    let mut report =
        Report { sizes: sizes::choose(model, &options.sizes, Preferred::default())?, ..Report::default() };
    let mut optimized = model.clone();
    for pass in PIPELINE {
        let start = Instant::now();
        pass.run(&mut optimized, options, &mut report)?;
        let broken = |source| Error::BrokenByPass { pass: pass.name(), source };
        optimized.graph.verify().map_err(broken)?;
        let nodes = optimized.graph.total_node_count();
        report.passes.push(PassReport { name: pass.name(), nodes, time: start.elapsed() });
    }
    report.before = work_inside(model, &report.sizes)?;
    report.after = work_inside(&optimized, &report.sizes)?;
    Ok((optimized, report))
}

/// Work of a model with what its functions do.
fn work_inside(model: &Model, sizes: &Sizes) -> Result<Work, Error> {
    let mut inside = model.clone();
    fusebox_onnx::expand_functions(&mut inside)?;
    fusebox_ops::infer_graph(&mut inside.graph, &model.functions)?;
    Ok(work::of_graph(&inside.graph, sizes))
}

/// The machine that programs are priced for, at given sizes.
pub fn machine(sizes: &Sizes) -> Machine {
    let sizes = sizes.iter().map(|(name, size)| (name.to_string(), *size)).collect();
    Machine { sizes, ..Machine::default() }
}

impl fmt::Display for Report {
    /// One line for each rule that fired, and the work before and after.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fired in &self.fired {
            writeln!(f, "{} ×{}", fired.rule, fired.sites.len())?;
        }
        if let Some(precision) = &self.precision {
            writeln!(
                f,
                "{}: {} of {} layers",
                precision.precision.name(),
                precision.lowered(),
                precision.layers.len()
            )?;
        }
        let (before, after) = (&self.before, &self.after);
        write!(
            f,
            "{} nodes -> {}, predicted {:.3} ms -> {:.3} ms",
            before.nodes,
            after.nodes,
            before.seconds * 1e3,
            after.seconds * 1e3
        )
    }
}
