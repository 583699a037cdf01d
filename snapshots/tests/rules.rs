//! Every built-in rule firing on its example: the first instance of its left side before and after, by family.
//!
//! A rule's other spellings and its numbers are tested where rules are made; here a reviewer sees what one does.

use fusebox_ir::Graph;
use fusebox_ir::text::{PrintOptions, print};
use fusebox_rewrite::instance::instances;
use fusebox_rewrite::{Options, Rule, RuleSet, optimize};
use std::collections::BTreeMap;

fn lines(graph: &Graph, sign: char) -> String {
    print(graph, &PrintOptions::default()).lines().map(|line| format!("{sign} {line}\n")).collect()
}

/// The first instance of a rule before and after, with what the rule says of itself.
fn firing(rule: &Rule, all: &RuleSet) -> String {
    let mut only = all.clone();
    only.retain(|other| other.name == rule.name);
    let options = Options { prefer_rewritten: true, threads: 1, ..Options::default() };
    let instances = instances(rule).unwrap_or_else(|e| panic!("{}: {e}", rule.name));
    let spellings = instances.len();
    let mut graph = instances.into_iter().next().expect("a rule has an instance").graph;
    fusebox_ops::infer_graph(&mut graph, &[]).unwrap_or_else(|e| panic!("{}: {e}", rule.name));
    let mut new = graph.clone();
    optimize(&mut new, &[], &only, &options).unwrap_or_else(|e| panic!("{}: {e}", rule.name));
    let (phase, contract) = (rule.phase.name(), rule.contract.name());
    format!(
        "{} [{contract}, {phase}], {spellings} spellings: {}\n{}{}\n",
        rule.name,
        rule.why,
        lines(&graph, '-'),
        lines(&new, '+')
    )
}

#[test]
fn every_rule_on_its_example() {
    let all = RuleSet::builtin();
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut still = Vec::new();
    for rule in all.iter() {
        let at = rule.at();
        let file = at.split(".rules").next().and_then(|path| path.rsplit('/').next()).expect("file and line");
        let text = firing(rule, &all);
        let side = |sign: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.strip_prefix(sign)).map(str::to_owned).collect()
        };
        if side("- ") == side("+ ") {
            still.push(rule.name.clone());
        }
        *families.entry(file.to_owned()).or_default() += &text;
    }
    fusebox_testing::snapshot::settings("rules").bind(|| {
        for (family, text) in &families {
            insta::assert_snapshot!(family.as_str(), text);
        }
    });
    assert!(still.is_empty(), "rules whose example stays as it is: {still:?}");
}
