//! From the text of a rule file to checked rules.

use super::ast::{Kind, Phase, RuleAst, Term, TermKind};
use super::compile::compile;
use super::diag::{Result, RuleError, Source};
use super::parse::parse;
use crate::rule::Rule;

/// Patterns that one rule may stand for.
const MAX_ALTERNATIVES: usize = 64;

/// Reads the rules of a file.
///
/// # Errors
/// The first that does not parse, has no meaning, or breaks a law of `rules/README.md`.
pub fn load(source: &Source) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    for ast in parse(source)? {
        let variants = if ast.both_ways {
            vec![compile(&ast, false)?, compile(&ast, true)?]
        } else {
            vec![compile(&ast, false)?]
        };
        check_laws(&ast)?;
        if ast.instance.0 > 0 {
            let rule = rules.last_mut().expect("the first instance was pushed before");
            rule.alternatives += alternatives(&ast.lhs, &ast);
            rule.variants.extend(variants);
            number(rule);
            continue;
        }
        let name = ast.name.clone();
        if rules.iter().any(|r| r.name == name) {
            return Err(duplicate(&ast));
        }
        rules.push(Rule {
            line: source.line(ast.span.start),
            file: source.name.to_string(),
            contract: ast.contract,
            phase: ast.phase,
            kind: ast.kind,
            why: ast.why.clone(),
            text: source.text[ast.span.clone()].trim_end().to_owned(),
            alternatives: alternatives(&ast.lhs, &ast),
            max_group: ast.max_group,
            variants,
            source: source.clone(),
            name,
        });
        rules.last_mut().into_iter().for_each(number);
    }
    Ok(rules)
}

fn number(rule: &mut Rule) {
    for (number, variant) in rule.variants.iter_mut().enumerate() {
        variant.number = number;
    }
}

fn duplicate(ast: &RuleAst) -> Box<RuleError> {
    let reason = format!("a rule named {} exists already", ast.name);
    RuleError::new(&ast.source, ast.name_span.clone(), reason).help("rule names are unique over all files")
}

fn check_laws(ast: &RuleAst) -> Result<()> {
    let error = |reason: String| RuleError::new(&ast.source, ast.lhs.span.start..ast.rhs.span.end, reason);
    let count = alternatives(&ast.lhs, ast);
    if count > MAX_ALTERNATIVES {
        let reason =
            format!("the left side stands for {count} patterns; at most {MAX_ALTERNATIVES} are allowed");
        return Err(
            error(reason).help("split the rule, or let a canon rule bring the spellings together first")
        );
    }
    if is_commutativity(&ast.lhs, &ast.rhs) {
        let help = "write `Op~(a, b)` in the patterns that need both orders: e-nodes cost more than patterns";
        return Err(error("bare commutativity or associativity".into()).help(help));
    }
    let (left, right) = (size(&ast.lhs, ast), size(&ast.rhs, ast));
    if ast.kind == Kind::Rule && !matches!(ast.phase, Phase::Decompose | Phase::Explore) && right > left {
        let reason = format!("the right side has {right} operators, the left side {left}");
        return Err(
            error(reason).help("a rule that enlarges belongs in `phase=decompose` or `phase=explore`")
        );
    }
    Ok(())
}

/// Number of patterns that a term stands for; a let counts once, because its uses agree.
fn alternatives(term: &Term, ast: &RuleAst) -> usize {
    count(term, ast, &mut Vec::new())
}

fn count(term: &Term, ast: &RuleAst, seen: &mut Vec<String>) -> usize {
    match &term.kind {
        TermKind::Either(terms) => {
            let before = seen.clone();
            terms.iter().fold(0usize, |sum, term| {
                let mut branch = before.clone();
                let sum = sum.saturating_add(count(term, ast, &mut branch));
                seen.extend(branch);
                sum
            })
        }
        TermKind::Call(call) => {
            let orders = if call.either_order { 2 } else { 1 };
            call.args.iter().fold(orders, |product, arg| product.saturating_mul(count(arg, ast, seen)))
        }
        TermKind::Opt(inner) => {
            let TermKind::Call(call) = &inner.kind else { return 1 };
            let orders = if call.either_order { 2 } else { 1 };
            let operands = call.args.iter().fold(1usize, |p, arg| p.saturating_mul(count(arg, ast, seen)));
            operands.saturating_mul(orders + 1)
        }
        TermKind::Proj(inner, _) | TermKind::Const(inner) => count(inner, ast, seen),
        TermKind::Name(name) if !seen.contains(name) => {
            seen.push(name.clone());
            ast.lets.iter().find(|(n, _)| n == name).map_or(1, |(_, body)| count(body, ast, seen))
        }
        _ => 1,
    }
}

/// Operators that are not constant; the largest alternative counts.
fn size(term: &Term, ast: &RuleAst) -> usize {
    let mut seen = Vec::new();
    size_of(term, ast, &mut seen)
}

fn size_of(term: &Term, ast: &RuleAst, seen: &mut Vec<String>) -> usize {
    match &term.kind {
        TermKind::Call(call) => 1 + call.args.iter().map(|a| size_of(a, ast, seen)).sum::<usize>(),
        TermKind::Either(terms) => {
            terms.iter().map(|t| size_of(t, ast, &mut seen.clone())).max().unwrap_or(0)
        }
        TermKind::Opt(inner) | TermKind::Proj(inner, _) => size_of(inner, ast, seen),
        TermKind::Name(name) if seen.contains(name) => 0,
        TermKind::Name(name) => {
            seen.push(name.clone());
            let body = ast.lets.iter().find(|(n, _)| n == name);
            body.map_or(0, |(_, body)| size_of(body, ast, seen))
        }
        _ => 0,
    }
}

/// `Op(a, b) => Op(b, a)` and `Op(Op(a, b), c) => Op(a, Op(b, c))` over plain variables.
fn is_commutativity(left: &Term, right: &Term) -> bool {
    fn flat<'a>(term: &'a Term, op: &str, leaves: &mut Vec<&'a str>) -> bool {
        match &term.kind {
            TermKind::Var { name, default: None, .. } => {
                leaves.push(name);
                true
            }
            TermKind::Call(call) => {
                call.op == op && call.attrs.is_empty() && call.args.iter().all(|a| flat(a, op, leaves))
            }
            _ => false,
        }
    }
    let (TermKind::Call(a), TermKind::Call(b)) = (&left.kind, &right.kind) else { return false };
    let (mut x, mut y) = (Vec::new(), Vec::new());
    if a.op != b.op || a.args.len() != 2 || !flat(left, &a.op, &mut x) || !flat(right, &a.op, &mut y) {
        return false;
    }
    let same = x == y;
    x.sort_unstable();
    y.sort_unstable();
    x == y && (!same || left != right)
}
