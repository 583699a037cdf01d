//! `fusebox rules list|show|check`: the rules that there are, one rule, and whether rules are sound on their examples.

use super::Verb;
use crate::context::Context;
use crate::failure::Failure;
use clap::{Args, Subcommand};
use fusebox::{Error, Rule, RuleSet};
use fusebox_report::{Style, Table};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `rules`.
#[derive(Args, Debug)]
pub(crate) struct Rules {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List all rules with the reason for which they exist
    List {
        /// Rule file besides the built-in rules; repeat for several
        #[arg(long = "rules", value_name = "FILE")]
        rules: Vec<PathBuf>,
    },
    /// Show the text of a rule
    Show {
        /// Name of the rule, or family.* for all of a family
        name: String,
        /// Rule file besides the built-in rules; repeat for several
        #[arg(long = "rules", value_name = "FILE")]
        rules: Vec<PathBuf>,
    },
    /// Parse rule files, type-check their rules and fire each on its example; the built-in rules when none is given
    Check {
        /// Rule files
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

impl Verb for Rules {
    const NAME: &'static str = "rules";
    const ABOUT: &'static str = "List, show and check rewrite rules";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        match self.what {
            What::List { rules } => list(cx, &load(&rules)?),
            What::Show { name, rules } => show(cx, &load(&rules)?, &name),
            What::Check { files } => check(cx, &files),
        }
    }
}

fn load(files: &[PathBuf]) -> Result<RuleSet, Failure> {
    RuleSet::load(files).map_err(|error| Error::from(error).into())
}

fn describe(rule: &Rule) -> Value {
    json!({
        "name": rule.name, "at": rule.at(), "phase": rule.phase.name(), "contract": rule.contract.name(),
        "alternatives": rule.alternatives, "why": rule.why, "text": rule.text,
    })
}

fn list(cx: &Context, rules: &RuleSet) -> Result<(), Failure> {
    let answer = json!({ "rules": rules.iter().map(describe).collect::<Vec<_>>() });
    cx.answer(&answer, |style| {
        let mut table = Table::new(&["rule", "phase", "contract", "at", "why"]);
        for rule in rules.iter() {
            let (phase, contract) = (rule.phase.name(), rule.contract.name());
            table.row([rule.name.clone(), phase.into(), contract.into(), rule.at(), rule.why.clone()]);
        }
        format!("{}{} rules\n", table.text(style), rules.len())
    })
}

fn show(cx: &Context, rules: &RuleSet, name: &str) -> Result<(), Failure> {
    let matches = |rule: &&Rule| match name.strip_suffix('*') {
        Some(prefix) => rule.name.starts_with(prefix),
        None => rule.name == name,
    };
    let found: Vec<&Rule> = rules.iter().filter(matches).collect();
    if found.is_empty() {
        return Err(Failure::usage(format!("no rule is named {name:?}"), near(rules, name)));
    }
    let answer = json!({ "rules": found.iter().map(|rule| describe(rule)).collect::<Vec<_>>() });
    cx.answer(&answer, |_: &Style| {
        let texts: Vec<String> =
            found.iter().map(|rule| format!("# {}\n{}\n", rule.at(), rule.text.trim_end())).collect();
        texts.join("\n")
    })
}

/// Rules with a similar name.
fn near(rules: &RuleSet, name: &str) -> String {
    let last = name.rsplit(['.', '-']).next().unwrap_or(name);
    let alike: Vec<&str> = rules
        .iter()
        .map(|r| r.name.as_str())
        .filter(|n| !last.is_empty() && n.contains(last))
        .take(5)
        .collect();
    if alike.is_empty() {
        "`fusebox rules list` prints the names".into()
    } else {
        format!("similar are {}", alike.join(", "))
    }
}

fn check(cx: &Context, files: &[PathBuf]) -> Result<(), Failure> {
    let builtin = RuleSet::builtin();
    let checked: Vec<String> = if files.is_empty() {
        builtin.check().map_err(|error| Failure::from(Error::from(fusebox::RewriteError::from(error))))?;
        builtin.iter().map(|rule| rule.name.clone()).collect()
    } else {
        // Loading checks what it loads.
        let all = load(files)?;
        all.iter().map(|rule| rule.name.clone()).filter(|name| builtin.get(name).is_none()).collect()
    };
    cx.answer(&json!({ "checked": checked }), |_| {
        let rules = if checked.len() == 1 { "1 rule fires" } else { &format!("{} rules fire", checked.len()) };
        format!("{rules} on every example; both sides have equal types and agree on random elements, also at sizes of 1\n")
    })
}
