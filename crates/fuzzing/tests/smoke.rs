//! Every fuzz target on its seeds, on what fuzzing found, and on a few thousand mutations: half a minute instead of
//! hours, without libFuzzer, the same cases in every run.

use fusebox_fuzzing::smoke::{mutations, replay};
use fusebox_fuzzing::target;

/// Words of rule files and of the text form for blunt mutations.
const WORDS: &[&str] = &[
    "rule ",
    "example ?x: f32[b, 8]",
    "when ",
    "let ",
    "=>",
    "{",
    "}",
    "|",
    "~(",
    "[axis=1]",
    "phase=explore",
    "?y",
    "$a",
    "%0",
    "%1",
    "_",
    "f32[",
    "i64[]",
    "{1, 2}",
    "graph (",
    ") -> (",
    "captures (",
    "floordiv(",
    "inf",
    "-nan",
    "\"",
    "0x",
    "#",
    "undef",
    ".w",
    "shape(?x)",
    "1/0",
    "SQRT2",
    "...",
];

#[test]
fn import_survives() {
    replay(target::import, "seeds/models", "regressions/import");
    mutations(target::import, "seeds/models", None, 6000);
}

#[test]
fn text_survives() {
    replay(target::text, "seeds/text", "regressions/text");
    mutations(target::text, "seeds/text", Some(WORDS), 20_000);
}

#[test]
fn rules_survive() {
    replay(target::rules, "seeds/rules", "regressions/rules");
    mutations(target::rules, "seeds/rules", Some(WORDS), 6000);
}

#[test]
fn optimize_survives() {
    replay(target::optimize, "seeds/models", "regressions/optimize");
    mutations(target::optimize, "seeds/models", None, 600);
}

#[test]
fn run_survives() {
    replay(target::run, "seeds/models", "regressions/run");
    mutations(target::run, "seeds/models", None, 4000);
}
