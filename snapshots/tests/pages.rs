//! The pages of the book that follow from tables: operators and rules.
//!
//! They are committed, so that a change of a table shows in review; `INSTA_UPDATE=always` writes them anew, as it does
//! the snapshots.

use fusebox_ir::graph::FUSEBOX;
use fusebox_ops::Op;
use fusebox_ops::attributes::AttrSpec;
use fusebox_rewrite::RuleSet;
use std::fmt::Write;
use std::path::Path;

/// Compares a page with what the tables say now, or writes it.
fn page(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src").join(name);
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, text).expect("the book can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| found.lines().count().min(text.lines().count())) + 1;
    assert!(
        found == text,
        "book/src/{name} is out of date at line {line}: INSTA_UPDATE=always cargo test -p fusebox-snapshots --test pages"
    );
}

fn range((least, most): (usize, usize)) -> String {
    match most {
        usize::MAX => format!("{least}+"),
        most if most == least => least.to_string(),
        most => format!("{least}–{most}"),
    }
}

fn attribute((name, spec): &(&str, AttrSpec)) -> String {
    match spec {
        AttrSpec::Int(Some(value)) => format!("`{name}={value}`"),
        AttrSpec::Float(Some(value)) => format!("`{name}={value:?}`"),
        AttrSpec::Str(Some(value)) => format!("`{name}={value}`"),
        _ => format!("`{name}`"),
    }
}

fn row(op: &dyn Op) -> String {
    let schema = op.schema();
    let name = if schema.domain.is_empty() || schema.domain == FUSEBOX {
        schema.name.to_owned()
    } else {
        format!("{}.{}", schema.domain, schema.name)
    };
    let versions: Vec<String> = schema.since.iter().map(ToString::to_string).collect();
    let attributes: Vec<String> = schema.attributes.iter().map(attribute).collect();
    let kernel = if fusebox_exec::lower::has_lowering(&schema.op_name()) { "yes" } else { "" };
    format!(
        "| {name} | {} | {} | {} | {} | {kernel} |\n",
        versions.join(" "),
        range(schema.inputs),
        range(schema.outputs),
        attributes.join(" "),
    )
}

#[test]
fn operators() {
    let count = fusebox_ops::ops().len();
    let mut text = format!(
        "# Operators\n\n<!-- Made from the operator table: see snapshots/tests/pages.rs. -->\n\n\
         {count} operators, by family, with the opsets that changed them, the inputs and outputs that they take, and the\n\
         attributes that rules may name, with their defaults. Where the last column is empty, the executor runs the\n\
         reference evaluation, or what the operator's body is made of.\n"
    );
    for (family, ops) in fusebox_ops::table::families() {
        write!(text, "\n## {family}\n\n| operator | opsets | inputs | outputs | attributes | kernel |\n|---|---|---|---|---|---|\n")
            .expect("a String takes everything");
        let mut ops: Vec<&dyn Op> = ops.to_vec();
        ops.sort_by_key(|op| (op.schema().domain, op.schema().name));
        text.extend(ops.into_iter().map(row));
    }
    page("operators.md", &text);
}

#[test]
fn rules() {
    let set = RuleSet::builtin();
    let mut rules: Vec<_> = set.iter().collect();
    rules.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    let mut text = format!(
        "# The built-in rules\n\n<!-- Made from rules/*.rules: see snapshots/tests/pages.rs. -->\n\n\
         {} rules. `exact` keeps every bit, `real` is equal in real arithmetic, `approx` comes near; what a rule looks\n\
         like is shown by `fusebox rules show NAME`.\n",
        rules.len()
    );
    let mut file = "";
    for rule in rules {
        if rule.file != file {
            file = &rule.file;
            write!(text, "\n## {file}\n\n| rule | contract | why |\n|---|---|---|\n")
                .expect("a String takes everything");
        }
        let why = rule.why.replace('|', "\\|");
        writeln!(text, "| `{}` | {} | {why} |", rule.name, rule.contract.name())
            .expect("a String takes everything");
    }
    page("rule-list.md", &text);
}

/// What the texts show of a rule is the rule.
#[test]
fn rules_are_quoted_to_the_letter() {
    let set = RuleSet::builtin();
    let rule = set.get("gelu.erf").expect("a built-in rule");
    for text in ["../README.md", "../rules/README.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(text);
        let found = std::fs::read_to_string(&path).expect("part of the repository");
        assert!(
            found.contains(rule.text.trim_end()),
            "{text} shows another text of gelu.erf:\n{}",
            rule.text
        );
    }
}
