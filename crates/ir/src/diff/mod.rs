//! Structural diff of two graphs: what was removed, what was added, by which rule.
//!
//! Nodes are aligned by structure, names only break ties. Removed and added nodes that belong together make a hunk;
//! hunks are grouped by the rule that the added nodes name in their metadata, and hunks that say the same of different
//! layers are folded into one. Types inferred differently for unchanged nodes are not a difference, and a region is
//! compared as a whole with its node. Costs O(n log n) of the nodes.

mod align;
mod hunks;
mod render;
mod side;

use crate::Graph;
use std::fmt;

/// Metadata key of a node: names of the rules that made it, separated by `;`.
pub const RULES: &str = "fusebox.rules";
/// Metadata key of a node: names of the nodes that it was made from, separated by `;`.
pub const SOURCES: &str = "fusebox.sources";
/// Group of the hunks that no rule claims.
pub const OTHER: &str = "other";
/// Group of the hunk for a changed list of inputs or outputs.
pub const INTERFACE: &str = "interface";

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    /// Unchanged nodes shown before and after the changed ones of a hunk, each.
    pub context: usize,
    /// Whether hunks that differ only in values and large constants are shown once.
    pub fold: bool,
    /// Constants of more elements than this are shown as a hash of their content.
    pub inline_limit: usize,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { context: 2, fold: true, inline_limit: 8 }
    }
}

/// Difference of two graphs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Groups in order of their first hunk; [`INTERFACE`] first, [`OTHER`] last.
    pub groups: Vec<Group>,
    /// Numbers of nodes.
    pub counts: Counts,
}

/// Hunks made by the same rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The rules, separated by `; `, or [`OTHER`] or [`INTERFACE`].
    pub rule: String,
    /// The hunks, in the order of the first graph.
    pub hunks: Vec<Hunk>,
}

/// Nodes that were removed and added together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Where: a name of a source node, of an added or of a removed node, one per folded hunk.
    pub places: Vec<String>,
    /// Lines of the text form, with values called the same on both sides.
    pub lines: Vec<Line>,
}

/// A line of a hunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it shows.
    pub kind: LineKind,
    /// The text, without the sign in front.
    pub text: String,
}

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The counts, or the name of a group.
    Heading,
    /// Where a hunk is.
    Place,
    /// A node that is in both graphs.
    Context,
    /// A node of the first graph.
    Removed,
    /// A node of the second graph.
    Added,
}

/// How many nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes only in the second graph.
    pub added: usize,
    /// Nodes only in the first graph.
    pub removed: usize,
    /// Nodes in both that read other values or constants.
    pub rewired: usize,
    /// Nodes in both that read the same.
    pub unchanged: usize,
    /// Operators of either graph, by name.
    pub operators: Vec<OperatorCount>,
}

/// How often an operator occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCount {
    /// Domain and name.
    pub op: String,
    /// In the first graph.
    pub before: usize,
    /// In the second graph.
    pub after: usize,
}

/// Compares two graphs.
pub fn diff(before: &Graph, after: &Graph, options: &DiffOptions) -> Diff {
    let sides = side::Sides::new(before, after);
    let pairs = align::align(&sides);
    let view = render::View::new(&sides, &pairs, options);
    let mut groups = hunks::groups(&view);
    if options.fold {
        groups.iter_mut().for_each(|(_, hunks)| render::fold(hunks));
    }
    let groups = groups
        .into_iter()
        .map(|(rule, hunks)| Group { rule, hunks: hunks.into_iter().map(|drawn| drawn.hunk).collect() })
        .collect();
    Diff { groups, counts: view.counts() }
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Every line to show, headings included; a front end gives them colours.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let heading = |text: String| Line { kind: LineKind::Heading, text };
        let changed = self.counts.operators.iter().filter(|o| o.before != o.after);
        let operators = changed.map(move |o| heading(format!("  {} {} -> {}", o.op, o.before, o.after)));
        let groups = self.groups.iter().flat_map(move |group| {
            let hunks = group.hunks.iter().flat_map(|hunk| {
                let place = Line { kind: LineKind::Place, text: hunk.place() };
                std::iter::once(place).chain(hunk.lines.iter().cloned())
            });
            std::iter::once(heading(group.heading())).chain(hunks)
        });
        std::iter::once(heading(self.counts.to_string())).chain(operators).chain(groups)
    }
}

impl Group {
    /// Hunks, folded ones counted each.
    pub fn count(&self) -> usize {
        self.hunks.iter().map(|hunk| hunk.places.len()).sum()
    }

    fn heading(&self) -> String {
        match self.count() {
            1 => self.rule.clone(),
            count => format!("{} ×{count}", self.rule),
        }
    }
}

impl Hunk {
    fn place(&self) -> String {
        let first = self.places.first().map_or("", String::as_str);
        match self.places.len() {
            0 | 1 => first.to_owned(),
            count => format!("×{count}, first at {first}"),
        }
    }

    /// Lines of one kind.
    pub fn count(&self, kind: LineKind) -> usize {
        self.lines.iter().filter(|line| line.kind == kind).count()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, removed, rewired, unchanged, .. } = self;
        write!(f, "{removed} nodes removed, {added} added, {rewired} rewired, {unchanged} unchanged")
    }
}

impl fmt::Display for LineKind {
    /// What stands in front of the line in plain rendering.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heading => "",
            Self::Place => "@ ",
            Self::Context => "  ",
            Self::Removed => "- ",
            Self::Added => "+ ",
        })
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{}{}", line.kind, line.text))
    }
}

#[cfg(test)]
mod tests;
