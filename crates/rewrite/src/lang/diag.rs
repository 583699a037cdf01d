//! Errors of rule files, with the place underlined.
//!
//! Owns the one error type of the language; refuses to know which construct is wrong: callers give reason and help.

use miette::{Diagnostic, NamedSource, SourceSpan};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a rule file that something came from.
pub type Span = Range<usize>;

/// A rule file: its name as messages show it, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path or embedded name.
    pub name: Arc<str>,
    /// Whole text.
    pub text: Arc<str>,
}

impl Source {
    /// A source.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// One-based line of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
    }

    /// One-based column of a byte offset, in characters.
    pub fn column(&self, offset: usize) -> usize {
        let start = self.text.get(..offset).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
        1 + self.text.get(start..offset).map_or(0, |t| t.chars().count())
    }
}

/// A rule file that is refused.
#[derive(Clone, Debug, thiserror::Error, Diagnostic)]
#[error("{file}:{line}:{column}: {reason}")]
pub struct RuleError {
    /// File.
    pub file: String,
    /// One-based line.
    pub line: usize,
    /// One-based column.
    pub column: usize,
    /// What is wrong, in one sentence.
    pub reason: String,
    /// What to do about it.
    #[help]
    pub help: Option<String>,
    #[source_code]
    code: NamedSource<String>,
    #[label("here")]
    span: SourceSpan,
}

impl RuleError {
    /// An error at a place of a source.
    pub fn new(source: &Source, span: Span, reason: impl Into<String>) -> Box<Self> {
        let code = shown(&source.text, &span);
        let length = span.len().min(code.len().saturating_sub(span.start)).max(1);
        Box::new(Self {
            file: source.name.to_string(),
            line: source.line(span.start),
            column: source.column(span.start),
            reason: reason.into(),
            help: None,
            code: NamedSource::new(&*source.name, code),
            span: (span.start, length).into(),
        })
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = Some(help.into());
        self
    }
}

/// Bytes of a line behind the place that are shown.
const MAX_SHOWN: usize = 120;

/// The text as a report shows it: a very long line ends soon after the place, and nothing follows it.
fn shown(text: &str, span: &Span) -> String {
    let rest = text.get(span.start..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    if line.len() <= 4 * MAX_SHOWN {
        return text.to_owned();
    }
    let most = span.len().clamp(MAX_SHOWN, 3 * MAX_SHOWN);
    let end = (0..=most).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..span.start + end])
}

/// Result of reading rules.
pub type Result<T> = std::result::Result<T, Box<RuleError>>;

/// The candidate closest to a misspelt word, when one is close.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = candidates.into_iter().map(|c| (distance(word, c), c)).min()?;
    (best.0 <= 1 + word.chars().count() / 4).then_some(best.1)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
