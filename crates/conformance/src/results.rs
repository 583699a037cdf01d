//! What came out: counts per group and route, failures by case, the table.

use crate::case::Case;
use crate::ledger::Key;
use crate::route::{Outcome, ROUTES, Route};
use fusebox_report::{Style, Table};
use std::collections::BTreeMap;

/// Groups in the order of the table.
pub const GROUPS: [&str; 5] = ["node", "simple", "light", "pytorch-operator", "pytorch-converted"];

/// Cases counted and cases passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Counted.
    pub of: usize,
}

/// Outcomes of a run.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Cases that ONNX Runtime does not pass on the original, with its message.
    peer_fails: BTreeMap<String, String>,
    counts: BTreeMap<(String, Route), Count>,
    /// Failures by case and route.
    pub failed: BTreeMap<Key, String>,
}

impl Results {
    /// No results yet; `peer` holds ONNX Runtime's message for every case, empty where it passes.
    pub fn new(peer: &BTreeMap<String, String>) -> Self {
        let fails = |(case, message): (&String, &String)| (case.clone(), message.clone());
        let peer_fails = peer.iter().filter(|(_, message)| !message.is_empty()).map(fails).collect();
        Self { peer_fails, ..Self::default() }
    }

    /// Whether ONNX Runtime passes the original.
    pub fn peer_passes(&self, case: &Case) -> bool {
        !self.peer_fails.contains_key(&case.id())
    }

    /// Counts an outcome. What ONNX Runtime does not pass on the original is not counted on the exported route.
    pub fn add(&mut self, case: &Case, route: Route, outcome: Outcome) {
        if route == Route::Exported && !self.peer_passes(case) {
            return;
        }
        let count = self.counts.entry((case.group.clone(), route)).or_default();
        count.of += 1;
        count.passed += usize::from(outcome.is_ok());
        if let Err(message) = outcome {
            self.failed.insert((case.id(), route.name().into()), message);
        }
    }

    fn count(&self, group: Option<&str>, route: Route) -> Count {
        let mut sum = Count::default();
        for ((found, at), count) in &self.counts {
            if *at == route && group.is_none_or(|group| group == found) {
                sum = Count { passed: sum.passed + count.passed, of: sum.of + count.of };
            }
        }
        sum
    }

    /// The table: a line per group, a column per route, ONNX Runtime beside them.
    pub fn table(&self, cases: &[Case]) -> String {
        let mut table = Table::new(&[
            "group",
            ">cases",
            ">reference",
            ">optimized + executor",
            ">export, import, executor",
            ">optimized, exported, onnxruntime",
            ">onnxruntime",
        ]);
        for group in GROUPS.map(Some).into_iter().chain([None]) {
            let members: Vec<&Case> = cases.iter().filter(|c| group.is_none_or(|g| g == c.group)).collect();
            let mut row = vec![group.unwrap_or("all").to_owned(), members.len().to_string()];
            row.extend(ROUTES.map(|route| cell(self.count(group, route), members.len())));
            let peer = members.iter().filter(|case| self.peer_passes(case)).count();
            row.push(cell(Count { passed: peer, of: members.len() }, members.len()));
            table.row(row);
        }
        table.text(&Style::default())
    }
}

/// `1838 (100%)`, or `1500 of 1508` where fewer cases count.
fn cell(count: Count, of: usize) -> String {
    match count {
        Count { of: 0, .. } => "-".into(),
        Count { passed, of: counted } if counted < of => format!("{passed} of {counted}"),
        Count { passed, of: counted } => {
            // Cut, not rounded: 99.96% is not 100%.
            let tenths = passed * 1000 / counted;
            format!("{passed} ({}.{}%)", tenths / 10, tenths % 10)
        }
    }
}

/// Excluded cases by rule.
pub fn excluded(cases: &[Case]) -> String {
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in cases.iter().filter_map(|case| case.excluded.as_deref()) {
        *rules.entry(rule).or_default() += 1;
    }
    let texts: Vec<String> = rules.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    format!("excluded by rule: {}", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str) -> Case {
        Case { group: "node".into(), name: name.into(), rtol: 0.0, atol: 0.0, excluded: None, random: false }
    }

    #[test]
    fn the_exported_route_counts_what_the_peer_passes() {
        let peer = BTreeMap::from([("node/a".into(), String::new()), ("node/b".into(), "no".into())]);
        let mut results = Results::new(&peer);
        for name in ["a", "b"] {
            results.add(&case(name), Route::Exported, Err("why".into()));
            results.add(&case(name), Route::Reference, Ok(()));
        }
        assert_eq!(results.count(None, Route::Exported), Count { passed: 0, of: 1 });
        assert_eq!(results.count(Some("node"), Route::Reference), Count { passed: 2, of: 2 });
        assert_eq!(results.failed.keys().collect::<Vec<_>>(), [&("node/a".into(), "exported".into())]);
        let table = results.table(&[case("a"), case("b")]);
        assert!(table.contains("2 (100.0%)") && table.contains("0 of 1"), "{table}");
    }
}
