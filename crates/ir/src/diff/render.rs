//! Calls values the same on both sides and writes the lines of a hunk.
//!
//! The first graph's values keep their numbers. A value of the second graph takes the number of the one that it
//! corresponds to or stands in for, else a fresh number, so that a line that reads alike is alike.

use super::align::Pairs;
use super::side::{Side, Sides, reads_of};
use super::{Counts, DiffOptions, Hunk, Line, LineKind, OperatorCount};
use crate::text::PrintOptions;
use crate::text::print::{Labels, Scope, Writer, definitions};
use crate::{Graph, NodeId, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Both graphs under one naming of values.
pub(super) struct View<'s, 'g> {
    pub(super) sides: &'s Sides<'g>,
    pub(super) pairs: &'s Pairs,
    before: Scope<'g>,
    after: Scope<'g>,
    writer: Writer,
    pub(super) context: usize,
    /// Values of the second graph and the removed value each stands in for.
    pub(super) ties: BTreeMap<ValueId, ValueId>,
    /// Nodes of the first graph whose partner reads something else.
    pub(super) rewired: BTreeSet<NodeId>,
}

impl<'s, 'g> View<'s, 'g> {
    pub(super) fn new(sides: &'s Sides<'g>, pairs: &'s Pairs, options: &DiffOptions) -> Self {
        let ties = ties(sides, pairs);
        let before = Labels::numbered(sides.before.graph, &sides.before.order);
        let after = labels_after(sides, pairs, &ties, &before);
        let writer =
            Writer::new(PrintOptions { inline_limit: options.inline_limit, names: false, metadata: false });
        let mut view = Self {
            sides,
            pairs,
            before: Scope { graph: sides.before.graph, labels: before },
            after: Scope { graph: sides.after.graph, labels: after },
            writer,
            context: options.context,
            ties,
            rewired: BTreeSet::new(),
        };
        let reads_other = |(old, new): &(NodeId, NodeId)| view.reads(*old, true) != view.reads(*new, false);
        view.rewired = view.all_pairs().filter(reads_other).map(|(old, _)| old).collect();
        view
    }

    /// Pairs in the order of the first graph.
    pub(super) fn all_pairs(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        let order = self.sides.before.order.iter();
        order.filter_map(|old| Some((*old, self.pairs.to_after[old.0 as usize]?)))
    }

    /// Labels and constants that a node reads.
    fn reads(&self, id: NodeId, first: bool) -> Vec<(String, u64)> {
        let (side, scope) = self.side(first);
        let node = side.graph.node(id);
        let captures = node.regions.iter().flat_map(|r| &r.captures).map(|v| Some(*v));
        node.inputs
            .iter()
            .copied()
            .chain(captures)
            .map(|value| {
                let Some(value) = value else { return ("_".to_owned(), 0) };
                let constant = if side.is_constant(value) { side.leaf(value) } else { 0 };
                (scope.labels.get(value).unwrap_or_default().to_owned(), constant)
            })
            .collect()
    }

    pub(super) fn side(&self, first: bool) -> (&Side<'g>, &Scope<'g>) {
        if first { (&self.sides.before, &self.before) } else { (&self.sides.after, &self.after) }
    }

    pub(super) fn counts(&self) -> Counts {
        let paired = self.all_pairs().count();
        let mut operators: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (_, node) in self.sides.before.graph.nodes() {
            operators.entry(node.op.to_string()).or_default().0 += 1;
        }
        for (_, node) in self.sides.after.graph.nodes() {
            operators.entry(node.op.to_string()).or_default().1 += 1;
        }
        Counts {
            added: self.sides.after.order.len() - paired,
            removed: self.sides.before.order.len() - paired,
            rewired: self.rewired.len(),
            unchanged: paired - self.rewired.len(),
            operators: operators
                .into_iter()
                .map(|(op, (before, after))| OperatorCount { op, before, after })
                .collect(),
        }
    }

    /// The lines of one node.
    pub(super) fn lines(&self, id: NodeId, kind: LineKind) -> Vec<Line> {
        let (_, scope) = self.side(kind == LineKind::Removed);
        let mut text = String::new();
        self.writer.node(&mut text, scope, id, 0);
        text.lines().map(|text| Line { kind, text: text.to_owned() }).collect()
    }

    /// The first line of a graph: its inputs and outputs.
    pub(super) fn interface(&self, first: bool) -> String {
        let mut text = String::new();
        let (_, scope) = self.side(first);
        self.writer.interface(&mut text, scope, None);
        text
    }

    /// What two hunks that say the same have in common: their lines with values numbered by first use, large constants
    /// without their content, results without types, because inference knows more of some layers than of others.
    pub(super) fn key(&self, nodes: &[(NodeId, LineKind)]) -> String {
        let mut seen = [BTreeMap::new(), BTreeMap::new()];
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        for (id, kind) in nodes {
            let first = *kind == LineKind::Removed;
            let (side, scope) = self.side(first);
            let node = side.graph.node(*id);
            let values = reads_of(node).map(|(_, v)| v).chain(node.outputs.iter().flatten().copied());
            for value in values {
                if let Some(label) = scope.labels.get(value) {
                    let next = numbers.len();
                    let number = *numbers.entry(label.to_owned()).or_insert(next);
                    seen[usize::from(first)].insert(value, format!("%{number}"));
                }
            }
        }
        let writer = self.writer.without_content();
        let [after, before] = seen;
        let mut text = String::new();
        for (id, kind) in nodes {
            let first = *kind == LineKind::Removed;
            let scope = Scope {
                graph: self.side(first).0.graph,
                labels: Labels(if first { before.clone() } else { after.clone() }),
            };
            text.push_str(&kind.to_string());
            writer.node(&mut text, &scope, *id, 0);
            text.push('\n');
        }
        text
    }
}

/// Which removed value each new value stands in for: the one of the same name, or the one that the same reader or
/// output of the graph read in its place.
fn ties(sides: &Sides<'_>, pairs: &Pairs) -> BTreeMap<ValueId, ValueId> {
    let (left, right) = (&sides.before, &sides.after);
    let removed = |v: ValueId| left.producer(v).is_some_and(|(n, _)| pairs.to_after[n.0 as usize].is_none());
    let added = |v: ValueId| right.producer(v).is_some_and(|(n, _)| pairs.to_before[n.0 as usize].is_none());
    let mut ties = Ties::default();
    let named: BTreeMap<&str, ValueId> = left
        .graph
        .values()
        .filter(|(id, v)| !v.name.is_empty() && removed(*id))
        .map(|(id, v)| (&*v.name, id))
        .collect();
    for (new, value) in right.graph.values() {
        if let Some(old) = named.get(&*value.name)
            && added(new)
        {
            ties.tie(new, *old);
        }
    }
    let by_output = left.graph.outputs.iter().copied().zip(right.graph.outputs.iter().copied());
    let by_reader = left.order.iter().flat_map(|old| {
        let new = pairs.to_after[old.0 as usize];
        let operands: BTreeMap<usize, ValueId> =
            new.map(|new| reads_of(right.graph.node(new)).collect()).unwrap_or_default();
        let old: Vec<(usize, ValueId)> = reads_of(left.graph.node(*old)).collect();
        old.into_iter().filter_map(move |(slot, value)| Some((value, *operands.get(&slot)?)))
    });
    for (old, new) in by_output.chain(by_reader) {
        if removed(old) && added(new) {
            ties.tie(new, old);
        }
    }
    ties.to_removed
}

#[derive(Default)]
struct Ties {
    to_removed: BTreeMap<ValueId, ValueId>,
    taken: BTreeSet<ValueId>,
}

impl Ties {
    /// Keeps the first tie of each value.
    fn tie(&mut self, new: ValueId, old: ValueId) {
        if !self.to_removed.contains_key(&new) && self.taken.insert(old) {
            self.to_removed.insert(new, old);
        }
    }
}

fn labels_after(
    sides: &Sides<'_>,
    pairs: &Pairs,
    ties: &BTreeMap<ValueId, ValueId>,
    before: &Labels,
) -> Labels {
    let (left, right) = (&sides.before, &sides.after);
    let leaves = |graph: &Graph| graph.inputs.iter().chain(&graph.captured).copied().collect::<Vec<_>>();
    let by_leaf: BTreeMap<u64, ValueId> = leaves(left.graph).into_iter().map(|v| (left.leaf(v), v)).collect();
    let partner = |value: ValueId| match right.producer(value) {
        None => by_leaf.get(&right.leaf(value)).copied(),
        Some((node, output)) => match pairs.to_before[node.0 as usize] {
            Some(old) => left.graph.node(old).output(output as usize),
            None => ties.get(&value).copied(),
        },
    };
    let mut labels = Labels::default();
    let mut fresh = before.0.len();
    for value in definitions(right.graph, &right.order) {
        let label = partner(value).and_then(|old| before.get(old)).map(str::to_owned);
        labels.0.entry(value).or_insert_with(|| {
            label.unwrap_or_else(|| {
                fresh += 1;
                format!("%{}", fresh - 1)
            })
        });
    }
    labels
}

/// A hunk and what folding needs to know of it.
pub(super) struct Drawn {
    pub(super) hunk: Hunk,
    pub(super) key: String,
}

/// Merges hunks of equal keys into the first of them.
pub(super) fn fold(hunks: &mut Vec<Drawn>) {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Drawn> = Vec::new();
    for drawn in std::mem::take(hunks) {
        match first.get(&drawn.key) {
            Some(index) => kept[*index].hunk.places.extend(drawn.hunk.places),
            None => {
                first.insert(drawn.key.clone(), kept.len());
                kept.push(drawn);
            }
        }
    }
    *hunks = kept;
}
