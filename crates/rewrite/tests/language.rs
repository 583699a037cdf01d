//! Every kind of error in a rule file is refused with file, line, column, the underlined place, the reason and help.

use fusebox_rewrite::{RuleError, RuleSet};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

const HEAD: &str = "rule t.x : exact\n  why \"a test\"\n  example ?x: f32[b, 8], ?y: f32[b, 8], $c = 2.0\n";

fn refused(text: &str) -> Box<RuleError> {
    let mut rules = RuleSet::builtin();
    match rules.load_text("my.rules", text) {
        Ok(()) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}

fn check(body: &str, place: (usize, usize), reason: &str, help: &str) {
    let text = body.strip_prefix('!').map_or_else(|| format!("{HEAD}{body}"), str::to_owned);
    let error = refused(&text);
    assert!(error.reason.contains(reason), "{}\nwanted: {reason}", error.reason);
    assert_eq!((error.line, error.column), place, "{error}");
    let found = error.help.clone().unwrap_or_default();
    assert!(found.contains(help), "help {found:?} does not contain {help:?}");
    assert!(error.to_string().starts_with("my.rules:"));
    assert!(error.labels().is_some_and(|l| l.count() == 1) && error.source_code().is_some());
}

#[test]
fn what_does_not_parse() {
    check("  Neg(?x) => §", (4, 14), "begins no token", "ASCII");
    check("  Neg(?x) => ?", (4, 14), "must be followed by a name", "");
    check("!rule t.x : exact\n  why \"no end", (2, 7), "has no end", "close it");
    check("  Neg(?x => ?x", (4, 10), "expected `,`, found `=>`", "");
    check("  Neg(?x) ?x", (4, 11), "expected `=>`", "");
    check("!rule t.x exact\n", (1, 10), "expected `:`", "");
    check("!rule t.x : exactly\n", (1, 12), "`exactly` is not a contract", "exact, real");
    check("!rule t.x : exact phase=late\n", (1, 24), "`late` is not a phase", "canon, decompose, recognize");
    check("!rulez t.x : exact\n", (1, 1), "expected `rule`, `group` or `impl`", "");
    check(
        "!rule t.x : exact\n example ?x: f32[b]\n Neg(Neg(?x)) => ?x",
        (1, 6),
        "has no `why`",
        "say in a line",
    );
    check("!rule t.x : exact\n why \"w\"\n Neg(Neg(?x)) => ?x", (1, 6), "has no `example`", "give types");
    check("  Neg(Neg(?x)) => ?x\n  99", (5, 3), "expected the next part", "where");
}

#[test]
fn what_has_no_meaning() {
    check("  Negg(?x) => ?x", (4, 3), "unknown operator `Negg`", "did you mean `Neg`");
    check("  com.nowhere.Op(?x) => ?x", (4, 3), "unknown operator", "domain.Name");
    check("  Neg(?x, ?y) => ?x", (4, 3), "`Neg` takes 1 operand, found 2", "");
    check("  Softmax[axes=1](?x) => ?x", (4, 16), "has no attribute `axes`", "did you mean `axis`");
    check("  Neg(?x) => ?z", (4, 14), "`?z` is not bound", "each alternative");
    check("  {Neg(?x) | Abs(?y)} => ?y", (4, 26), "`?y` is not bound", "each alternative");
    check(
        "  Neg(?x) => ?x\n  when shap(?x) == shape(?x)",
        (5, 8),
        "unknown guard `shap`",
        "did you mean `shape`",
    );
    check("  Neg(?x) => ?x\n  when rank(?x, ?x) == 2", (5, 8), "`rank` takes 1", "");
    check("  Neg(d) => ?x", (4, 7), "`d` is not defined", "let");
    check("  let d = Neg(d)\n  Abs(d) => ?x", (4, 15), "`d` is defined by itself", "");
    check("  Neg(?x) => const!(?k)", (4, 21), "`?k` is not bound", "");
    check("  Mul(?x, $c=1.0) => ?x", (4, 11), "a default needs `opt`", "opt");
    check("  Neg(ones([8])) => ?x", (4, 7), "belongs on the right side", "const");
    check("  Neg(?x) => {?x | ?x}", (4, 14), "belongs on the left side", "");
    check("  ?x => Neg(?x)", (4, 3), "the left side must be an operator", "");
    check("  Neg(Neg(?x)) => twos([8])", (4, 19), "unknown constant `twos`", "zeros");
}

#[test]
fn what_breaks_a_law() {
    check(
        "  Neg(?x) => Neg(Neg(Neg(?x)))",
        (4, 3),
        "the right side has 3 operators, the left side 1",
        "phase=explore",
    );
    check("  Add(?x, ?y) => Add(?y, ?x)", (4, 3), "bare commutativity", "Op~");
    check("  Mul(Mul(?x, ?y), ?x) => Mul(?x, Mul(?y, ?x))", (4, 3), "associativity", "");
    let tower = "Add~(Add~(Add~(Add~(Add~(Add~(Add~(?x, ?y), ?y), ?y), ?y), ?y), ?y), ?y)";
    check(&format!("  {tower} => ?x"), (4, 3), "stands for 128 patterns; at most 64", "split the rule");
    let twice = format!("{HEAD}  Neg(Neg(?x)) => ?x\n{HEAD}  Neg(Neg(?x)) => ?x");
    check(&format!("!{twice}"), (5, 6), "a rule named t.x exists already", "unique");
    check(
        &format!("!{}", HEAD.replace("t.x", "reshape.id") + "  Neg(Neg(?x)) => ?x"),
        (1, 1),
        "reshape.id exists already, at rules/movement.rules",
        "unique",
    );
}

#[test]
fn what_its_example_refutes() {
    let rule =
        |example: &str, body: &str| format!("!rule t.x : exact\n  why \"w\"\n  example {example}\n  {body}");
    check(
        &rule("?x: f32[b, 8]", "Exp(Log(?x)) => Cast[to=11](?x)"),
        (3, 3),
        "its left side is f32[b, 8], its right side f64[b, 8]",
        "same type",
    );
    check(
        &rule("?x: f32[b, 8]", "Neg(Neg(?x)) => ?x when rank(?x) == 3"),
        (3, 3),
        "does not fire on this example: guard 1 is not proved",
        "guards",
    );
    check(&rule("?y: f32[b, 8]", "Neg(Neg(?x)) => ?x"), (3, 3), "says nothing about `?x`", "");
    check(&rule("?x: f99[b, 8]", "Neg(Neg(?x)) => ?x"), (3, 3), "`f99` is not an element type", "");
    check(
        &rule("?x: f32[b, 8], ?w: f32[3, 4]", "MatMul(?x, ?w) => ?x"),
        (3, 3),
        "cannot be typed on this example",
        "",
    );
    check(
        &rule(
            "?x: f32[b, 8]",
            "Neg(Neg(?x)) => Reshape(?x, ints(reshape(?x, [dim(?x, 1), dim(?x, 0)*2, dim(?x, 0)])))",
        ),
        (3, 3),
        "right side cannot be built",
        "refuses",
    );
}

#[test]
fn the_report_underlines_the_place() {
    let error = refused(&format!("{HEAD}  Negg(?x) => ?x"));
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .render_report(&mut text, &*error)
        .expect("renders");
    for part in ["my.rules:4:3", "Negg(?x) => ?x", "──", "here", "help: did you mean `Neg`?"] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn files_and_switches() {
    let folder = std::env::temp_dir().join(format!("fusebox-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let file = folder.join("extra.rules");
    std::fs::write(&file, format!("{HEAD}  Neg(Neg(?x)) => ?x")).expect("writes");
    let mut rules = RuleSet::load(&[&file]).expect("loads");
    std::fs::remove_dir_all(&folder).expect("removes");
    let rule = rules.get("t.x").expect("the rule of the file");
    assert!(rule.at().ends_with("extra.rules:1") && rule.why == "a test" && rule.alternatives == 1);
    assert!(rule.text.starts_with("rule t.x : exact"));
    rules.disable("t.x").expect("exists");
    assert!(rules.disable("t.x").is_err());
    rules.disable("linear.*").expect("a family");
    assert!(rules.iter().all(|r| !r.name.starts_with("linear.")) && rules.get("gelu.erf").is_some());
    assert!(RuleSet::load(&[folder.join("absent.rules")]).is_err());
}

/// A term of so many nested operators around `inner`.
fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn what_is_nested_too_deeply() {
    let deep = |body: &str| {
        let error = refused(&format!("{HEAD}{body}"));
        assert!(error.reason.contains("nested deeper than"), "{body:.80}: {}", error.reason);
        assert!(error.to_string().starts_with("my.rules:") && error.help.is_some());
    };
    for times in [40, 20_000] {
        deep(&format!("  {} => ?x", nested("Neg(", "?x", ")", times)));
        deep(&format!("  Neg(?x) => {}", nested("Neg(", "?x", ")", times)));
        deep(&format!("  {} => ?x", nested("{", "?x", "}", times)));
        deep(&format!("  {} => ?x", nested("opt ", "?x", "", times)));
        deep(&format!("  Neg(?x{}) => ?x", "#0".repeat(times)));
        deep(&format!("  Neg(?x{}) => ?x", "=?x".repeat(times)));
        for (open, inner, close) in
            [("(", "1", ")"), ("[", "", "]"), ("-", "$c", ""), ("!", "true", ""), ("rank(", "?x", ")")]
        {
            deep(&format!("  Neg(?x) => ?x\n  when {}", nested(open, inner, close, times)));
        }
        for link in [" + 1", " && true", "[0]", " ++ 1"] {
            deep(&format!("  Neg(?x) => ?x\n  when shape(?x){}", link.repeat(times)));
        }
    }
}

#[test]
fn lets_that_name_themselves_or_grow_without_end() {
    check("  let a = Neg(a)\n  Neg(?x) => a", (4, 15), "nested deeper than 128", "must not name itself");
    check("  let a = Neg(a)\n  Add(a, ?x) => ?x", (4, 15), "is defined by itself", "");
    let mut doubling = "  let l0 = Neg(?x)\n".to_owned();
    for index in 1..20 {
        let before = index - 1;
        doubling += &format!("  let l{index} = Add(l{before}, l{before})\n");
    }
    let error = refused(&format!("{HEAD}{doubling}  Neg(?x) => l19"));
    assert!(error.reason.contains("more terms than 4096"), "{error}");
    let mut chain = "  let l0 = Neg(?x)\n".to_owned();
    for index in 1..1000 {
        chain += &format!("  let l{index} = Neg(l{})\n", index - 1);
    }
    let error = refused(&format!("{HEAD}{chain}  Abs(l999) => ?x"));
    assert!(error.reason.contains("nested deeper than 128"), "{error}");
}

#[test]
fn what_is_too_long() {
    let items = "1, ".repeat(300);
    let text = format!("rule t.x : exact for $a in {{{items}}}\n  why \"w\"\n  Neg(?x) => ?x");
    assert!(refused(&text).reason.contains("more than 256 items"));
    let error = refused(&format!("{HEAD}  Neg(?x) => ?x\n{}", "  when true\n".repeat(10_000)));
    assert!(error.reason.contains("the limit is 65536"), "{error}");
    assert!(refused(&"# \n".repeat(1 << 19)).reason.contains("more than 1048576 bytes"));
}

#[test]
fn files_that_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.rules");
    std::fs::write(&path, b"# a rule\n  \xff\xfe").unwrap();
    let error = RuleSet::builtin().load_file(&path).unwrap_err();
    let fusebox_rewrite::RewriteError::Rule(error) = error else { panic!("{error}") };
    assert_eq!((error.line, error.column), (2, 3), "{error}");
    assert!(error.reason.contains("not UTF-8"));
}
