//! The ledger: what does not pass and why, one line per case and route, sorted.
//!
//! A line is `group/name route: reason`. A reason in brackets is the message of the run, which an update replaces; any
//! other was written by a person and is kept. Lines that begin with `#` are kept where they stand at the top.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// A case and the route or opinion that it fails.
pub type Key = (String, String);

/// Longest reason that a new row gets from the failure's message.
const MAX_REASON: usize = 200;

/// The rows and the text above them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    head: String,
    rows: BTreeMap<Key, String>,
}

/// Where ledger and results disagree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disagreement {
    /// Rows whose case passes, or no longer exists.
    pub passing: Vec<Key>,
    /// Failures without a row, with their message.
    pub unlisted: Vec<(Key, String)>,
}

impl Disagreement {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.passing.is_empty() && self.unlisted.is_empty()
    }
}

impl Ledger {
    /// Reads a ledger file; an absent one is empty.
    ///
    /// # Errors
    /// A line that is no row.
    pub fn read(path: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Parses the text of a ledger.
    ///
    /// # Errors
    /// A line that is no row.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut ledger = Self::default();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                writeln!(ledger.head, "{line}").expect("a string takes every line");
            } else if !line.trim().is_empty() {
                let row =
                    line.split_once(": ").and_then(|(key, reason)| Some((key.split_once(' ')?, reason)));
                let ((case, route), reason) = row.ok_or_else(|| {
                    format!("line {} of the ledger is not `case route: reason`", number + 1)
                })?;
                ledger.rows.insert((case.into(), route.into()), reason.into());
            }
        }
        Ok(ledger)
    }

    /// The text that [`Ledger::parse`] reads.
    pub fn text(&self) -> String {
        let mut text = self.head.clone();
        for ((case, route), reason) in &self.rows {
            writeln!(text, "{case} {route}: {reason}").expect("a string takes every line");
        }
        text
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Compares with what was found. `tried` says which keys were; others are left out of it.
    pub fn compare(&self, failed: &BTreeMap<Key, String>, tried: impl Fn(&Key) -> bool) -> Disagreement {
        let stale = |key: &&Key| tried(key) && !failed.contains_key(*key);
        let unlisted = |(key, _): &(&Key, &String)| !self.rows.contains_key(*key);
        Disagreement {
            passing: self.rows.keys().filter(stale).cloned().collect(),
            unlisted: failed.iter().filter(unlisted).map(|(k, m)| (k.clone(), m.clone())).collect(),
        }
    }

    /// Brings the rows in line with what was found; a row that stays keeps the reason that a person gave it.
    pub fn update(&mut self, failed: &BTreeMap<Key, String>, tried: impl Fn(&Key) -> bool) {
        self.rows.retain(|key, _| !tried(key) || failed.contains_key(key));
        for (key, message) in failed {
            let reason = self.rows.entry(key.clone()).or_default();
            if reason.is_empty() || reason.starts_with('[') {
                *reason = format!("[{}]", message.chars().take(MAX_REASON).collect::<String>());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(case: &str) -> Key {
        (case.into(), "reference".into())
    }

    #[test]
    fn text_and_rows_are_one_to_one() {
        let text = "# head\nnode/a reference: b: c\nnode/b exported: d\n";
        assert_eq!(Ledger::parse(text).unwrap().text(), text);
        assert_eq!(Ledger::parse("x\n").unwrap_err(), "line 1 of the ledger is not `case route: reason`");
    }

    #[test]
    fn both_directions_are_found_and_updated() {
        let mut ledger = Ledger::parse("node/a reference: why\nnode/b reference: why\n").unwrap();
        let failed: BTreeMap<Key, String> =
            [(key("node/b"), "new".into()), (key("node/c"), "other".into())].into();
        let found = ledger.compare(&failed, |_| true);
        assert_eq!(
            (found.passing, found.unlisted),
            (vec![key("node/a")], vec![(key("node/c"), "other".into())])
        );
        assert!(ledger.compare(&failed, |k| k.0 == "node/b").passing.is_empty());
        ledger.update(&failed, |_| true);
        assert_eq!(ledger.text(), "node/b reference: why\nnode/c reference: [other]\n");
        ledger.update(&[(key("node/c"), "again".into())].into(), |_| true);
        assert_eq!(ledger.text(), "node/c reference: [again]\n");
        ledger.update(&failed, |_| true);
        ledger.update(&[(key("node/b"), "later".into())].into(), |k| k.0 == "node/b");
        assert_eq!(ledger.text(), "node/b reference: [later]\nnode/c reference: [other]\n");
        assert!(ledger.compare(&failed, |_| true).is_empty());
    }
}
