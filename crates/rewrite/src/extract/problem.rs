//! The e-graph as index arrays: reachable classes, priced nodes without the dominated ones.

use crate::egraph::analysis::Egg;
use crate::egraph::node::{Code, ENode};
use egg::Id;
use smallvec::SmallVec;
use std::collections::HashMap;

/// A choice for a class.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) cost: u64,
    /// Classes that it reads, each once.
    pub(crate) children: SmallVec<[u32; 6]>,
    /// Position among the class's e-nodes.
    pub(crate) node: usize,
    /// Rank among the original nodes, when it is one.
    pub(crate) original: Option<u32>,
}

/// An extraction problem.
#[derive(Debug, Default)]
pub(crate) struct Problem {
    /// Class ids behind indices.
    pub(crate) ids: Vec<Id>,
    /// Choices of each class.
    pub(crate) classes: Vec<Vec<Choice>>,
    /// Classes that must be computed.
    pub(crate) roots: Vec<u32>,
    /// Classes with a choice that reads a class, ascending.
    pub(crate) parents: Vec<Vec<u32>>,
}

/// Builds the problem. `original` ranks the e-nodes of the original program.
pub(crate) fn problem(
    egraph: &Egg,
    roots: &[Id],
    original: &HashMap<ENode, u32>,
    price: &dyn Fn(Id, &ENode) -> u64,
) -> Problem {
    let mut index: HashMap<Id, u32> = HashMap::new();
    let mut problem = Problem::default();
    let mut visit = |id: Id, ids: &mut Vec<Id>| {
        let id = egraph.find(id);
        *index.entry(id).or_insert_with(|| {
            ids.push(id);
            ids.len() as u32 - 1
        })
    };
    for root in roots {
        let root = visit(*root, &mut problem.ids);
        if !problem.roots.contains(&root) {
            problem.roots.push(root);
        }
    }
    let mut at = 0;
    while at < problem.ids.len() {
        let id = problem.ids[at];
        let mut choices = Vec::new();
        for (position, node) in egraph[id].nodes.iter().enumerate() {
            let own = node.children.iter().any(|c| egraph.find(*c) == id);
            if own || node.code == Code::NONE {
                continue;
            }
            let mut children: SmallVec<[u32; 6]> = SmallVec::new();
            let mut seen = std::collections::HashSet::new();
            for child in &node.children {
                let child = visit(*child, &mut problem.ids);
                if seen.insert(child) {
                    children.push(child);
                }
            }
            choices.push(Choice {
                cost: price(id, node),
                children,
                node: position,
                original: original.get(node).copied(),
            });
        }
        prune(&mut choices);
        if choices.is_empty() {
            // An absent operand: nothing to compute.
            choices.push(Choice { cost: 0, children: SmallVec::new(), node: 0, original: None });
        }
        problem.classes.push(choices);
        at += 1;
    }
    problem.parents = vec![Vec::new(); problem.classes.len()];
    for (class, choices) in problem.classes.iter().enumerate() {
        for child in choices.iter().flat_map(|c| &c.children) {
            let list = &mut problem.parents[*child as usize];
            if list.last() != Some(&(class as u32)) {
                list.push(class as u32);
            }
        }
    }
    problem
}

/// Drops choices that cost no less than another and read no less. The earlier, and the original, wins a tie.
fn prune(choices: &mut Vec<Choice>) {
    choices.sort_by_key(|c| (c.cost, c.original.is_none(), c.original, c.node));
    let mut kept: Vec<Choice> = Vec::new();
    for choice in choices.drain(..) {
        let dominated = kept
            .iter()
            .any(|k| k.cost <= choice.cost && k.children.iter().all(|c| choice.children.contains(c)));
        // Original nodes stay, because the original program must stay a candidate.
        if !dominated || choice.original.is_some() {
            kept.push(choice);
        }
    }
    *choices = kept;
}
