//! What a rewriting did: rules with their sites, totals before and after, limits, statistics of the phases.

/// A rule that had a part in the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// Name of the rule.
    pub rule: String,
    /// File and line.
    pub at: String,
    /// Name of its contract.
    pub contract: &'static str,
    /// Where, in the order of the resulting graph.
    pub sites: Vec<Site>,
}

/// One new node, with the nodes that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Name of the new node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Names of the nodes that it replaces.
    pub sources: Vec<String>,
}

/// Size of a graph and its predicted work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Nodes.
    pub nodes: usize,
    /// Floating-point operations of one run; a multiply-add counts two.
    pub flops: f64,
    /// Bytes that operators read and write in one run.
    pub bytes: f64,
    /// Predicted time of one run in picoseconds.
    pub picoseconds: u64,
}

/// A limit that ended something early.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitHit {
    /// A phase did not settle.
    Iterations {
        /// The phase.
        phase: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The e-graph grew too large while a rule was applied; the phase ended there.
    Nodes {
        /// The rule.
        rule: String,
        /// The limit.
        limit: usize,
    },
    /// A rule had more matches than were looked at.
    Matches {
        /// The rule.
        rule: String,
        /// The limit.
        limit: usize,
    },
}

impl std::fmt::Display for LimitHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Iterations { phase, limit } => {
                write!(f, "phase {phase} did not settle in {limit} iterations")
            }
            Self::Nodes { rule, limit } => write!(f, "the e-graph reached {limit} nodes in rule {rule}"),
            Self::Matches { rule, limit } => write!(f, "rule {rule} has more than {limit} matches"),
        }
    }
}

/// Statistics of a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhaseStats {
    /// Its name.
    pub phase: &'static str,
    /// Iterations.
    pub iterations: usize,
    /// Matches found.
    pub matches: usize,
    /// Matches that taught the e-graph an equality.
    pub applied: usize,
    /// E-nodes at its end.
    pub nodes: usize,
    /// E-classes at its end.
    pub classes: usize,
}

/// What a rewriting did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Rules in the order of their names.
    pub fired: Vec<Fired>,
    /// The graph before.
    pub before: Totals,
    /// The graph after.
    pub after: Totals,
    /// Limits that were reached, each once.
    pub limits: Vec<LimitHit>,
    /// Statistics, in the order of phases; regions are added up.
    pub phases: Vec<PhaseStats>,
}

impl Report {
    /// Adds what happened in a region of the graph.
    pub(crate) fn absorb(&mut self, other: Self) {
        for fired in other.fired {
            match self.fired.iter_mut().find(|f| f.rule == fired.rule) {
                Some(mine) => mine.sites.extend(fired.sites),
                None => self.fired.push(fired),
            }
        }
        self.fired.sort_by(|a, b| a.rule.cmp(&b.rule));
        for (mine, theirs) in [(&mut self.before, other.before), (&mut self.after, other.after)] {
            mine.nodes += theirs.nodes;
            mine.flops += theirs.flops;
            mine.bytes += theirs.bytes;
            mine.picoseconds = mine.picoseconds.saturating_add(theirs.picoseconds);
        }
        self.limits.extend(other.limits);
        self.limits.sort();
        self.limits.dedup();
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            mine.iterations += theirs.iterations;
            mine.matches += theirs.matches;
            mine.applied += theirs.applied;
            mine.nodes += theirs.nodes;
            mine.classes += theirs.classes;
        }
    }
}
