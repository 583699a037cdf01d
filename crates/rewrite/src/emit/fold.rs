//! Computes, after extraction, the constants that the chosen program reads, by the reference evaluation.

use super::Chosen;
use crate::egraph::analysis::{Egg, compute};
use crate::egraph::node::{Code, ENode};
use egg::Id;
use fusebox_ir::{Function, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tensors of constant classes that something reads which is not constant.
pub(crate) type Folded = BTreeMap<Id, Tensor>;

/// Computes all constants that the program needs. A class that cannot be computed is missing from the result.
pub(crate) fn fold(
    egraph: &Egg,
    chosen: &Chosen<'_>,
    roots: &[Id],
    functions: &[Function],
    threads: usize,
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
    let needed: Vec<Id> = needed.into_iter().collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let Some(id) = needed.get(next.fetch_add(1, Ordering::Relaxed)) else { return done };
            if let Some(tensor) = evaluate(egraph, chosen, *id, functions, 0) {
                done.push((*id, tensor));
            }
        }
    };
    let workers = if needed.len() > 1 { threads.clamp(1, 16) } else { 1 };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut all: Folded = work().into_iter().collect();
        for handle in handles {
            all.extend(handle.join().expect("evaluation reports errors, it does not panic"));
        }
        all
    })
}

fn is_folded(egraph: &Egg, chosen: &Chosen<'_>, id: Id) -> bool {
    egraph[id].data.constant && !matches!(chosen.node(id).code, Code::CONST | Code::NONE)
}

/// Chains of constants deeper than this stay operators.
const MAX_DEPTH: usize = 500;

fn evaluate(
    egraph: &Egg,
    chosen: &Chosen<'_>,
    id: Id,
    functions: &[Function],
    depth: usize,
) -> Option<Tensor> {
    let tables = &egraph.analysis.tables;
    let node: &ENode = chosen.node(id);
    if node.code == Code::CONST {
        return Some(tables.tensor(node.tag).clone());
    }
    if let Some(value) = egraph[id].data.value {
        return Some(tables.tensor(value).clone());
    }
    if depth == MAX_DEPTH {
        return None;
    }
    let (node, slot) = if node.code == Code::PROJ {
        (chosen.node(egraph.find(node.children[0])), node.tag as usize)
    } else {
        (node, 0)
    };
    let operand = |child: &Id| {
        let child = egraph.find(*child);
        match chosen.node(child).code {
            Code::NONE => Some(None),
            _ => evaluate(egraph, chosen, child, functions, depth + 1).map(Some),
        }
    };
    let inputs: Vec<Option<Tensor>> = node.children.iter().map(operand).collect::<Option<_>>()?;
    compute(node, tables.attrs(node.attrs), &inputs, functions)?.into_iter().nth(slot)
}
