//! Every built-in rule fires on its examples with equal types on both sides, and both sides compute the same.

use fusebox_rewrite::RuleSet;

#[test]
fn examples_fire_and_type() {
    let rules = RuleSet::builtin();
    let failures: Vec<String> = rules
        .iter()
        .filter_map(|r| fusebox_rewrite::instance::check(r).err())
        .map(|e| {
            format!("{e}\n   {}", miette::Diagnostic::help(&*e).map(|h| h.to_string()).unwrap_or_default())
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(rules.len() > 50);
}

#[test]
fn both_sides_compute_the_same() {
    let rules = RuleSet::builtin();
    let tried = rules.iter().map(|rule| fusebox_rewrite::trial::check(rule).map_err(|e| e.to_string()));
    let (fired, wrong): (Vec<_>, Vec<_>) = tried.partition(Result::is_ok);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let fired: usize = fired.into_iter().flatten().sum();
    assert!(fired > 1500, "only {fired} trials left a new node");
}

/// What a user may write, and what is said of it.
#[test]
fn rules_that_are_wrong_are_refused() {
    let refused = |rule: &str| {
        let text = format!("rule t : exact\n  why \"a test\"\n  example ?x: f32[b, 8]\n  {rule}\n");
        RuleSet::empty().load_text("t.rules", &text).map_err(|e| e.to_string())
    };
    for rule in ["Neg(Neg(?x)) => Relu(?x)", "Neg(?x) => ?x", "Mul(?x, 2.0) => Mul(?x, 2.000001)"] {
        let error = refused(rule).unwrap_err();
        assert!(error.contains("its two sides differ"), "{rule}: {error}");
    }
    refused("Neg(Neg(?x)) => ?x").unwrap();
}
