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
    let mut run = Run {
        egraph,
        rules,
        log,
        threads,
        iterations: limits.iterations,
        nodes: limits.base_nodes + limits.nodes_per_node * size,
        matches: 4000 + limits.matches_per_node * size,
        outcome: Outcome::default(),
    };
    for phase in Phase::ALL {
        run.phase(phase)?;
    }
    Ok(run.outcome)
}

struct Run<'a> {
    egraph: &'a mut Egg,
    rules: &'a [Rule],
    log: &'a mut Log,
    threads: usize,
    iterations: usize,
    nodes: usize,
    matches: usize,
    outcome: Outcome,
}

impl Run<'_> {
    fn phase(&mut self, phase: Phase) -> Result<(), RewriteError> {
        let rules = self.rules;
        let of = |kind: Kind| -> Vec<usize> {
            (0..rules.len()).filter(|i| active(&rules[*i], phase) && rules[*i].kind == kind).collect()
        };
        let (single, groups) = (of(Kind::Rule), of(Kind::Group));
        let mut stats = PhaseStats { phase: phase.name(), ..PhaseStats::default() };
        // Groups are formed when every site is in its last form, and again whenever that changed something.
        let mut grouping = false;
        loop {
            if stats.iterations == self.iterations {
                let limit = self.iterations;
                self.outcome.limits.push(LimitHit::Iterations { phase: phase.name(), limit });
                break;
            }
            stats.iterations += 1;
            let Some(changed) = self.iterate(if grouping { &groups } else { &single }, &mut stats)? else {
                break;
            };
            if changed == 0 && (grouping || groups.is_empty()) {
                break;
            }
            grouping = !grouping && changed == 0;
        }
        stats.nodes = self.egraph.total_number_of_nodes();
        stats.classes = self.egraph.number_of_classes();
        self.outcome.phases.push(stats);
        Ok(())
    }

    /// Searches and applies rules once. Returns how many sites taught the e-graph something, or `None` when it is full.
    fn iterate(&mut self, active: &[usize], stats: &mut PhaseStats) -> Result<Option<usize>, RewriteError> {
        let found = search_all(self.egraph, self.rules, active, self.matches, self.threads);
        let (mut changed, mut full) = (0, false);
        for (index, sites) in found {
            let rule = &self.rules[index];
            if sites.iter().any(|(_, cut)| *cut) {
                self.outcome.limits.push(LimitHit::Matches { rule: rule.name.clone(), limit: self.matches });
            }
            for (variant, (matches, _)) in rule.variants.iter().zip(sites) {
                stats.matches += matches.len();
                changed += run_variant(self.egraph, index, rule, variant, &matches, self.log);
                check(self.egraph, self.rules)?;
            }
            // `total_size` counts e-nodes that merged since, but it costs nothing to ask.
            full = self.egraph.total_size() > self.nodes && self.egraph.total_number_of_nodes() > self.nodes;
            if full {
                self.outcome.limits.push(LimitHit::Nodes { rule: rule.name.clone(), limit: self.nodes });
                break;
            }
        }
        self.egraph.rebuild();
        check(self.egraph, self.rules)?;
        stats.applied += changed;
        Ok((!full).then_some(changed))
    }
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
    let mut found = crate::parallel::gather(threads.min(16), work);
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
