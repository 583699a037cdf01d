//! Resolves names: variables to slots, operators to codes, functions to rows; refuses what has no meaning.

use super::ast::{AttrItem, Call, Expr as Ast, ExprKind, Kind, RuleAst, Term, TermKind};
use super::diag::{Result, RuleError, Span, closest};
use crate::egraph::analysis::{Egg, Facts};
use crate::egraph::node::{self, Code};
use crate::expr::{Expr, Scope, Subst};
use crate::functions;
use crate::rule::{Let, Make, Pat, PatAttr, PatCall, PatIndex, Preset, Template, TemplateCall, Variant};
use crate::value::Value;
use fusebox_ir::{DType, OpName};
use fusebox_ops::attributes;
use std::collections::BTreeSet;

/// Names of a rule while it is compiled.
pub(super) struct Compiler<'a> {
    ast: &'a RuleAst,
    classes: Vec<String>,
    each: Vec<bool>,
    scalars: Vec<String>,
    records: Vec<String>,
    defaults: Vec<Option<Template>>,
    lets: Vec<Option<Let>>,
    /// What each let binds.
    let_names: Vec<Names>,
    let_order: Vec<usize>,
    /// Class, scalar and record slots bound so far on the left.
    seen: Names,
    empty: Egg,
    /// Terms around the current one, through lets.
    depth: usize,
    /// Terms so far; a let counts wherever it is spelt out.
    terms: usize,
}

/// Most terms around a term, through lets.
const MAX_DEPTH: usize = 128;
/// Most terms of one direction of a rule, lets spelt out.
const MAX_TERMS: usize = 4096;

/// Sets of slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    classes: BTreeSet<usize>,
    scalars: BTreeSet<usize>,
    records: BTreeSet<usize>,
}

impl Names {
    fn add(&mut self, other: Self) {
        self.classes.extend(other.classes);
        self.scalars.extend(other.scalars);
        self.records.extend(other.records);
    }

    fn common(sets: Vec<Self>) -> Self {
        sets.into_iter()
            .reduce(|a, b| Self {
                classes: &a.classes & &b.classes,
                scalars: &a.scalars & &b.scalars,
                records: &a.records & &b.records,
            })
            .unwrap_or_default()
    }
}

fn slot(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|n| n == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// Lets and variables have names of their own: `q` is not `?q`.
fn let_name(name: &str) -> String {
    format!("let {name}")
}

/// Compiles one direction of a rule.
///
/// # Errors
/// The first name or construct without meaning.
pub(super) fn compile(ast: &RuleAst, backwards: bool) -> Result<Variant> {
    let mut c = Compiler {
        ast,
        classes: Vec::new(),
        each: Vec::new(),
        scalars: Vec::new(),
        records: Vec::new(),
        defaults: Vec::new(),
        lets: vec![None; ast.lets.len()],
        let_names: vec![Names::default(); ast.lets.len()],
        let_order: Vec::new(),
        seen: Names::default(),
        empty: Egg::new(Facts::default()),
        depth: 0,
        terms: 0,
    };
    let (left, right) = if backwards { (&ast.rhs, &ast.lhs) } else { (&ast.lhs, &ast.rhs) };
    let lhs = c.pattern(left)?;
    let roots = roots(&lhs);
    if roots.is_empty() {
        return Err(c.error(left.span.clone(), "the left side must be an operator"));
    }
    let mut wheres = Vec::new();
    for (names, value) in &ast.wheres {
        let value = c.expr(value)?;
        let slots: Vec<usize> = names.iter().map(|n| slot(&mut c.scalars, n)).collect();
        c.seen.scalars.extend(slots.iter().copied());
        wheres.push((slots, value));
    }
    let guards = ast.when.iter().map(|e| c.expr(e)).collect::<Result<Vec<_>>>()?;
    let rhs = c.template(right)?;
    let mut also = Vec::new();
    for (name, span, term) in &ast.also {
        let slot = c.bound_class(&let_name(name), span)?;
        also.push((slot, c.template(term)?));
    }
    let lets: Vec<Let> =
        std::mem::take(&mut c.let_order).into_iter().filter_map(|i| c.lets[i].take()).collect();
    c.defaults.resize(c.classes.len(), None);
    c.each.resize(c.classes.len(), false);
    Ok(Variant {
        number: 0,
        lhs,
        lets,
        roots,
        rhs,
        also,
        defaults: c.defaults,
        wheres,
        guards,
        classes: c.classes,
        scalars: c.scalars,
        records: c.records,
        each: c.each,
        examples: ast.examples.clone(),
    })
}

/// Operators that a match may begin with.
fn roots(pat: &Pat) -> Vec<Code> {
    let mut codes = match pat {
        Pat::Call(call) => vec![call.code],
        Pat::Proj(..) => vec![Code::PROJ],
        Pat::Either(pats) => pats.iter().flat_map(roots).collect(),
        _ => Vec::new(),
    };
    codes.sort_unstable();
    codes.dedup();
    codes
}

impl Compiler<'_> {
    fn error(&self, span: Span, reason: impl Into<String>) -> Box<RuleError> {
        RuleError::new(&self.ast.source, span, reason)
    }

    fn class(&mut self, name: &str) -> usize {
        let slot = slot(&mut self.classes, name);
        self.each.resize(self.classes.len(), false);
        self.defaults.resize(self.classes.len(), None);
        slot
    }

    /// The operator by name, and its code.
    fn op(&self, call: &Call) -> Result<(OpName, Code)> {
        let (domain, name) = call.op.rsplit_once('.').unwrap_or(("", &call.op));
        let op = OpName::new(domain, name);
        if let Some(code) = node::code(&op) {
            return Ok((op, code));
        }
        let error = self.error(call.op_span.clone(), format!("unknown operator `{op}`"));
        let names: Vec<String> =
            fusebox_ops::ops().iter().map(|o| o.schema().op_name().to_string()).collect();
        Err(match closest(&call.op, names.iter().map(String::as_str)) {
            Some(close) => error.help(format!("did you mean `{close}`?")),
            None => error.help("operators are written as in ONNX, those of other domains as `domain.Name`"),
        })
    }

    fn check_arity(&self, call: &Call, code: Code, span: &Span) -> Result<()> {
        let schema = fusebox_ops::ops()[code.index().expect("an operator")].schema();
        let (least, most) = schema.inputs;
        let splices = call.args.iter().any(|a| matches!(a.kind, TermKind::Var { each: true, .. }));
        if splices || (least..=most).contains(&call.args.len()) {
            return Ok(());
        }
        let takes = match (least, most) {
            (least, usize::MAX) => format!("at least {least} operands"),
            (1, 1) => "1 operand".to_owned(),
            (least, most) if least == most => format!("{least} operands"),
            (least, most) => format!("{least} to {most} operands"),
        };
        let (op, found) = (&call.op, call.args.len());
        Err(self.error(span.clone(), format!("`{op}` takes {takes}, found {found}")))
    }

    fn check_attr(&self, op: &OpName, name: &str, span: &Span) -> Result<()> {
        if attributes::spec(op, name).is_some() {
            return Ok(());
        }
        let known: Vec<&str> = attributes::of(op).iter().map(|(n, _)| *n).collect();
        let error = self.error(span.clone(), format!("`{op}` has no attribute `{name}`"));
        let has =
            if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        Err(error.help(closest(name, known).map_or(has, |close| format!("did you mean `{close}`?"))))
    }

    /// Runs `read` for a term. Lets make terms deeper and larger than their text, and may name themselves.
    fn within<T>(&mut self, term: &Term, read: impl FnOnce(&mut Self, &Term) -> Result<T>) -> Result<T> {
        self.depth += 1;
        self.terms += 1;
        let limit = |what, limit| {
            let reason = format!("with its lets spelt out, this rule has {what} {limit}");
            Err(self.error(term.span.clone(), reason).help("split the rule; a let must not name itself"))
        };
        if self.depth > MAX_DEPTH {
            return limit("terms nested deeper than", MAX_DEPTH);
        }
        if self.terms > MAX_TERMS {
            return limit("more terms than", MAX_TERMS);
        }
        let result = read(self, term)?;
        self.depth -= 1;
        Ok(result)
    }

    pub(super) fn pattern(&mut self, term: &Term) -> Result<Pat> {
        self.within(term, Self::pattern_of)
    }

    fn pattern_of(&mut self, term: &Term) -> Result<Pat> {
        Ok(match &term.kind {
            TermKind::Wild => Pat::Any,
            TermKind::None => Pat::Absent,
            TermKind::Var { name, each, default } => {
                let slot = self.class(name);
                self.each[slot] |= each;
                self.seen.classes.insert(slot);
                if let Some(default) = default {
                    let default = self.template(default)?;
                    self.defaults[slot] = (!matches!(default, Template::Absent)).then_some(default);
                    return Ok(Pat::Class(slot, true));
                }
                Pat::Class(slot, false)
            }
            TermKind::Scalar(name, None) => {
                let slot = slot(&mut self.scalars, name);
                self.seen.scalars.insert(slot);
                Pat::Scalar(slot)
            }
            TermKind::Scalar(..) => {
                let help = "write `opt Mul(?x, $c=1.0)`";
                return Err(self
                    .error(term.span.clone(), "a default needs `opt` before the operator")
                    .help(help));
            }
            TermKind::Vector(name) => {
                let slot = slot(&mut self.scalars, name);
                self.seen.scalars.insert(slot);
                Pat::Vector(slot)
            }
            TermKind::Value(expr) => Pat::Value(self.literal(expr)?),
            TermKind::Name(name) => self.let_pattern(name, &term.span)?,
            TermKind::Call(call) => Pat::Call(Box::new(self.pattern_call(call, &term.span)?)),
            TermKind::Either(terms) => self.either(terms)?,
            TermKind::Opt(inner) => self.opt(inner)?,
            TermKind::Proj(inner, index) => {
                let pat = self.pattern(inner)?;
                let index =
                    match &index.kind {
                        ExprKind::Scalar(name) => {
                            let slot = slot(&mut self.scalars, name);
                            self.seen.scalars.insert(slot);
                            PatIndex::Bind(slot)
                        }
                        _ => {
                            let value = self.literal(index)?.as_int().and_then(|v| u32::try_from(v).ok());
                            PatIndex::Is(value.ok_or_else(|| {
                                self.error(index.span.clone(), "expected an output's number")
                            })?)
                        }
                    };
                Pat::Proj(Box::new(pat), index)
            }
            TermKind::Const(_) | TermKind::Make(..) => {
                let help = "on the left, `when const(?x)` asks for a constant";
                return Err(self.error(term.span.clone(), "this belongs on the right side").help(help));
            }
        })
    }

    fn either(&mut self, terms: &[Term]) -> Result<Pat> {
        let before = self.seen.clone();
        let (mut pats, mut sets) = (Vec::new(), Vec::new());
        for term in terms {
            self.seen = before.clone();
            pats.push(self.pattern(term)?);
            sets.push(std::mem::take(&mut self.seen));
        }
        self.seen = Names::common(sets);
        Ok(Pat::Either(pats))
    }

    fn let_pattern(&mut self, name: &str, span: &Span) -> Result<Pat> {
        let Some(index) = self.ast.lets.iter().position(|(n, _)| n == name) else {
            let error = self.error(span.clone(), format!("`{name}` is not defined"));
            let known = self.ast.lets.iter().map(|(n, _)| n.as_str());
            return Err(match closest(name, known) {
                Some(close) => error.help(format!("did you mean `{close}`?")),
                None => error.help("variables are written `?x`, scalars `$c`, shared parts come from `let`"),
            });
        };
        let slot = self.class(&let_name(name));
        if self.lets[index].is_none() {
            // Registered before its body is compiled, so that a let that names itself is found.
            self.lets[index] = Some(Let { slot, pat: Pat::Any });
            let term = self.ast.lets[index].1.clone();
            let outside = std::mem::take(&mut self.seen);
            let pat = self.pattern(&term)?;
            self.let_names[index] = std::mem::replace(&mut self.seen, outside);
            self.lets[index] = Some(Let { slot, pat });
            self.let_order.push(index);
        } else if !self.let_order.contains(&index) {
            return Err(self.error(span.clone(), format!("`{name}` is defined by itself")));
        }
        let names = self.let_names[index].clone();
        self.seen.add(names);
        self.seen.classes.insert(slot);
        let position = self.let_order.iter().position(|i| *i == index);
        Ok(Pat::Let(position.expect("pushed above")))
    }

    fn pattern_call(&mut self, call: &Call, span: &Span) -> Result<PatCall> {
        let (op, code) = self.op(call)?;
        self.check_arity(call, code, span)?;
        if call.either_order && call.args.len() != 2 {
            return Err(self.error(span.clone(), "`~` needs two operands"));
        }
        let mut attrs = Vec::new();
        for item in &call.attrs {
            attrs.push(match item {
                AttrItem::Record(name, _) => {
                    let slot = slot(&mut self.records, name);
                    self.seen.records.insert(slot);
                    PatAttr::Record(slot)
                }
                AttrItem::Field(name, value) => {
                    self.check_attr(&op, name, &value.span)?;
                    match &value.kind {
                        ExprKind::Scalar(variable) => {
                            let slot = slot(&mut self.scalars, variable);
                            self.seen.scalars.insert(slot);
                            PatAttr::Bind(name.clone(), slot)
                        }
                        _ => PatAttr::Equal(name.clone(), self.literal(value)?),
                    }
                }
            });
        }
        let args = call.args.iter().map(|a| self.pattern(a)).collect::<Result<_>>()?;
        let bind = call.name.as_ref().map(|name| {
            let slot = self.class(name);
            self.seen.classes.insert(slot);
            slot
        });
        Ok(PatCall { code, op, either_order: call.either_order, attrs, args, bind })
    }

    /// `opt P(x, $s=1.0)`: the operand without a default passes through.
    fn opt(&mut self, term: &Term) -> Result<Pat> {
        let TermKind::Call(call) = &term.kind else {
            return Err(self.error(term.span.clone(), "`opt` needs an operator"));
        };
        let (mut presets, mut through) = (Vec::new(), Vec::new());
        let mut plain = (**call).clone();
        for (index, arg) in call.args.iter().enumerate() {
            match &arg.kind {
                TermKind::Scalar(name, Some(default)) => {
                    let value = self.literal(default)?;
                    presets.push(Preset::Scalar(slot(&mut self.scalars, name), value));
                    plain.args[index].kind = TermKind::Scalar(name.clone(), None);
                }
                TermKind::Var { name, each, default: Some(_) } => {
                    presets.push(Preset::Absent(self.class(name)));
                    plain.args[index].kind = TermKind::Var { name: name.clone(), each: *each, default: None };
                }
                TermKind::Value(_) => {}
                _ => through.push(index),
            }
        }
        let [through] = through.as_slice() else {
            let reason =
                "`opt` needs exactly one operand without a default: what is left when the operator is absent";
            return Err(self.error(term.span.clone(), reason));
        };
        Ok(Pat::Opt(Box::new(self.pattern_call(&plain, &term.span)?), *through, presets))
    }

    fn literal(&mut self, expr: &Ast) -> Result<Value> {
        let compiled = self.expr(expr)?;
        let subst = Subst {
            classes: vec![None; self.classes.len()],
            scalars: vec![None; self.scalars.len()],
            records: vec![None; self.records.len()],
        };
        let value = compiled.eval(Scope { egraph: &self.empty, subst: &subst, group: &[] });
        value.ok_or_else(|| {
            let help = "compute it in `where`, or compare it in `when`";
            self.error(expr.span.clone(), "a value in a pattern must be a literal").help(help)
        })
    }

    fn unbound(&self, span: &Span, name: &str) -> Box<RuleError> {
        self.error(span.clone(), format!("`{name}` is not bound on the left side"))
            .help("every variable must occur in each alternative of the left side, or in `where`")
    }

    fn bound_class(&mut self, name: &str, span: &Span) -> Result<usize> {
        match self.classes.iter().position(|n| n == name) {
            Some(slot) if self.seen.classes.contains(&slot) => Ok(slot),
            _ => Err(self.unbound(span, &format!("?{name}"))),
        }
    }

    fn bound_record(&self, name: &str, span: &Span) -> Result<usize> {
        match self.records.iter().position(|n| n == name) {
            Some(slot) if self.seen.records.contains(&slot) => Ok(slot),
            _ => Err(self.unbound(span, &format!("@{name}"))),
        }
    }

    pub(super) fn expr(&mut self, expr: &Ast) -> Result<Expr> {
        let span = &expr.span;
        Ok(match &expr.kind {
            ExprKind::Number(value, true) => Expr::Value(Value::from(*value as i64)),
            ExprKind::Number(value, false) => Expr::Value(Value::Float(*value)),
            ExprKind::Str(text) => Expr::Value(Value::Str(text.clone())),
            ExprKind::Bool(value) => Expr::Value(Value::Bool(*value)),
            ExprKind::None => Expr::Value(Value::None),
            ExprKind::Scalar(name) => match self.scalars.iter().position(|n| n == name) {
                Some(slot) if self.seen.scalars.contains(&slot) => Expr::Scalar(slot),
                _ => return Err(self.unbound(span, &format!("${name}"))),
            },
            ExprKind::Var(name) => Expr::Class(self.bound_class(name, span)?),
            ExprKind::All(name) => Expr::All(self.bound_class(name, span)?),
            ExprKind::Name(name) => self.name(name, span)?,
            ExprKind::Call(name, args) => self.call_expr(name, args, span)?,
            ExprKind::Index(list, index) => {
                Expr::Index(Box::new(self.expr(list)?), Box::new(self.expr(index)?))
            }
            ExprKind::List(items) => Expr::List(self.exprs(items)?),
            ExprKind::Unary(op, inner) => Expr::Unary(op, Box::new(self.expr(inner)?)),
            ExprKind::Binary(op, a, b) => Expr::Binary(op, Box::new(self.expr(a)?), Box::new(self.expr(b)?)),
            ExprKind::Compare(sides, ops) => Expr::Compare(self.exprs(sides)?, ops.clone()),
        })
    }

    fn exprs(&mut self, items: &[Ast]) -> Result<Vec<Expr>> {
        items.iter().map(|i| self.expr(i)).collect()
    }

    fn call_expr(&mut self, name: &str, args: &[Ast], span: &Span) -> Result<Expr> {
        let Some(function) = functions::find(name) else {
            let error = self.error(span.clone(), format!("unknown guard `{name}`"));
            let known = functions::FUNCTIONS.iter().map(|f| f.name);
            return Err(match closest(name, known.clone()) {
                Some(close) => error.help(format!("did you mean `{close}`?")),
                None => error.help(format!("guards are {}", known.collect::<Vec<_>>().join(", "))),
            });
        };
        let (least, most) = function.arity;
        if !(least..=most).contains(&args.len()) {
            let plural = if least == 1 { "" } else { "s" };
            let reason = format!("`{name}` takes {least} operand{plural}, found {}", args.len());
            return Err(self.error(span.clone(), reason));
        }
        Ok(Expr::Call(function, self.exprs(args)?))
    }

    /// A let, `record.attribute`, or an element type.
    fn name(&mut self, name: &str, span: &Span) -> Result<Expr> {
        if let Some((record, attr)) = name.split_once('.') {
            return Ok(Expr::Attr(self.bound_record(record, span)?, attr.to_owned()));
        }
        if DType::from_name(name).is_some() {
            return Ok(Expr::Value(Value::Str(name.to_owned())));
        }
        match self.bound_class(&let_name(name), span) {
            Ok(slot) => Ok(Expr::Class(slot)),
            Err(_) => Err(self
                .error(span.clone(), format!("unknown name `{name}`"))
                .help("variables are written `?x`, scalars `$c`; bare names are lets and element types")),
        }
    }

    pub(super) fn template(&mut self, term: &Term) -> Result<Template> {
        self.within(term, Self::template_of)
    }

    fn template_of(&mut self, term: &Term) -> Result<Template> {
        let span = &term.span;
        Ok(match &term.kind {
            TermKind::None => Template::Absent,
            TermKind::Var { name, each, default: None } => {
                let slot = self.bound_class(name, span)?;
                if *each && self.ast.kind == Kind::Group {
                    Template::All(slot)
                } else {
                    Template::Class(slot)
                }
            }
            TermKind::Scalar(name, None) => {
                let expr = Ast { kind: ExprKind::Scalar(name.clone()), span: span.clone() };
                Template::Scalar(self.expr(&expr)?)
            }
            TermKind::Value(expr) if matches!(expr.kind, ExprKind::List(_)) => {
                Template::Ints(self.expr(expr)?)
            }
            TermKind::Value(expr) => Template::Scalar(self.expr(expr)?),
            TermKind::Name(name) => {
                if let Ok(slot) = self.bound_class(&let_name(name), span) {
                    return Ok(Template::Class(slot));
                }
                let Some((_, body)) = self.ast.lets.iter().find(|(n, _)| n == name) else {
                    return Err(self.unbound(span, name));
                };
                let body = body.clone();
                self.template(&body)?
            }
            TermKind::Call(call) => Template::Call(Box::new(self.template_call(call, span)?)),
            TermKind::Const(inner) => Template::Const(Box::new(self.template(inner)?)),
            TermKind::Proj(inner, index) => {
                Template::Proj(Box::new(self.template(inner)?), self.expr(index)?)
            }
            TermKind::Make(name, args) => self.make(name, args, span)?,
            _ => {
                let reason = "this belongs on the left side: the right side has no alternatives";
                return Err(self.error(span.clone(), reason));
            }
        })
    }

    fn make(&mut self, name: &str, args: &[Ast], span: &Span) -> Result<Template> {
        let make = match name {
            "zeros" => Make::Zeros,
            "ones" => Make::Ones,
            "ints" => Make::Ints,
            "int" => Make::Int,
            "float" => Make::Float,
            _ => {
                let help =
                    "constants are made by zeros(shape), ones(shape), ints(list), int(value), float(value)";
                return Err(self.error(span.clone(), format!("unknown constant `{name}`")).help(help));
            }
        };
        if args.len() != 1 {
            return Err(self.error(span.clone(), format!("`{name}` takes one operand, found {}", args.len())));
        }
        Ok(Template::Make(make, self.exprs(args)?))
    }

    fn template_call(&mut self, call: &Call, span: &Span) -> Result<TemplateCall> {
        let (op, code) = self.op(call)?;
        self.check_arity(call, code, span)?;
        if call.either_order {
            return Err(self.error(span.clone(), "`~` belongs on the left side"));
        }
        let (mut records, mut fields) = (Vec::new(), Vec::new());
        for item in &call.attrs {
            match item {
                AttrItem::Record(name, span) => records.push(self.bound_record(name, span)?),
                AttrItem::Field(name, value) => {
                    self.check_attr(&op, name, &value.span)?;
                    fields.push((name.clone(), self.expr(value)?));
                }
            }
        }
        let args = call.args.iter().map(|a| self.template(a)).collect::<Result<_>>()?;
        Ok(TemplateCall { code, op, records, fields, args })
    }
}
