//! Where e-nodes come from: the original nodes, or the rules that made them, back to original nodes.

use crate::apply::Log;
use crate::egraph::analysis::Egg;
use crate::egraph::node::ENode;
use crate::rule::Rule;
use egg::Language;
use fusebox_ir::{Graph, Node, NodeId};
use std::collections::{BTreeSet, HashMap};

/// Source names that a node's metadata lists; the rest is counted.
const MAX_SOURCES: usize = 64;

/// Key of the names of rules.
pub const RULES: &str = "fusebox.rules";
/// Key of their files and lines.
pub const RULES_AT: &str = "fusebox.rules.at";
/// Key of the names of source nodes.
pub const SOURCES: &str = "fusebox.sources";

/// Origins of canonical e-nodes.
pub(crate) struct Provenance<'a> {
    graph: &'a Graph,
    rules: &'a [Rule],
    log: &'a Log,
    originals: HashMap<ENode, NodeId>,
    created: HashMap<ENode, usize>,
    sources: Vec<Vec<ENode>>,
    /// Events that made no e-node, by the e-node at the root of their match.
    removals: HashMap<ENode, usize>,
}

/// The chain behind a new node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// Positions of rules, first applied first.
    pub(crate) rules: Vec<usize>,
    /// Original nodes, ascending.
    pub(crate) sources: BTreeSet<NodeId>,
    /// The original node at the root of the last match, for the name.
    pub(crate) root: Option<NodeId>,
}

pub(crate) fn canonical(egraph: &Egg, node: &ENode) -> ENode {
    node.clone().map_children(|id| egraph.find(id))
}

impl<'a> Provenance<'a> {
    pub(crate) fn new(
        egraph: &Egg,
        graph: &'a Graph,
        rules: &'a [Rule],
        log: &'a Log,
        originals: &[(NodeId, ENode)],
    ) -> Self {
        let mut first = HashMap::new();
        for (id, node) in originals {
            first.entry(canonical(egraph, node)).or_insert(*id);
        }
        let mut created = HashMap::new();
        for (node, event) in &log.created {
            created.entry(canonical(egraph, node)).or_insert(*event);
        }
        let sources: Vec<Vec<ENode>> =
            log.events.iter().map(|e| e.sources.iter().map(|n| canonical(egraph, n)).collect()).collect();
        let makers: BTreeSet<usize> = log.created.iter().map(|(_, event)| *event).collect();
        let mut removals = HashMap::new();
        for (event, matched) in sources.iter().enumerate().filter(|(event, _)| !makers.contains(event)) {
            if let Some(root) = matched.first() {
                removals.entry(root.clone()).or_insert(event);
            }
        }
        Self { graph, rules, log, originals: first, created, sources, removals }
    }

    /// The original node that an e-node is.
    pub(crate) fn original(&self, node: &ENode) -> Option<NodeId> {
        self.originals.get(node).copied()
    }

    /// The chain behind an e-node that a rule made; `None` for original ones.
    pub(crate) fn chain(&self, node: &ENode) -> Option<Chain> {
        if self.originals.contains_key(node) {
            return None;
        }
        let event = *self.created.get(node)?;
        let mut chain = Chain::default();
        self.walk(event, &mut chain, &mut BTreeSet::new());
        chain.root = self.root(event);
        Some(chain)
    }

    /// The rule that made an original e-node superfluous without making another, with what it matched.
    pub(crate) fn removal(&self, node: &ENode) -> Option<(usize, Chain)> {
        let event = *self.removals.get(node)?;
        let mut chain = Chain::default();
        self.walk(event, &mut chain, &mut BTreeSet::new());
        Some((self.log.events[event].rule, chain))
    }

    fn walk(&self, event: usize, chain: &mut Chain, seen: &mut BTreeSet<usize>) {
        // An explicit stack: chains of rewrites may be long. `true` marks an event whose sources are done.
        let mut stack = vec![(event, false)];
        while let Some((event, done)) = stack.pop() {
            if done {
                let rule = self.log.events[event].rule;
                if !chain.rules.contains(&rule) {
                    chain.rules.push(rule);
                }
                continue;
            }
            if !seen.insert(event) {
                continue;
            }
            stack.push((event, true));
            for source in self.sources[event].iter().rev() {
                if let Some(id) = self.originals.get(source) {
                    chain.sources.insert(*id);
                } else if let Some(earlier) = self.created.get(source) {
                    stack.push((*earlier, false));
                }
            }
        }
    }

    fn root(&self, mut event: usize) -> Option<NodeId> {
        for _ in 0..self.log.events.len() {
            let first = self.sources[event].first()?;
            if let Some(id) = self.originals.get(first) {
                return Some(*id);
            }
            let earlier = *self.created.get(first)?;
            if earlier >= event {
                return None;
            }
            event = earlier;
        }
        None
    }

    /// Names of source nodes.
    pub(crate) fn names(&self, chain: &Chain) -> Vec<String> {
        chain.sources.iter().map(|id| self.label(*id)).collect()
    }

    /// The name of an original node, or what stands for it.
    pub(crate) fn label(&self, id: NodeId) -> String {
        let node = self.graph.node(id);
        if node.name.is_empty() { format!("{}#{}", node.op, id.0) } else { node.name.clone() }
    }

    /// Metadata of a new node: its rules and sources, and what its sources have in common.
    pub(crate) fn metadata(&self, chain: &Chain) -> Vec<(String, String)> {
        let sources: Vec<&Node> = chain.sources.iter().map(|id| self.graph.node(*id)).collect();
        let mut metadata = common(&sources);
        let join = |of: fn(&Rule) -> String| {
            chain.rules.iter().map(|r| of(&self.rules[*r])).collect::<Vec<_>>().join(";")
        };
        metadata.push((RULES.into(), join(|r| r.name.clone())));
        metadata.push((RULES_AT.into(), join(Rule::at)));
        let mut names = self.names(chain);
        if names.len() > MAX_SOURCES {
            let more = names.len() - MAX_SOURCES;
            names.truncate(MAX_SOURCES);
            names.push(format!("and {more} more"));
        }
        metadata.push((SOURCES.into(), names.join(";")));
        metadata
    }
}

/// Metadata that all nodes share; of hierarchies (`a/b/c`, `['a', 'b']`) the part that they share.
fn common(nodes: &[&Node]) -> Vec<(String, String)> {
    let Some(first) = nodes.first() else { return Vec::new() };
    let keys = first.metadata.iter().filter(|(key, _)| !key.starts_with("fusebox."));
    keys.filter_map(|(key, value)| {
        let mut shared = value.clone();
        for node in &nodes[1..] {
            shared = common_part(&shared, node.metadata(key)?)?;
        }
        Some((key.clone(), shared))
    })
    .collect()
}

fn common_part(a: &str, b: &str) -> Option<String> {
    if a == b {
        return Some(a.to_owned());
    }
    let list = |text: &str| text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).map(str::to_owned);
    let (separator, open, close, a, b) = match (list(a), list(b)) {
        (Some(a), Some(b)) => (", ", "[", "]", a, b),
        _ => ("/", "", "", a.to_owned(), b.to_owned()),
    };
    let shared: Vec<&str> =
        a.split(separator).zip(b.split(separator)).take_while(|(x, y)| x == y).map(|(x, _)| x).collect();
    (!shared.is_empty()).then(|| format!("{open}{}{close}", shared.join(separator)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_keep_what_they_share() {
        assert_eq!(common_part("a/b/c", "a/b/d"), Some("a/b".into()));
        assert_eq!(common_part("['x', 'y']", "['x', 'z']"), Some("['x']".into()));
        assert_eq!(common_part("gelu", "add"), None);
    }
}
