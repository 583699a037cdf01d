//! Reads rules from tokens: headers, terms, examples. Expressions are in `parse_expr`.
//!
//! A `for` is expanded here, by reading the body once per item with the item's names bound; everything behind sees
//! plain rules. Refuses to know operators, guard functions and scopes.

use super::ast::*;
use super::diag::{Result, RuleError, Source, Span};
use super::lex::{Tok, lex};
use std::collections::BTreeMap;

/// What a name of a `for` stands for.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// An operator with attributes.
    Op(String, Vec<AttrItem>),
    /// A value.
    Value(Expr),
}

pub(super) struct Parser<'a> {
    pub(super) source: &'a Source,
    tokens: Vec<(Tok, Span)>,
    at: usize,
    bound: BTreeMap<String, Bound>,
    /// Levels of nesting around the current token; links of a chain such as `a + b + c` count as levels too.
    depth: usize,
}

/// Most levels of nesting: what is read is walked by recursion everywhere behind the parser.
const MAX_DEPTH: usize = 32;
/// Most bytes of a rule file.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// Most bytes of one rule.
const MAX_RULE: usize = 1 << 16;
/// Most items of a `for`.
const MAX_ITEMS: usize = 256;

/// Words that end a rule's part.
const HEADS: &[&str] = &["rule", "group", "impl"];
/// Names of numbers.
pub(super) const NUMBERS: &[(&str, f64)] = &[
    ("SQRT2", std::f64::consts::SQRT_2),
    ("PI", std::f64::consts::PI),
    ("E", std::f64::consts::E),
    ("INF", f64::INFINITY),
];

/// All rules of a file.
///
/// # Errors
/// The first thing that does not parse.
pub(super) fn parse(source: &Source) -> Result<Vec<RuleAst>> {
    if source.text.len() > MAX_TEXT {
        let reason = format!("the file has more than {MAX_TEXT} bytes");
        return Err(RuleError::new(source, 0..0, reason).help("split the rules over several files"));
    }
    let mut parser = Parser { source, tokens: lex(source)?, at: 0, bound: BTreeMap::new(), depth: 0 };
    let mut rules = Vec::new();
    while *parser.peek() != Tok::End {
        parser.rule(&mut rules)?;
    }
    Ok(rules)
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> &Tok {
        &self.tokens[self.at].0
    }

    pub(super) fn ahead(&self, by: usize) -> &Tok {
        &self.tokens[(self.at + by).min(self.tokens.len() - 1)].0
    }

    pub(super) fn span(&self) -> Span {
        self.tokens[self.at].1.clone()
    }

    fn last(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].1.clone()
    }

    pub(super) fn since(&self, start: usize) -> Span {
        start..self.last().end
    }

    pub(super) fn next(&mut self) -> Tok {
        let token = self.peek().clone();
        if token != Tok::End {
            self.at += 1;
        }
        token
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Tok::Sign(s) if *s == sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Tok::Sign(s) if *s == sign)
    }

    pub(super) fn expect(&mut self, sign: &'static str) -> Result<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.wrong(&format!("expected `{sign}`"))) }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Tok::Ident(name) if name == word)
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn wrong(&self, expected: &str) -> Box<RuleError> {
        RuleError::new(self.source, self.span(), format!("{expected}, found {}", self.peek()))
    }

    fn ident(&mut self, what: &str) -> Result<(String, Span)> {
        let span = self.span();
        match self.peek().clone() {
            Tok::Ident(name) => {
                self.at += 1;
                Ok((name, span))
            }
            _ => Err(self.wrong(&format!("expected {what}"))),
        }
    }

    /// Enters a level of nesting.
    pub(super) fn deepen(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        let reason = format!("nested deeper than {MAX_DEPTH} levels");
        Err(RuleError::new(self.source, self.span(), reason)
            .help("give the inner part a name with `let` or `where`, or split the rule"))
    }

    /// Runs `read` one level deeper; the levels that it enters end with it.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = self.depth;
        self.deepen()?;
        let result = read(self)?;
        self.depth = before;
        Ok(result)
    }

    pub(super) fn bound(&self, name: &str) -> Option<&Bound> {
        self.bound.get(name)
    }

    fn rule(&mut self, rules: &mut Vec<RuleAst>) -> Result<()> {
        let start = self.span().start;
        let (head, span) = self.ident("`rule`, `group` or `impl`")?;
        let kind = match &*head {
            "rule" => Kind::Rule,
            "group" => Kind::Group,
            "impl" => Kind::Impl,
            _ => {
                let reason = format!("expected `rule`, `group` or `impl`, found `{head}`");
                return Err(RuleError::new(self.source, span, reason));
            }
        };
        let (name, name_span) = self.ident("the rule's name")?;
        self.expect(":")?;
        let contract = self.contract()?;
        let (mut phase, mut max_group) = (Phase::Canon, 8);
        while matches!(self.ahead(1), Tok::Sign("=")) && (self.is_word("phase") || self.is_word("max_group"))
        {
            let (option, _) = self.ident("an option")?;
            self.expect("=")?;
            if option == "phase" {
                phase = self.phase()?;
            } else {
                max_group = self.count()?;
            }
        }
        let items = if self.word("for") { self.for_items()? } else { vec![BTreeMap::new()] };
        let (body, count) = (self.at, items.len());
        for (index, item) in items.into_iter().enumerate() {
            self.at = body;
            self.bound = item;
            let mut rule = self.body()?;
            rule.kind = kind;
            rule.name = name.clone();
            rule.name_span = name_span.clone();
            (rule.contract, rule.phase, rule.max_group) = (contract, phase, max_group);
            rule.instance = (index, count);
            rule.span = self.since(start);
            if rule.span.len() > MAX_RULE {
                let reason = format!("this rule has {} bytes, the limit is {MAX_RULE}", rule.span.len());
                return Err(RuleError::new(self.source, name_span, reason).help("split the rule"));
            }
            self.check_whole(&rule)?;
            rules.push(rule);
        }
        self.bound.clear();
        Ok(())
    }

    fn check_whole(&self, rule: &RuleAst) -> Result<()> {
        let missing = |what: &str, help: &str| {
            RuleError::new(self.source, rule.name_span.clone(), format!("rule {} has no {what}", rule.name))
                .help(help)
        };
        if rule.why.is_empty() {
            return Err(missing("`why`", "say in a line `why \"…\"` for what the rule exists"));
        }
        if rule.examples.is_empty() {
            let help = "give types to its variables, e.g. `example ?x: f32[b, 8], $p = [1, 0]`: they type-check the rule \
                        and are what it is tested on";
            return Err(missing("`example`", help));
        }
        Ok(())
    }

    fn contract(&mut self) -> Result<Contract> {
        let (name, span) = self.ident("a contract")?;
        let contract = Contract::from_name(&name).ok_or_else(|| {
            let reason = format!("`{name}` is not a contract");
            RuleError::new(self.source, span, reason)
                .help(format!("contracts are {}", Contract::NAMES.join(", ")))
        })?;
        if self.sign("(") {
            while !self.sign(")") {
                if self.next() == Tok::End {
                    return Err(self.wrong("expected `)`"));
                }
            }
        }
        Ok(contract)
    }

    fn phase(&mut self) -> Result<Phase> {
        let (name, span) = self.ident("a phase")?;
        Phase::from_name(&name).ok_or_else(|| {
            let reason = format!("`{name}` is not a phase");
            RuleError::new(self.source, span, reason).help(format!("phases are {}", Phase::NAMES.join(", ")))
        })
    }

    fn count(&mut self) -> Result<usize> {
        match self.next() {
            Tok::Number(value, true) if value >= 1.0 => Ok(value as usize),
            _ => Err(RuleError::new(self.source, self.last(), "expected a positive integer")),
        }
    }

    fn for_items(&mut self) -> Result<Vec<BTreeMap<String, Bound>>> {
        let mut names = Vec::new();
        let several = self.sign("(");
        loop {
            match self.next() {
                Tok::Scalar(name) => names.push(name),
                _ => return Err(RuleError::new(self.source, self.last(), "expected a name such as `$act`")),
            }
            if !(several && self.sign(",")) {
                break;
            }
        }
        if several {
            self.expect(")")?;
        }
        if !self.word("in") {
            return Err(self.wrong("expected `in`"));
        }
        self.expect("{")?;
        let mut items = Vec::new();
        while !self.sign("}") {
            if several {
                self.expect("(")?;
            }
            let mut item = BTreeMap::new();
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    self.expect(",")?;
                }
                let value = self.for_value()?;
                item.insert(name.clone(), value);
            }
            if several {
                self.expect(")")?;
            }
            items.push(item);
            if items.len() > MAX_ITEMS {
                let reason = format!("this `for` has more than {MAX_ITEMS} items");
                return Err(RuleError::new(self.source, self.last(), reason).help("split the rule"));
            }
            if !self.is_sign("}") {
                self.expect(",")?;
            }
        }
        if items.is_empty() {
            return Err(RuleError::new(self.source, self.last(), "this `for` has no item"));
        }
        Ok(items)
    }

    fn for_value(&mut self) -> Result<Bound> {
        if let Tok::Ident(name) = self.peek().clone()
            && name.split('.').next_back().is_some_and(|n| n.starts_with(|c: char| c.is_ascii_uppercase()))
            && !NUMBERS.iter().any(|(n, _)| *n == name)
        {
            self.at += 1;
            let attrs = if self.is_sign("[") { self.attrs()? } else { Vec::new() };
            return Ok(Bound::Op(name, attrs));
        }
        Ok(Bound::Value(self.expr()?))
    }

    fn body(&mut self) -> Result<RuleAst> {
        let empty = Term { kind: TermKind::Wild, span: self.span() };
        let mut rule = RuleAst {
            kind: Kind::Rule,
            name: String::new(),
            name_span: self.span(),
            contract: Contract::Exact,
            phase: Phase::Canon,
            max_group: 8,
            why: String::new(),
            examples: Vec::new(),
            lets: Vec::new(),
            lhs: empty.clone(),
            rhs: empty,
            also: Vec::new(),
            both_ways: false,
            wheres: Vec::new(),
            when: Vec::new(),
            instance: (0, 1),
            span: self.span(),
            source: self.source.clone(),
        };
        let mut arrow = false;
        loop {
            match self.peek().clone() {
                Tok::End => break,
                Tok::Ident(name) if HEADS.contains(&&*name) => break,
                Tok::Ident(name) if name == "why" => self.why(&mut rule)?,
                Tok::Ident(name) if name == "example" => rule.examples.push(self.example()?),
                Tok::Ident(name) if name == "let" => self.let_(&mut rule)?,
                Tok::Ident(name) if name == "where" => self.where_(&mut rule)?,
                Tok::Ident(name) if name == "also" => self.also(&mut rule)?,
                Tok::Ident(name) if name == "when" => {
                    self.at += 1;
                    rule.when.push(self.expr()?);
                }
                _ if !arrow => {
                    arrow = true;
                    self.sides(&mut rule)?;
                }
                _ => {
                    let help = "after the right side come `where`, `when` or the next rule";
                    return Err(self.wrong("expected the next part of the rule").help(help));
                }
            }
        }
        if arrow { Ok(rule) } else { Err(self.wrong("expected the rule's left side")) }
    }

    fn sides(&mut self, rule: &mut RuleAst) -> Result<()> {
        rule.lhs = self.term()?;
        while self.is_word("let") {
            self.let_(rule)?;
        }
        rule.both_ways = match self.next() {
            Tok::Sign("=>" | "~>") => false,
            Tok::Sign("<=>") => true,
            found => {
                let reason = format!("expected `=>` after the left side, found {found}");
                return Err(RuleError::new(self.source, self.last(), reason));
            }
        };
        rule.rhs = self.term()?;
        Ok(())
    }

    fn also(&mut self, rule: &mut RuleAst) -> Result<()> {
        self.at += 1;
        let (name, span) = self.ident("the name of a let")?;
        self.expect("=>")?;
        let term = self.term()?;
        rule.also.push((name, span, term));
        Ok(())
    }

    fn why(&mut self, rule: &mut RuleAst) -> Result<()> {
        self.at += 1;
        match self.next() {
            Tok::Str(text) if !text.is_empty() => rule.why = text,
            _ => {
                return Err(RuleError::new(
                    self.source,
                    self.last(),
                    "expected a string that gives the reason",
                ));
            }
        }
        Ok(())
    }

    fn let_(&mut self, rule: &mut RuleAst) -> Result<()> {
        self.at += 1;
        let (name, span) = self.ident("the name of the let")?;
        if rule.lets.iter().any(|(n, _)| *n == name) {
            return Err(RuleError::new(self.source, span, format!("`{name}` is defined twice")));
        }
        self.expect("=")?;
        let term = self.term()?;
        rule.lets.push((name, term));
        Ok(())
    }

    fn where_(&mut self, rule: &mut RuleAst) -> Result<()> {
        self.at += 1;
        loop {
            let mut names = Vec::new();
            let several = self.sign("(");
            loop {
                match self.next() {
                    Tok::Scalar(name) => names.push(name),
                    _ => {
                        return Err(RuleError::new(self.source, self.last(), "expected a name such as `$c`"));
                    }
                }
                if !(several && self.sign(",")) {
                    break;
                }
            }
            if several {
                self.expect(")")?;
            }
            self.expect("=")?;
            let value = self.expr()?;
            rule.wheres.push((names, value));
            if !self.sign(",") {
                return Ok(());
            }
        }
    }

    fn example(&mut self) -> Result<Example> {
        let start = self.span().start;
        self.at += 1;
        let mut vars = Vec::new();
        loop {
            let span = self.span();
            let name = match self.next() {
                Tok::Var(name) => format!("?{name}"),
                Tok::Scalar(name) => format!("${name}"),
                Tok::Record(name) => format!("@{name}"),
                found => {
                    let reason = format!("expected a variable of the example, found {found}");
                    return Err(RuleError::new(self.source, span, reason));
                }
            };
            let value = if self.sign(":") {
                ExampleValue::Tensors(self.example_tensors()?)
            } else {
                self.expect("=")?;
                self.example_value()?
            };
            vars.push(ExampleVar { name, value, span });
            if !self.sign(",") {
                return Ok(Example { vars, span: self.since(start) });
            }
        }
    }

    fn example_value(&mut self) -> Result<ExampleValue> {
        if self.word("none") {
            return Ok(ExampleValue::None);
        }
        if !self.sign("{") {
            return Ok(ExampleValue::Value(self.expr()?));
        }
        let mut fields = Vec::new();
        while !self.sign("}") {
            let (name, _) = self.ident("an attribute")?;
            self.expect("=")?;
            fields.push((name, self.expr()?));
            if !self.is_sign("}") {
                self.expect(",")?;
            }
        }
        Ok(ExampleValue::Record(fields))
    }

    fn example_tensors(&mut self) -> Result<Vec<ExampleTensor>> {
        let mut tensors = Vec::new();
        loop {
            let (dtype, _) = self.ident("an element type")?;
            self.expect("[")?;
            let mut dims = Vec::new();
            while !self.sign("]") {
                dims.push(self.expr()?);
                if !self.is_sign("]") {
                    self.expect(",")?;
                }
            }
            let constant = self.word("const");
            let positive = self.word("positive");
            let fill = ["ones", "zeros", "causal"].into_iter().find(|f| self.word(f)).map(str::to_owned);
            tensors.push(ExampleTensor { dtype, dims, constant: constant || fill.is_some(), positive, fill });
            if !self.sign("|") {
                return Ok(tensors);
            }
        }
    }

    pub(super) fn term(&mut self) -> Result<Term> {
        self.deeper(|p| {
            let start = p.span().start;
            let mut term = p.term_base()?;
            while p.is_sign("#") {
                p.deepen()?;
                p.at += 1;
                let index = p.primary()?;
                term = Term { kind: TermKind::Proj(Box::new(term), index), span: p.since(start) };
            }
            Ok(term)
        })
    }

    fn term_base(&mut self) -> Result<Term> {
        let start = self.span().start;
        let kind = match self.peek().clone() {
            Tok::Var(name) => self.term_var(name)?,
            Tok::Scalar(name) => self.term_scalar(name)?,
            Tok::Sign("{") => self.either()?,
            Tok::Ident(name) => self.term_word(name)?,
            Tok::Number(..) | Tok::Sign("-" | "(" | "[") => TermKind::Value(self.expr()?),
            _ => return Err(self.wrong("expected a pattern")),
        };
        Ok(Term { kind, span: self.since(start) })
    }

    fn term_var(&mut self, name: String) -> Result<TermKind> {
        self.at += 1;
        let each = self.sign("[");
        if each {
            if !(self.word("i") || self.sign("*")) {
                return Err(self.wrong("expected `i` or `*`"));
            }
            self.expect("]")?;
        }
        let default = if self.sign("=") { Some(Box::new(self.term()?)) } else { None };
        Ok(TermKind::Var { name, each, default })
    }

    fn term_scalar(&mut self, name: String) -> Result<TermKind> {
        if let Some(Bound::Op(..)) = self.bound(&name) {
            return self.call();
        }
        if matches!(self.ahead(1), Tok::Sign("[")) && matches!(self.ahead(2), Tok::Sign("]")) {
            self.at += 3;
            return Ok(TermKind::Vector(name));
        }
        let expr = self.expr()?;
        match expr.kind {
            ExprKind::Scalar(name) => {
                let default = if self.sign("=") { Some(self.expr()?) } else { None };
                Ok(TermKind::Scalar(name, default))
            }
            _ => Ok(TermKind::Value(expr)),
        }
    }

    fn either(&mut self) -> Result<TermKind> {
        self.expect("{")?;
        let mut terms = vec![self.term()?];
        while self.sign("|") {
            terms.push(self.term()?);
        }
        self.expect("}")?;
        Ok(TermKind::Either(terms))
    }

    fn term_word(&mut self, name: String) -> Result<TermKind> {
        match &*name {
            "_" => {
                self.at += 1;
                return Ok(TermKind::Wild);
            }
            "none" => {
                self.at += 1;
                return Ok(TermKind::None);
            }
            "opt" => {
                self.at += 1;
                return Ok(TermKind::Opt(Box::new(self.term()?)));
            }
            "const" if matches!(self.ahead(1), Tok::Sign("!")) => {
                self.at += 2;
                self.expect("(")?;
                let term = self.term()?;
                self.expect(")")?;
                return Ok(TermKind::Const(Box::new(term)));
            }
            _ => {}
        }
        if NUMBERS.iter().any(|(n, _)| *n == name) || name == "SQRT" {
            return Ok(TermKind::Value(self.expr()?));
        }
        let is_op =
            name.split('.').next_back().is_some_and(|n| n.starts_with(|c: char| c.is_ascii_uppercase()));
        if is_op {
            return self.call();
        }
        self.at += 1;
        if self.sign("(") {
            return Ok(TermKind::Make(name, self.args()?));
        }
        Ok(TermKind::Name(name))
    }

    fn call(&mut self) -> Result<TermKind> {
        let op_span = self.span();
        let (op, mut attrs) = match self.next() {
            Tok::Ident(name) => (name, Vec::new()),
            Tok::Scalar(name) => match self.bound(&name) {
                Some(Bound::Op(op, attrs)) => (op.clone(), attrs.clone()),
                _ => {
                    return Err(RuleError::new(
                        self.source,
                        op_span,
                        format!("`${name}` is not an operator"),
                    ));
                }
            },
            _ => return Err(RuleError::new(self.source, op_span, "expected an operator")),
        };
        let either_order = self.sign("~");
        if self.is_sign("[") {
            attrs.extend(self.attrs()?);
        }
        self.expect("(")?;
        let mut args = Vec::new();
        while !self.sign(")") {
            args.push(self.term()?);
            if !self.is_sign(")") {
                self.expect(",")?;
            }
        }
        let name = if self.word("as") {
            match self.next() {
                Tok::Var(name) => Some(name),
                _ => return Err(RuleError::new(self.source, self.last(), "expected a variable after `as`")),
            }
        } else {
            None
        };
        Ok(TermKind::Call(Box::new(Call { op, op_span, either_order, attrs, args, name })))
    }

    fn attrs(&mut self) -> Result<Vec<AttrItem>> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.sign("]") {
            let span = self.span();
            match self.next() {
                Tok::Record(name) => items.push(AttrItem::Record(name, span)),
                Tok::Ident(name) => {
                    self.expect("=")?;
                    items.push(AttrItem::Field(name, self.expr()?));
                }
                found => {
                    let reason = format!("expected an attribute, found {found}");
                    let help = "write `name=value`, or `@a` for the whole record";
                    return Err(RuleError::new(self.source, span, reason).help(help));
                }
            }
            if !self.is_sign("]") {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    pub(super) fn args(&mut self) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        while !self.sign(")") {
            args.push(self.expr()?);
            if !self.is_sign(")") {
                self.expect(",")?;
            }
        }
        Ok(args)
    }
}
