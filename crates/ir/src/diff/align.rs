//! Which node of one graph is which node of the other.
//!
//! Strongest evidence first: equal down to the inputs, equal up to the outputs, equal names, a constant that occurs
//! once; from every pair found, the search goes on to what it reads and what reads it. What is left is paired by
//! position where both graphs have the same number of a kind, and dropped again where no neighbour agrees.

use super::side::{Side, Sides, reads_of};
use crate::{NodeId, ValueId};
use std::collections::BTreeMap;

/// The alignment, by node index, in both directions.
pub(super) struct Pairs {
    pub(super) to_after: Vec<Option<NodeId>>,
    pub(super) to_before: Vec<Option<NodeId>>,
}

pub(super) fn align(sides: &Sides<'_>) -> Pairs {
    let mut aligner = Aligner {
        sides,
        pairs: Pairs {
            to_after: vec![None; sides.before.signature.len()],
            to_before: vec![None; sides.after.signature.len()],
        },
        fresh: Vec::new(),
    };
    aligner.by_key(Rank::InOrder, |side, id| Some(side.up[id.0 as usize]));
    let certain = aligner.fresh.clone();
    aligner.spread();
    aligner.by_key(Rank::EqualCount, |side, id| Some(side.down[id.0 as usize]));
    aligner.spread();
    aligner.by_key(Rank::Unique, |side, id| {
        let node = side.graph.node(id);
        (!node.name.is_empty()).then(|| (side.signature[id.0 as usize], node.name.clone()))
    });
    aligner.spread();
    aligner.by_key(Rank::Unique, |side, id| {
        let value = side.graph.node(id).output(0)?;
        let name = &side.graph.value(value).name;
        (!name.is_empty()).then(|| (side.signature[id.0 as usize], name.clone()))
    });
    aligner.spread();
    for rank in [Rank::Unique, Rank::EqualCount] {
        aligner.by_key(rank, |side, id| Some(side.own[id.0 as usize]));
        aligner.spread();
        aligner.by_key(rank, |side, id| Some(side.signature[id.0 as usize]));
        aligner.spread();
    }
    aligner.drop_unsupported(&certain);
    aligner.pairs
}

/// When nodes of one key are paired.
#[derive(Clone, Copy, PartialEq)]
enum Rank {
    /// One in each graph.
    Unique,
    /// The same number in both, first with first.
    EqualCount,
    /// Any number, first with first.
    InOrder,
}

impl Rank {
    fn accepts(self, before: usize, after: usize) -> bool {
        match self {
            Self::Unique => before == 1 && after == 1,
            Self::EqualCount => before == after,
            Self::InOrder => true,
        }
    }
}

struct Aligner<'s, 'g> {
    sides: &'s Sides<'g>,
    pairs: Pairs,
    /// Pairs whose neighbours have not been looked at.
    fresh: Vec<(NodeId, NodeId)>,
}

/// Nodes of one kind on both sides.
type Kinds<K> = BTreeMap<K, (Vec<NodeId>, Vec<NodeId>)>;

impl Aligner<'_, '_> {
    fn join(&mut self, before: NodeId, after: NodeId) {
        self.pairs.to_after[before.0 as usize] = Some(after);
        self.pairs.to_before[after.0 as usize] = Some(before);
        self.fresh.push((before, after));
    }

    fn free_before(&self, id: NodeId) -> bool {
        self.pairs.to_after[id.0 as usize].is_none()
    }

    fn free_after(&self, id: NodeId) -> bool {
        self.pairs.to_before[id.0 as usize].is_none()
    }

    /// Pairs unpaired nodes of equal keys.
    fn by_key<K: Ord>(&mut self, rank: Rank, key: impl Fn(&Side<'_>, NodeId) -> Option<K>) {
        let mut kinds: Kinds<K> = BTreeMap::new();
        for id in self.sides.before.order.iter().filter(|id| self.free_before(**id)) {
            if let Some(key) = key(&self.sides.before, *id) {
                kinds.entry(key).or_default().0.push(*id);
            }
        }
        for id in self.sides.after.order.iter().filter(|id| self.free_after(**id)) {
            if let Some(key) = key(&self.sides.after, *id) {
                kinds.entry(key).or_default().1.push(*id);
            }
        }
        self.pair_kinds(rank, kinds);
    }

    fn pair_kinds<K: Ord>(&mut self, rank: Rank, kinds: Kinds<K>) {
        for (before, after) in kinds.into_values().filter(|(b, a)| rank.accepts(b.len(), a.len())) {
            for (before, after) in before.into_iter().zip(after) {
                if self.free_before(before) && self.free_after(after) {
                    self.join(before, after);
                }
            }
        }
    }

    /// Goes from each new pair to its readers and to what it reads.
    fn spread(&mut self) {
        while let Some((before, after)) = self.fresh.pop() {
            let (left, right) = (self.sides.before.graph.node(before), self.sides.after.graph.node(after));
            for (old, new) in left.outputs.iter().zip(&right.outputs) {
                if let (Some(old), Some(new)) = (old, new) {
                    self.spread_to_readers(*old, *new);
                }
            }
            let operands: BTreeMap<usize, ValueId> = reads_of(right).collect();
            for (slot, old) in reads_of(left) {
                if let Some(new) = operands.get(&slot) {
                    self.spread_to_producers(old, *new);
                }
            }
        }
    }

    fn spread_to_readers(&mut self, old: ValueId, new: ValueId) {
        for constants in [true, false] {
            let mut kinds: Kinds<(u64, usize)> = BTreeMap::new();
            let key = |side: &Side<'_>, id: NodeId| {
                if constants { side.own[id.0 as usize] } else { side.signature[id.0 as usize] }
            };
            for (reader, slot) in &self.sides.before.readers[old.0 as usize] {
                if self.free_before(*reader) {
                    kinds.entry((key(&self.sides.before, *reader), *slot)).or_default().0.push(*reader);
                }
            }
            for (reader, slot) in &self.sides.after.readers[new.0 as usize] {
                if self.free_after(*reader) {
                    kinds.entry((key(&self.sides.after, *reader), *slot)).or_default().1.push(*reader);
                }
            }
            self.pair_kinds(Rank::EqualCount, kinds);
        }
    }

    fn spread_to_producers(&mut self, old: ValueId, new: ValueId) {
        let (Some((old, left)), Some((new, right))) =
            (self.sides.before.producer(old), self.sides.after.producer(new))
        else {
            return;
        };
        let alike = self.sides.before.signature[old.0 as usize] == self.sides.after.signature[new.0 as usize];
        if alike && left == right && self.free_before(old) && self.free_after(new) {
            self.join(old, new);
        }
    }

    /// Undoes pairs none of whose neighbours correspond: two `Add`s are not one because both graphs have an `Add`.
    fn drop_unsupported(&mut self, certain: &[(NodeId, NodeId)]) {
        let certain: std::collections::BTreeSet<NodeId> = certain.iter().map(|pair| pair.0).collect();
        let all: Vec<(NodeId, NodeId)> = self
            .sides
            .before
            .order
            .iter()
            .filter_map(|before| Some((*before, self.pairs.to_after[before.0 as usize]?)))
            .collect();
        for (before, after) in all {
            if !certain.contains(&before) && !self.is_supported(before, after) {
                self.pairs.to_after[before.0 as usize] = None;
                self.pairs.to_before[after.0 as usize] = None;
            }
        }
    }

    fn is_supported(&self, before: NodeId, after: NodeId) -> bool {
        let Sides { before: left, after: right } = self.sides;
        let (old, new) = (left.graph.node(before), right.graph.node(after));
        if !old.name.is_empty() && old.name == new.name {
            return true;
        }
        let operands: BTreeMap<usize, ValueId> = reads_of(new).collect();
        let reads_same = |(slot, value): (usize, ValueId)| {
            operands.get(&slot).is_some_and(|other| self.same_value(value, *other))
        };
        reads_of(old).any(reads_same)
            || old.outputs.iter().zip(&new.outputs).any(|(old, new)| match (old, new) {
                (Some(old), Some(new)) => self.same_reader(*old, *new),
                _ => false,
            })
    }

    /// Whether two computed values, inputs or captures correspond. Constants are no evidence: half of all scalars are 1.
    fn same_value(&self, old: ValueId, new: ValueId) -> bool {
        match (self.sides.before.producer(old), self.sides.after.producer(new)) {
            (Some((before, left)), Some((after, right))) => {
                left == right && self.pairs.to_after[before.0 as usize] == Some(after)
            }
            (None, None) => {
                !self.sides.before.is_constant(old)
                    && self.sides.before.leaf(old) == self.sides.after.leaf(new)
            }
            _ => false,
        }
    }

    fn same_reader(&self, old: ValueId, new: ValueId) -> bool {
        let place = |graph: &crate::Graph, value: ValueId| graph.outputs.iter().position(|v| *v == value);
        let left = place(self.sides.before.graph, old);
        if left.is_some() && left == place(self.sides.after.graph, new) {
            return true;
        }
        let readers = &self.sides.after.readers[new.0 as usize];
        self.sides.before.readers[old.0 as usize].iter().any(|(reader, slot)| {
            self.pairs.to_after[reader.0 as usize].is_some_and(|other| readers.contains(&(other, *slot)))
        })
    }
}
