//! The rewriter as a whole: type, import, saturate, extract, emit, verify.

use crate::apply::Log;
use crate::control;
use crate::egraph::import::{Imported, import};
use crate::egraph::node::ENode;
use crate::emit::{Emitted, Source, emit, provenance};
use crate::engine::{Limits, saturate};
use crate::error::RewriteError;
use crate::extract::cost::{Machine, cost};
use crate::extract::problem::problem;
use crate::extract::solve::solve;
use crate::report::{Fired, Report, Totals};
use crate::set::RuleSet;
use egg::Id;
use fusebox_ir::{Function, Graph, Node, NodeId, TensorType, Type};
use std::collections::HashMap;

/// How to optimize.
#[derive(Clone, Debug)]
pub struct Options {
    /// Counted limits.
    pub limits: Limits,
    /// The machine that programs are priced for, with sizes to assume for symbols.
    pub machine: Machine,
    /// Threads for search, hashing and constants. The result does not depend on it.
    pub threads: usize,
    /// Whether weights that a file stores in integers or halves stay so, read by operators as they were. Else they are
    /// computed like any constant: then an optimization that wants the numbers themselves finds them.
    pub keep_stored: bool,
    /// Extract what rules made even where it costs more: tests see each rule's right side this way.
    #[doc(hidden)]
    pub prefer_rewritten: bool,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (limits, machine) = (Limits::default(), Machine::default());
        Self { limits, machine, threads, keep_stored: true, prefer_rewritten: false }
    }
}

/// Rewrites a graph by rules into the cheapest equal program found. The bodies of regions are rewritten on their own.
///
/// # Errors
/// The graph is broken, or a rule is; the graph is then left as it was.
pub fn optimize(
    graph: &mut Graph,
    functions: &[Function],
    rules: &RuleSet,
    options: &Options,
) -> Result<Report, RewriteError> {
    graph.verify().map_err(|source| RewriteError::Verify { when: "before rewriting", source })?;
    let (new, report) = run(graph.clone(), functions, rules, options, 0)?;
    new.verify().map_err(|source| RewriteError::Verify { when: "after rewriting", source })?;
    *graph = new;
    Ok(report)
}

/// Regions nested deeper than this are left alone.
const MAX_DEPTH: usize = 16;

fn run(
    mut graph: Graph,
    functions: &[Function],
    rules: &RuleSet,
    options: &Options,
    depth: usize,
) -> Result<(Graph, Report), RewriteError> {
    let before = |source| RewriteError::Type { when: "before rewriting", source };
    let mut typing = fusebox_ops::infer_graph(&mut graph, functions).map_err(before)?;
    let mut report = Report { before: totals(&graph, &options.machine), ..Report::default() };
    // What is inlined may hold control flow in turn; each round uses up one level of it.
    for _ in 0..MAX_DEPTH {
        if control::resolve(&mut graph, &typing) == 0 {
            break;
        }
        typing = fusebox_ops::infer_graph(&mut graph, functions).map_err(before)?;
    }
    control::sink_constants(&mut graph);
    let mut inner = Vec::new();
    if depth < MAX_DEPTH {
        inner = regions(&mut graph, functions, rules, options, depth)?;
    }
    let cycle = |id: NodeId| RewriteError::Verify {
        when: "before rewriting",
        source: fusebox_ir::VerifyError::Cycle { node: graph.describe(id) },
    };
    let mut imported = import(&graph, options.threads).map_err(cycle)?;
    let mut log = Log::default();
    let size = graph.node_count();
    let outcome = saturate(&mut imported.egraph, rules, &options.limits, size, options.threads, &mut log)?;
    let emitted = extract(&graph, &imported, &log, functions, rules, options);
    let mut new = emitted.graph;
    fusebox_ops::infer_graph(&mut new, functions)
        .map_err(|source| RewriteError::Type { when: "after rewriting", source })?;
    let is_ours = |node: &Node| node.metadata.iter().any(|(key, _)| key == provenance::RULES);
    fusebox_ops::explicit::explicit_sizes(&mut new, is_ours);
    new.compact().map_err(|_| RewriteError::Verify {
        when: "after rewriting",
        source: fusebox_ir::VerifyError::Cycle { node: "of the extracted program".into() },
    })?;
    report.after = totals(&new, &options.machine);
    report.limits = outcome.limits;
    report.phases = outcome.phases;
    report.fired = emitted
        .sites
        .into_iter()
        .map(|(index, sites)| {
            let rule = &rules[index];
            Fired { rule: rule.name.clone(), at: rule.at(), contract: rule.contract.name(), sites }
        })
        .collect();
    report.limits.sort();
    report.limits.dedup();
    inner.into_iter().for_each(|r| report.absorb(r));
    // Folding may have made conditions known.
    if depth < MAX_DEPTH && has_regions(&new) {
        let typing = fusebox_ops::infer_graph(&mut new, functions)
            .map_err(|source| RewriteError::Type { when: "after rewriting", source })?;
        if control::resolve(&mut new, &typing) > 0 {
            let (again, second) = run(new, functions, rules, options, depth + 1)?;
            report.after = second.after;
            report.absorb(Report { before: Totals::default(), after: Totals::default(), ..second });
            return Ok((again, report));
        }
    }
    Ok((new, report))
}

fn has_regions(graph: &Graph) -> bool {
    graph.nodes().any(|(_, node)| !node.regions.is_empty())
}

/// Chooses the cheapest program of the e-graph and builds its graph.
fn extract(
    graph: &Graph,
    imported: &Imported,
    log: &Log,
    functions: &[Function],
    rules: &RuleSet,
    options: &Options,
) -> Emitted {
    let egraph = &imported.egraph;
    let roots: Vec<Id> = graph.outputs.iter().filter_map(|v| imported.class_of[v.0 as usize]).collect();
    let mut original: HashMap<ENode, u32> = HashMap::new();
    for (rank, (_, node)) in imported.nodes.iter().enumerate() {
        original.entry(provenance::canonical(egraph, node)).or_insert(rank as u32);
    }
    let price = |id: Id, node: &ENode| match options.prefer_rewritten {
        true if original.contains_key(node) => 1_000_000,
        true => 1,
        false => cost(egraph, &options.machine, node, &egraph[id].data),
    };
    let problem = problem(egraph, &roots, &original, &price);
    let solution = solve(&problem, options.limits.kicks);
    assert!(solution.cost <= solution.original, "extraction never returns a costlier program than the input");
    let source = Source {
        graph,
        imported,
        rules,
        log,
        functions,
        threads: options.threads,
        keep_stored: options.keep_stored,
    };
    emit(&source, &problem, &solution)
}

/// Rewrites the bodies of regions. A body that cannot be typed on its own stays as it is.
fn regions(
    graph: &mut Graph,
    functions: &[Function],
    rules: &RuleSet,
    options: &Options,
    depth: usize,
) -> Result<Vec<Report>, RewriteError> {
    let mut reports = Vec::new();
    for id in graph.node_ids() {
        for index in 0..graph.node(id).regions.len() {
            let region = &graph.node(id).regions[index];
            let mut body = region.graph.clone();
            for (inner, outer) in body.captured.clone().into_iter().zip(&region.captures) {
                if body.value(inner).ty == Type::Unknown {
                    body.value_mut(inner).ty = graph.value(*outer).ty.clone();
                }
            }
            if fusebox_ops::infer_graph(&mut body, functions).is_err() {
                continue;
            }
            let (body, report) = run(body, functions, rules, options, depth + 1)?;
            graph.node_mut(id).regions[index].graph = body;
            reports.push(report);
        }
    }
    Ok(reports)
}

/// Nodes, FLOPs, bytes and predicted time of a typed graph, without its regions.
pub fn totals(graph: &Graph, machine: &Machine) -> Totals {
    let mut totals = Totals { nodes: graph.node_count(), ..Totals::default() };
    for (_, node) in graph.nodes() {
        let Some(op) = fusebox_ops::op(&node.op) else {
            totals.picoseconds = totals.picoseconds.saturating_add(machine.step);
            continue;
        };
        let ty = |v: &Option<fusebox_ir::ValueId>| v.and_then(|v| graph.value(v).ty.tensor());
        let inputs: Vec<Option<&TensorType>> = node.inputs.iter().map(ty).collect();
        let outputs: Vec<Option<&TensorType>> = node.outputs.iter().map(ty).collect();
        let (picoseconds, cost) = machine.price(op, &node.attrs, &inputs, &outputs);
        totals.flops += cost.flops;
        totals.bytes += cost.bytes;
        totals.picoseconds = totals.picoseconds.saturating_add(picoseconds);
    }
    totals
}
