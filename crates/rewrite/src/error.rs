//! What can go wrong while rewriting a graph.

use crate::lang::diag::RuleError;
use fusebox_ir::VerifyError;
use fusebox_ops::typing::TypeError;
use miette::Diagnostic;

/// Why a graph was not rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// A rule file that is refused.
    #[error(transparent)]
    Rule(#[from] Box<RuleError>),
    /// A rule file that cannot be read.
    #[error("cannot read the rule file {path:?}: {source}")]
    Read {
        /// Path.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A name that no rule has.
    #[error("no rule is named {name:?}")]
    NoSuchRule {
        /// The name.
        name: String,
    },
    /// The graph breaks an invariant, before or after rewriting.
    #[error("the graph is broken {when}: {source}")]
    Verify {
        /// `before rewriting` or `after rewriting`.
        when: &'static str,
        /// Which invariant.
        #[source]
        source: VerifyError,
    },
    /// The graph contradicts itself in its types.
    #[error("the graph cannot be typed {when}: {source}")]
    Type {
        /// `before rewriting` or `after rewriting`.
        when: &'static str,
        /// Where and how.
        #[source]
        source: TypeError,
    },
    /// A rule joined two values whose types contradict each other.
    #[error("rule {rule} ({at}) is wrong: it says that {left} equals {right}")]
    Conflict {
        /// Name of the rule.
        rule: String,
        /// File and line.
        at: String,
        /// Type of the one side.
        left: String,
        /// Type of the other.
        right: String,
    },
}

impl Diagnostic for RewriteError {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        match self {
            Self::Rule(error) => Diagnostic::help(&**error),
            Self::Read { .. } => Some(Box::new(
                "give the path of a file of rules; `fusebox rules show NAME` prints what one looks like",
            )),
            Self::NoSuchRule { .. } => Some(Box::new("`fusebox rules list` prints the names")),
            Self::Conflict { rule, .. } => Some(Box::new(format!(
                "the graph was left as it was; `--disable {rule}` goes on without the rule"
            ))),
            _ => None,
        }
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        if let Self::Rule(error) = self { error.source_code() } else { None }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        if let Self::Rule(error) = self { error.labels() } else { None }
    }
}
