//! Runs rules phase by phase until nothing changes or a counted limit is reached.
//!
//! Every iteration searches all rules on the same e-graph, then applies the matches in the order of rules. Search only
//! reads, so it may use threads: results are put together in the order of rules and do not depend on their number.

use crate::apply::{Log, apply, apply_group};
use crate::egraph::analysis::Egg;
use crate::error::RewriteError;
use crate::expr::Subst;
use crate::lang::ast::{Kind, Phase};
use crate::report::{LimitHit, PhaseStats};
use crate::rule::{Rule, Variant};
use crate::search::{Match, search};
use crate::value::Operand;
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counted limits of a run. None of them is a time: results do not depend on how fast the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Iterations of a phase.
    pub iterations: usize,
    /// E-nodes per node of the graph, on top of `base_nodes`.
    pub nodes_per_node: usize,
    /// E-nodes that any graph may have.
    pub base_nodes: usize,
    /// Matches of one rule in one iteration, per node of the graph, on top of 4,000.
    pub matches_per_node: usize,
    /// Attempts of the extraction to escape a local optimum.
    pub kicks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { iterations: 16, nodes_per_node: 12, base_nodes: 10_000, matches_per_node: 16, kicks: 64 }
    }
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) phases: Vec<PhaseStats>,
    pub(crate) limits: Vec<LimitHit>,
}

/// Saturates the e-graph with rules, phase by phase. `size` is the number of nodes of the graph.
///
/// # Errors
/// A rule joined two classes whose types contradict each other.
pub(crate) fn saturate(
    egraph: &mut Egg,
    rules: &[Rule],
    limits: &Limits,
    size: usize,
    threads: usize,
    log: &mut Log,
) -> Result<Outcome, RewriteError> {
    let mut outcome = Outcome::default();
    let node_limit = limits.base_nodes + limits.nodes_per_node * size;
    let match_limit = 4000 + limits.matches_per_node * size;
    for phase in Phase::ALL {
        let of = |kind: Kind| -> Vec<usize> {
            (0..rules.len()).filter(|i| active(&rules[*i], phase) && rules[*i].kind == kind).collect()
        };
        let (single, groups) = (of(Kind::Rule), of(Kind::Group));
        let mut grouping = false;
        let mut stats = PhaseStats { phase: phase.name(), ..PhaseStats::default() };
        let mut stop = false;
        while !stop {
            if stats.iterations == limits.iterations {
                outcome.limits.push(LimitHit::Iterations { phase: phase.name(), limit: limits.iterations });
                break;
            }
            stats.iterations += 1;
            let active = if grouping { &groups } else { &single };
            let found = search_all(egraph, rules, active, match_limit, threads);
            let mut changed = 0;
            for (index, sites) in found {
                let rule = &rules[index];
                if sites.iter().any(|(_, cut)| *cut) {
                    outcome.limits.push(LimitHit::Matches { rule: rule.name.clone(), limit: match_limit });
                }
                for (variant, (matches, _)) in rule.variants.iter().zip(sites) {
                    stats.matches += matches.len();
                    changed += run_variant(egraph, index, rule, variant, &matches, log);
                    check(egraph, rules)?;
                }
                // `total_size` counts e-nodes that merged since, but it costs nothing to ask.
                if egraph.total_size() > node_limit && egraph.total_number_of_nodes() > node_limit {
                    outcome.limits.push(LimitHit::Nodes { rule: rule.name.clone(), limit: node_limit });
                    stop = true;
                    break;
                }
            }
            egraph.rebuild();
            check(egraph, rules)?;
            stats.applied += changed;
            // Groups are formed when every site is in its last form, and again whenever that changed something.
            stop |= changed == 0 && (grouping || groups.is_empty());
            grouping = !grouping && changed == 0;
        }
        stats.nodes = egraph.total_number_of_nodes();
        stats.classes = egraph.number_of_classes();
        outcome.phases.push(stats);
    }
    Ok(outcome)
}

fn active(rule: &Rule, phase: Phase) -> bool {
    rule.phase == phase || rule.phase == Phase::Canon
}

fn check(egraph: &Egg, rules: &[Rule]) -> Result<(), RewriteError> {
    let Some(conflict) = &egraph.analysis.conflict else { return Ok(()) };
    let at = rules.iter().find(|r| r.name == conflict.rule).map(Rule::at).unwrap_or_default();
    Err(RewriteError::Conflict {
        rule: conflict.rule.clone(),
        at,
        left: conflict.left.clone(),
        right: conflict.right.clone(),
    })
}

type Sites = Vec<(Vec<Match>, bool)>;

fn search_all(
    egraph: &Egg,
    rules: &[Rule],
    active: &[usize],
    limit: usize,
    threads: usize,
) -> Vec<(usize, Sites)> {
    let of = |index: usize| rules[index].variants.iter().map(|v| search(egraph, v, limit)).collect::<Sites>();
    // Below this size starting threads costs more than the search.
    if threads <= 1 || egraph.number_of_classes() < 2000 {
        return active.iter().map(|index| (*index, of(*index))).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let Some(index) = active.get(next.fetch_add(1, Ordering::Relaxed)) else { return done };
            done.push((*index, of(*index)));
        }
    };
    let mut found = std::thread::scope(|scope| {
        let handles: Vec<_> = (1..threads.min(16)).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for handle in handles {
            all.extend(handle.join().expect("search does not panic"));
        }
        all
    });
    found.sort_by_key(|(index, _)| *index);
    found
}

fn run_variant(
    egraph: &mut Egg,
    index: usize,
    rule: &Rule,
    variant: &Variant,
    matches: &[Match],
    log: &mut Log,
) -> usize {
    if rule.kind != Kind::Group {
        return matches.iter().filter(|site| apply(egraph, index, rule, variant, site, log)).count();
    }
    let mut changed = 0;
    let merged: BTreeSet<Id> = log.merged.iter().map(|id| egraph.find(*id)).collect();
    for sites in groups(variant, matches, &merged) {
        for part in sites.chunks(rule.max_group).filter(|part| part.len() > 1) {
            changed += usize::from(apply_group(egraph, index, rule, variant, part, log));
        }
    }
    changed
}

/// Sites that agree in every variable that is not written with `[i]`, each class once, in class order. What a group
/// rule made is no site; of sites with the same first `[i]` variable the one with the most operands is the whole.
fn groups(variant: &Variant, matches: &[Match], merged: &BTreeSet<Id>) -> Vec<Vec<Match>> {
    let first = variant.each.iter().position(|each| *each);
    let key = |s: &Match| first.map(|slot| s.subst.classes[slot]);
    let absent = |s: &Match| s.subst.classes.iter().filter(|c| **c == Some(Operand::Absent)).count();
    let mut groups: BTreeMap<String, Vec<Match>> = BTreeMap::new();
    for site in matches.iter().filter(|s| !merged.contains(&s.root)) {
        groups.entry(shared(variant, &site.subst)).or_default().push(site.clone());
    }
    let mut all: Vec<Vec<Match>> = groups.into_values().collect();
    for sites in &mut all {
        sites.sort_by_key(|s| (absent(s), s.root));
        let (mut roots, mut keys) = (BTreeSet::new(), BTreeSet::new());
        sites.retain(|s| roots.insert(s.root) && keys.insert(key(s)));
        sites.sort_by_key(|s| s.root);
    }
    all.retain(|sites| sites.len() > 1);
    all.sort_by_key(|sites| sites[0].root);
    all
}

fn shared(variant: &Variant, subst: &Subst) -> String {
    let classes: Vec<_> =
        subst.classes.iter().zip(&variant.each).filter(|(_, each)| !**each).map(|(c, _)| c).collect();
    format!("{classes:?} {:?} {:?}", subst.scalars, subst.records)
}
