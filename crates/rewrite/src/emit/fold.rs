//! Computes, after extraction, the constants that the chosen program reads, by the reference evaluation.
//!
//! Every constant class is computed once, level by level, and dropped after its last reader, so that memory follows what
//! is live. What would add more than [`ALLOWANCE`] and twice the model's constants stays operators, and so do stored
//! weights that would only become wider: a file of integers or halves is not blown up to floats.

use super::Chosen;
use crate::egraph::analysis::{Egg, compute};
use crate::egraph::node::Code;
use egg::Id;
use fusebox_ir::{Function, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tensors of constant classes that something reads which is not constant.
pub(crate) type Folded = BTreeMap<Id, Tensor>;

/// Bytes that folding may add to a model of few constants.
const ALLOWANCE: f64 = (64 << 20) as f64;

/// Classes worth less than this per level are computed by one thread.
const WORTH_THREADS: f64 = (1 << 18) as f64;

/// Computes all constants that the program needs. A class that cannot be computed, or for which nothing is left of the
/// allowance of 64 MiB beyond twice the bytes of the model's own constants, is missing from the result.
pub(crate) fn fold(
    egraph: &Egg,
    chosen: &Chosen<'_>,
    roots: &[Id],
    functions: &[Function],
    threads: usize,
    keep_stored: bool,
) -> Folded {
    let mut needed: BTreeSet<Id> = BTreeSet::new();
    let roots: Vec<Id> = roots.iter().map(|r| egraph.find(*r)).collect();
    needed.extend(roots.iter().filter(|r| is_folded(egraph, chosen, **r)));
    for id in chosen.used() {
        if egraph[id].data.constant {
            continue;
        }
        let children = chosen.node(id).children.iter().map(|c| egraph.find(*c));
        needed.extend(children.filter(|c| is_folded(egraph, chosen, *c)));
    }
    if keep_stored {
        needed = without_stored(egraph, chosen, functions, &needed);
    }
    let mut left = ALLOWANCE + 2.0 * egraph.analysis.tables.constant_bytes() as f64;
    needed.retain(|id| {
        let bytes = egraph[*id].data.bytes;
        let fits = bytes <= left;
        left -= if fits { bytes } else { 0.0 };
        fits
    });
    let work = Work::of(egraph, chosen, &needed, functions);
    work.run(&needed, threads)
}

/// Constants smaller than this are always computed.
const WORTH_KEEPING: f64 = 4096.0;

/// What makes so much more of its sources is generated, not stored.
const MOST_WIDENING: f64 = 16.5;

/// Leaves out classes that hold more bytes than the constants they are made of; what those read takes their place.
fn without_stored(
    egraph: &Egg,
    chosen: &Chosen<'_>,
    functions: &[Function],
    needed: &BTreeSet<Id>,
) -> BTreeSet<Id> {
    let work = Work::of(egraph, chosen, needed, functions);
    let mut sources: BTreeMap<Id, f64> = BTreeMap::new();
    for id in work.levels.iter().flatten() {
        let read: BTreeSet<Id> = work.operands(*id).into_iter().collect();
        let bytes = match work.given(*id) {
            Some(tensor) => tensor.data().len() as f64,
            None => read.iter().map(|operand| sources[operand]).sum(),
        };
        sources.insert(*id, bytes);
    }
    let is_kept = |id: &Id| {
        let bytes = egraph[*id].data.bytes;
        bytes >= WORTH_KEEPING && bytes > sources[id] && bytes <= MOST_WIDENING * sources[id]
    };
    let mut computed = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut stack: Vec<Id> = needed.iter().copied().collect();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        if is_kept(&id) {
            stack.extend(work.operands(id).into_iter().filter(|operand| is_folded(egraph, chosen, *operand)));
        } else {
            computed.insert(id);
        }
    }
    computed
}

/// Constant classes to compute: operands first.
struct Work<'a> {
    egraph: &'a Egg,
    chosen: &'a Chosen<'a>,
    functions: &'a [Function],
    /// Classes by the longest chain of operators below them.
    levels: Vec<Vec<Id>>,
    /// How many classes read each.
    readers: BTreeMap<Id, usize>,
}

fn is_folded(egraph: &Egg, chosen: &Chosen<'_>, id: Id) -> bool {
    egraph[id].data.constant && !matches!(chosen.node(id).code, Code::CONST | Code::NONE)
}

impl<'a> Work<'a> {
    fn of(egraph: &'a Egg, chosen: &'a Chosen<'a>, needed: &BTreeSet<Id>, functions: &'a [Function]) -> Self {
        let mut work = Self { egraph, chosen, functions, levels: Vec::new(), readers: BTreeMap::new() };
        let mut level: BTreeMap<Id, usize> = BTreeMap::new();
        // Post-order without recursion: a chain of constants may be as long as the file.
        let mut stack: Vec<(Id, bool)> = needed.iter().map(|id| (*id, false)).collect();
        while let Some((id, is_ready)) = stack.pop() {
            if level.contains_key(&id) {
                continue;
            }
            let operands = work.operands(id);
            if !is_ready {
                stack.push((id, true));
                stack.extend(operands.into_iter().map(|operand| (operand, false)));
                continue;
            }
            let depth =
                operands.iter().map(|operand| level.get(operand).map_or(0, |d| d + 1)).max().unwrap_or(0);
            operands.iter().for_each(|operand| *work.readers.entry(*operand).or_insert(0) += 1);
            level.insert(id, depth);
            work.levels.resize(work.levels.len().max(depth + 1), Vec::new());
            work.levels[depth].push(id);
        }
        work
    }

    /// The tensor of a class that needs no computing.
    fn given(&self, id: Id) -> Option<&Tensor> {
        let node = self.chosen.node(id);
        let number = if node.code == Code::CONST { Some(node.tag) } else { self.egraph[id].data.value };
        number.map(|number| self.egraph.analysis.tables.tensor(number))
    }

    /// The operator that computes a class, with the output that it is.
    fn producer(&self, id: Id) -> (Id, usize) {
        let node = self.chosen.node(id);
        if node.code == Code::PROJ {
            (self.egraph.find(node.children[0]), node.tag as usize)
        } else {
            (id, 0)
        }
    }

    /// Classes to be computed before this one, absent and given ones left out, each as often as it is read.
    fn operands(&self, id: Id) -> Vec<Id> {
        if self.given(id).is_some() {
            return Vec::new();
        }
        let node = self.chosen.node(self.producer(id).0);
        let children = node.children.iter().map(|child| self.egraph.find(*child));
        // An operand that is not constant is never computed: its reader is then missing too.
        let is_computed =
            |child: &Id| self.egraph[*child].data.constant && self.chosen.node(*child).code != Code::NONE;
        children.filter(is_computed).collect()
    }

    fn run(mut self, needed: &BTreeSet<Id>, threads: usize) -> Folded {
        let mut done: Folded = BTreeMap::new();
        for level in std::mem::take(&mut self.levels) {
            for (id, tensor) in self.compute_all(&level, &done, threads) {
                done.insert(id, tensor);
            }
            let read: Vec<Id> = level.iter().flat_map(|id| self.operands(*id)).collect();
            for operand in read {
                let readers = self.readers.entry(operand).or_insert(1);
                *readers -= 1;
                if *readers == 0 && !needed.contains(&operand) {
                    done.remove(&operand);
                }
            }
        }
        done.retain(|id, _| needed.contains(id));
        done
    }

    fn compute_all(&self, level: &[Id], done: &Folded, threads: usize) -> Vec<(Id, Tensor)> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut computed = Vec::new();
            loop {
                let Some(id) = level.get(next.fetch_add(1, Ordering::Relaxed)) else { return computed };
                if let Some(tensor) = self.compute(*id, done) {
                    computed.push((*id, tensor));
                }
            }
        };
        let bytes: f64 = level.iter().map(|id| self.egraph[*id].data.bytes).sum();
        let workers = if bytes < WORTH_THREADS { 1 } else { threads.clamp(1, 16).min(level.len()) };
        crate::parallel::gather(workers, work)
    }

    fn compute(&self, id: Id, done: &Folded) -> Option<Tensor> {
        if let Some(tensor) = self.given(id) {
            return Some(tensor.clone());
        }
        let (producer, slot) = self.producer(id);
        let node = self.chosen.node(producer);
        let operand = |child: &Id| {
            let child = self.egraph.find(*child);
            match self.chosen.node(child).code {
                Code::NONE => Some(None),
                _ => done.get(&child).cloned().map(Some),
            }
        };
        let inputs: Vec<Option<Tensor>> = node.children.iter().map(operand).collect::<Option<_>>()?;
        let attrs = self.egraph.analysis.tables.attrs(node.attrs);
        compute(node, attrs, &inputs, self.functions)?.into_iter().nth(slot)
    }
}
