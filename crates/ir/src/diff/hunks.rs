//! Which removed and added nodes belong together, and under which rule.
//!
//! An added node that names its sources claims them. The rest is joined along edges, and across the two graphs where a
//! new value stands in for a removed one. Without provenance a model fused throughout is therefore one large hunk: that
//! is what the graphs alone say.

use super::render::{Drawn, View};
use super::side::reads_of;
use super::{Hunk, INTERFACE, Line, LineKind, OTHER, RULES, SOURCES};
use crate::{Node, NodeId, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Groups in order of their first hunk, [`INTERFACE`] first and [`OTHER`] last.
pub(super) fn groups(view: &View<'_, '_>) -> Vec<(String, Vec<Drawn>)> {
    let mut groups: Vec<(String, Vec<Drawn>)> = interface(view).into_iter().collect();
    let mut other = Vec::new();
    for (rule, drawn) in Changes::new(view).hunks() {
        let Some(rule) = rule else {
            other.push(drawn);
            continue;
        };
        match groups.iter_mut().find(|(name, _)| *name == rule) {
            Some((_, hunks)) => hunks.push(drawn),
            None => groups.push((rule, vec![drawn])),
        }
    }
    if !other.is_empty() {
        groups.push((OTHER.to_owned(), other));
    }
    groups
}

/// The hunk of a changed first line.
fn interface(view: &View<'_, '_>) -> Option<(String, Vec<Drawn>)> {
    let [before, after] = [true, false].map(|first| view.interface(first));
    if before == after {
        return None;
    }
    let lines = vec![
        Line { kind: LineKind::Removed, text: before.clone() },
        Line { kind: LineKind::Added, text: after },
    ];
    let hunk = Hunk { places: vec!["inputs and outputs".to_owned()], lines };
    Some((INTERFACE.to_owned(), vec![Drawn { hunk, key: before }]))
}

/// Changed nodes as items of a union-find: those of the first graph, then those of the second.
struct Changes<'v, 's, 'g> {
    view: &'v View<'s, 'g>,
    items: Vec<(NodeId, LineKind)>,
    before: BTreeMap<NodeId, usize>,
    after: BTreeMap<NodeId, usize>,
    parent: Vec<usize>,
    /// Whether an item belongs to an added node that names its sources.
    claimed: Vec<bool>,
}

impl<'v, 's, 'g> Changes<'v, 's, 'g> {
    fn new(view: &'v View<'s, 'g>) -> Self {
        let (left, right) = (&view.sides.before, &view.sides.after);
        let is_rewired = |id: NodeId| view.rewired.contains(&id);
        let before = left.order.iter().copied();
        let before = before.filter(|id| view.pairs.to_after[id.0 as usize].is_none() || is_rewired(*id));
        let after = right.order.iter().copied();
        let after = after.filter(|id| view.pairs.to_before[id.0 as usize].is_none_or(is_rewired));
        let items: Vec<(NodeId, LineKind)> =
            before.map(|id| (id, LineKind::Removed)).chain(after.map(|id| (id, LineKind::Added))).collect();
        let index = |kind: LineKind| {
            let items = items.iter().enumerate().filter(|(_, item)| item.1 == kind);
            items.map(|(index, item)| (item.0, index)).collect::<BTreeMap<_, _>>()
        };
        let (before, after) = (index(LineKind::Removed), index(LineKind::Added));
        let (parent, claimed) = ((0..items.len()).collect(), vec![false; items.len()]);
        let mut changes = Self { view, items, before, after, parent, claimed };
        changes.join_rewired();
        changes.join_sources();
        changes.join_neighbours();
        changes
    }

    fn root(&mut self, mut item: usize) -> usize {
        while self.parent[item] != item {
            self.parent[item] = self.parent[self.parent[item]];
            item = self.parent[item];
        }
        item
    }

    /// Joins two sets; the smaller root stays, so the result does not depend on the order of joins.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    fn node(&self, item: usize) -> &'g Node {
        let (id, kind) = self.items[item];
        self.view.side(kind == LineKind::Removed).0.graph.node(id)
    }

    fn join_rewired(&mut self) {
        for old in &self.view.rewired {
            let new = self.view.pairs.to_after[old.0 as usize];
            if let Some(new) = new.and_then(|new| self.after.get(&new).copied()) {
                self.join(self.before[old], new);
            }
        }
    }

    /// Joins each added node with the sources that no earlier one has claimed, and with added nodes of equal sources.
    fn join_sources(&mut self) {
        let named: BTreeMap<&str, usize> =
            self.before.values().map(|item| (self.node(*item).name.as_str(), *item)).collect();
        let mut equal: BTreeMap<&str, usize> = BTreeMap::new();
        let mut added: Vec<usize> = self.after.values().copied().collect();
        added.sort_unstable();
        for item in added {
            let Some(sources) = self.node(item).metadata(SOURCES).filter(|s| !s.is_empty()) else { continue };
            self.claimed[item] = true;
            if let Some(first) = equal.get(sources) {
                self.join(*first, item);
                continue;
            }
            equal.insert(sources, item);
            for source in sources.split(';').map(str::trim).filter(|name| !name.is_empty()) {
                if let Some(source) = named.get(source)
                    && !std::mem::replace(&mut self.claimed[*source], true)
                {
                    self.join(*source, item);
                }
            }
        }
    }

    /// Joins what nothing claims along edges, and new values with the removed ones that they stand in for.
    fn join_neighbours(&mut self) {
        for item in 0..self.items.len() {
            let (_, kind) = self.items[item];
            let (side, _) = self.view.side(kind == LineKind::Removed);
            let index = if kind == LineKind::Removed { &self.before } else { &self.after };
            let sources: Vec<usize> = reads_of(self.node(item))
                .filter_map(|(_, value)| side.producer(value))
                .filter_map(|(source, _)| index.get(&source).copied())
                .collect();
            for source in sources {
                if !self.claimed[item] && !self.claimed[source] {
                    self.join(item, source);
                }
            }
        }
        for (new, old) in &self.view.ties {
            let old = self.view.sides.before.producer(*old).and_then(|(n, _)| self.before.get(&n).copied());
            let new = self.view.sides.after.producer(*new).and_then(|(n, _)| self.after.get(&n).copied());
            if let (Some(old), Some(new)) = (old, new)
                && !self.claimed[old]
            {
                self.join(old, new);
            }
        }
    }

    /// Hunks in order of their first item, each with its rules.
    fn hunks(mut self) -> Vec<(Option<String>, Drawn)> {
        let mut sets: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for item in 0..self.items.len() {
            let root = self.root(item);
            sets.entry(root).or_default().push(item);
        }
        sets.into_values().map(|items| (self.rules(&items), self.draw(&items))).collect()
    }

    fn rules(&self, items: &[usize]) -> Option<String> {
        let mut rules: Vec<&str> = Vec::new();
        for item in items.iter().filter(|item| self.items[**item].1 == LineKind::Added) {
            let named = self.node(*item).metadata(RULES).unwrap_or_default();
            for rule in named.split(';').map(str::trim).filter(|rule| !rule.is_empty()) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
        (!rules.is_empty()).then(|| rules.join("; "))
    }

    fn draw(&self, items: &[usize]) -> Drawn {
        let (before, after) = self.context(items);
        let nodes: Vec<(NodeId, LineKind)> = items.iter().map(|item| self.items[*item]).collect();
        let around = |id: &NodeId| self.view.lines(*id, LineKind::Context);
        let lines = before.iter().flat_map(around);
        let lines = lines.chain(nodes.iter().flat_map(|(id, kind)| self.view.lines(*id, *kind)));
        let lines = lines.chain(after.iter().flat_map(around)).collect();
        Drawn { hunk: Hunk { places: vec![self.place(items)], lines }, key: self.view.key(&nodes) }
    }

    /// Unchanged nodes of the second graph that the hunk's nodes read, and that read them.
    fn context(&self, items: &[usize]) -> (Vec<NodeId>, Vec<NodeId>) {
        let (mut above, mut below) = (BTreeSet::new(), BTreeSet::new());
        for item in items {
            let (id, kind) = self.items[*item];
            let first = kind == LineKind::Removed;
            let (side, _) = self.view.side(first);
            let node = side.graph.node(id);
            above.extend(reads_of(node).filter_map(|(_, v)| self.unchanged(side.producer(v)?.0, first)));
            let readers = |value: &ValueId| side.readers[value.0 as usize].iter().map(|(reader, _)| *reader);
            below.extend(
                node.outputs.iter().flatten().flat_map(readers).filter_map(|r| self.unchanged(r, first)),
            );
        }
        let pick = |ids: BTreeSet<(usize, NodeId)>, last: bool| -> Vec<NodeId> {
            let skip = if last { ids.len().saturating_sub(self.view.context) } else { 0 };
            ids.into_iter().skip(skip).take(self.view.context).map(|(_, id)| id).collect()
        };
        (pick(above, true), pick(below, false))
    }

    /// The node of the second graph, with its place in the order, if the node is unchanged.
    fn unchanged(&self, id: NodeId, first: bool) -> Option<(usize, NodeId)> {
        let pairs = self.view.pairs;
        let (old, new) =
            if first { (id, pairs.to_after[id.0 as usize]?) } else { (pairs.to_before[id.0 as usize]?, id) };
        (!self.view.rewired.contains(&old)).then(|| (self.view.sides.after.place[new.0 as usize], new))
    }

    /// A name that tells where the hunk is.
    fn place(&self, items: &[usize]) -> String {
        let added = || items.iter().filter(|item| self.items[**item].1 == LineKind::Added);
        let source = added().filter_map(|item| self.node(*item).metadata(SOURCES)?.split(';').next());
        let removed = items.iter().map(|item| self.node(*item).name.as_str());
        let values = items.iter().filter_map(|item| {
            let (id, kind) = self.items[*item];
            let graph = self.view.side(kind == LineKind::Removed).0.graph;
            Some(graph.value(graph.node(id).output(0)?).name.as_str())
        });
        let ops = items.iter().map(|item| self.node(*item).op.to_string());
        let mut names =
            source.chain(removed).chain(values).map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned);
        names.next().or_else(|| ops.into_iter().next()).unwrap_or_default()
    }
}
