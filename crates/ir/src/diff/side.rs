//! What the alignment knows of each graph: order, hashes from above and from below, readers, and which inputs of the
//! two graphs correspond.

use crate::text::{canonical_order, print::signature};
use crate::{Graph, Node, NodeId, ValueId};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3;

/// Both graphs.
pub(super) struct Sides<'g> {
    pub(super) before: Side<'g>,
    pub(super) after: Side<'g>,
}

/// One graph. Vectors of nodes and values are indexed by id; removed nodes keep zeros.
pub(super) struct Side<'g> {
    pub(super) graph: &'g Graph,
    /// Canonical order of the nodes.
    pub(super) order: Vec<NodeId>,
    /// Place of each node in that order.
    pub(super) place: Vec<usize>,
    /// Operator, attributes, regions.
    pub(super) signature: Vec<u64>,
    /// Signature and constants read.
    pub(super) own: Vec<u64>,
    /// Signature and everything read, down to the inputs.
    pub(super) up: Vec<u64>,
    /// `own` and everything that reads the node, up to the outputs.
    pub(super) down: Vec<u64>,
    /// Nodes that read each value, with the position at which they do.
    pub(super) readers: Vec<Vec<(NodeId, usize)>>,
    /// Hash of each value that is no node's output.
    leaves: Vec<Option<u64>>,
}

impl<'g> Sides<'g> {
    pub(super) fn new(before: &'g Graph, after: &'g Graph) -> Self {
        let marks = input_marks(before, after);
        let mut contents = BTreeMap::new();
        let before = Side::new(before, &marks.0, &mut contents);
        let after = Side::new(after, &marks.1, &mut contents);
        Self { before, after }
    }
}

/// Marks for the inputs and captures of both graphs: equal marks correspond, by name first and then by position.
fn input_marks(before: &Graph, after: &Graph) -> (Vec<u64>, Vec<u64>) {
    let name = |graph: &Graph, value: ValueId| graph.value(value).name.clone();
    let left: Vec<ValueId> = before.inputs.iter().chain(&before.captured).copied().collect();
    let right: Vec<ValueId> = after.inputs.iter().chain(&after.captured).copied().collect();
    let marks: Vec<u64> = (0..left.len() as u64).collect();
    let named: BTreeMap<String, usize> =
        left.iter().enumerate().map(|(i, v)| (name(before, *v), i)).filter(|(n, _)| !n.is_empty()).collect();
    let mut taken = vec![false; left.len()];
    let mut found: Vec<Option<usize>> = right.iter().map(|v| named.get(&name(after, *v)).copied()).collect();
    for slot in &mut found {
        *slot = slot.filter(|i| !std::mem::replace(&mut taken[*i], true));
    }
    let other = found.iter().enumerate().map(|(place, slot)| {
        let by_place = slot.or_else(|| (place < taken.len() && !taken[place]).then_some(place));
        by_place.inspect(|i| taken[*i] = true).map_or(u64::MAX - place as u64, |i| i as u64)
    });
    let other = other.collect();
    (marks, other)
}

/// Content hashes of constants by address: graphs made from one file share their bytes.
type Contents = BTreeMap<(usize, usize, u64), u128>;

impl<'g> Side<'g> {
    fn new(graph: &'g Graph, marks: &[u64], contents: &mut Contents) -> Self {
        let slots = graph.nodes().map(|(id, _)| id.0 as usize + 1).max().unwrap_or(0);
        let mut side = Self {
            graph,
            order: canonical_order(graph),
            place: vec![0; slots],
            signature: vec![0; slots],
            own: vec![0; slots],
            up: vec![0; slots],
            down: vec![0; slots],
            readers: vec![Vec::new(); graph.value_count()],
            leaves: leaves(graph, marks, contents),
        };
        for (place, id) in side.order.clone().into_iter().enumerate() {
            side.place[id.0 as usize] = place;
            let node = graph.node(id);
            let index = id.0 as usize;
            side.signature[index] = signature(graph, id);
            let constants = node.reads().map(|v| if side.is_constant(v) { side.leaf(v) } else { 0 });
            side.own[index] = hash(std::iter::once(side.signature[index]).chain(constants));
            let inputs = node.inputs.iter().copied().chain(node.reads().map(Some));
            let reads = inputs.map(|v| v.map_or(1, |v| side.value_hash(v)));
            side.up[index] = hash(std::iter::once(side.signature[index]).chain(reads));
            for (slot, value) in reads_of(node) {
                side.readers[value.0 as usize].push((id, slot));
            }
        }
        side.hash_down();
        side
    }

    fn hash_down(&mut self) {
        let mut places: BTreeMap<ValueId, Vec<u64>> = BTreeMap::new();
        for (place, output) in self.graph.outputs.iter().enumerate() {
            places.entry(*output).or_default().push(place as u64);
        }
        for id in self.order.clone().into_iter().rev() {
            let mut words = vec![self.own[id.0 as usize]];
            for output in &self.graph.node(id).outputs {
                words.push(u64::from(output.is_some()));
                let Some(output) = output else { continue };
                let mut read: Vec<u64> = self.readers[output.0 as usize]
                    .iter()
                    .map(|(reader, slot)| hash([self.down[reader.0 as usize], *slot as u64]))
                    .collect();
                read.sort_unstable();
                words.extend(read);
                words.extend(places.get(output).into_iter().flatten().map(|place| hash([7, *place])));
            }
            self.down[id.0 as usize] = hash(words);
        }
    }

    /// Whether the value is a constant that stands where it is read.
    pub(super) fn is_constant(&self, value: ValueId) -> bool {
        self.graph.value(value).constant.is_some() && !self.is_input(value)
    }

    fn is_input(&self, value: ValueId) -> bool {
        // Leaves of inputs and captures are marked with a set top bit, those of constants with a clear one.
        self.leaves[value.0 as usize].is_some_and(|leaf| leaf >> 63 == 1)
    }

    /// Hash of an input, capture or constant; 0 for what nothing defines.
    pub(super) fn leaf(&self, value: ValueId) -> u64 {
        self.leaves[value.0 as usize].unwrap_or(0)
    }

    fn value_hash(&self, value: ValueId) -> u64 {
        match self.producer(value) {
            Some((node, output)) => hash([self.up[node.0 as usize], u64::from(output)]),
            None => self.leaf(value),
        }
    }

    /// The node behind a value, unless the value is an input or constant.
    pub(super) fn producer(&self, value: ValueId) -> Option<(NodeId, u32)> {
        if self.leaves[value.0 as usize].is_some() {
            return None;
        }
        self.graph.value(value).producer.filter(|(node, _)| self.graph.has_node(*node))
    }
}

/// Values that a node reads, with a position that tells inputs and captures apart.
pub(super) fn reads_of(node: &Node) -> impl Iterator<Item = (usize, ValueId)> + '_ {
    let inputs = node.inputs.iter().enumerate().filter_map(|(slot, v)| v.map(|v| (slot, v)));
    let captures = node.regions.iter().flat_map(|r| &r.captures).copied().enumerate();
    inputs.chain(captures.map(|(slot, v)| (slot + (1 << 16), v)))
}

fn leaves(graph: &Graph, marks: &[u64], contents: &mut Contents) -> Vec<Option<u64>> {
    let content = |tensor: &crate::Tensor, contents: &mut Contents| {
        let ty = xxhash_rust::xxh3::xxh3_64(tensor.ty().to_string().as_bytes());
        let data = tensor.data();
        let text = tensor.strings().map_or(0, |s| s.as_ptr() as usize);
        *contents
            .entry((data.as_ptr() as usize ^ text, data.len(), ty))
            .or_insert_with(|| tensor.content_hash())
    };
    let mut leaves: Vec<Option<u64>> = graph
        .values()
        .map(|(_, value)| value.constant.as_ref().map(|t| (content(t, contents) >> 64) as u64 >> 1))
        .collect();
    for (value, mark) in graph.inputs.iter().chain(&graph.captured).zip(marks) {
        leaves[value.0 as usize] = Some(hash([3, *mark]) | 1 << 63);
    }
    leaves
}

/// Hash of words.
pub(super) fn hash(words: impl IntoIterator<Item = u64>) -> u64 {
    let mut hasher = Xxh3::new();
    for word in words {
        hasher.update(&word.to_le_bytes());
    }
    hasher.digest()
}
