//! Reads expressions: guards, computed attributes, scalar constants. Precedence from weak to strong: `||`, `&&`,
//! comparisons (chained as in `a == b == c`), `++`, `+ -`, `* / %`, `- !`, indexing.

use super::ast::{Expr, ExprKind};
use super::diag::{Result, RuleError};
use super::lex::Tok;
use super::parse::{Bound, NUMBERS, Parser};

/// Binary operators by level, weakest first; comparisons are between the second and the third.
const LEVELS: &[&[&str]] = &[&["||"], &["&&"], &["++"], &["+", "-"], &["*", "/", "%"]];
const COMPARISONS: &[&str] = &["==", "!=", "<", "<=", ">", ">="];

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.deeper(|p| p.level(0))
    }

    fn level(&mut self, level: usize) -> Result<Expr> {
        if level == LEVELS.len() {
            return self.unary();
        }
        if level == 2 {
            return self.comparison();
        }
        self.binary(level)
    }

    fn binary(&mut self, level: usize) -> Result<Expr> {
        let start = self.span().start;
        let mut left = self.level(level + 1)?;
        while let Some(op) = LEVELS[level].iter().find(|op| self.is_sign(op)) {
            self.deepen()?;
            self.next();
            let right = self.level(level + 1)?;
            let kind = ExprKind::Binary(op, Box::new(left), Box::new(right));
            left = Expr { kind, span: self.since(start) };
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expr> {
        let start = self.span().start;
        let mut sides = vec![self.binary(2)?];
        let mut ops = Vec::new();
        while let Some(op) = COMPARISONS.iter().find(|op| self.is_sign(op)) {
            self.next();
            ops.push(*op);
            sides.push(self.binary(2)?);
        }
        if ops.is_empty() {
            return Ok(sides.remove(0));
        }
        Ok(Expr { kind: ExprKind::Compare(sides, ops), span: self.since(start) })
    }

    fn unary(&mut self) -> Result<Expr> {
        let start = self.span().start;
        for op in ["-", "!"] {
            if self.sign(op) {
                let inner = self.deeper(Self::unary)?;
                let kind = match (op, &inner.kind) {
                    ("-", ExprKind::Number(value, whole)) => ExprKind::Number(-value, *whole),
                    _ => ExprKind::Unary(if op == "-" { "-" } else { "!" }, Box::new(inner)),
                };
                return Ok(Expr { kind, span: self.since(start) });
            }
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Result<Expr> {
        let start = self.span().start;
        let mut value = self.primary()?;
        while self.is_sign("[") {
            self.deepen()?;
            self.next();
            if self.sign("*") {
                self.expect("]")?;
                let ExprKind::Var(name) = value.kind else {
                    return Err(RuleError::new(
                        self.source,
                        value.span,
                        "only a variable of a group takes `[*]`",
                    ));
                };
                value = Expr { kind: ExprKind::All(name), span: self.since(start) };
                continue;
            }
            let index = self.expr()?;
            self.expect("]")?;
            value = Expr { kind: ExprKind::Index(Box::new(value), Box::new(index)), span: self.since(start) };
        }
        Ok(value)
    }

    pub(super) fn primary(&mut self) -> Result<Expr> {
        let start = self.span().start;
        let kind = match self.peek().clone() {
            Tok::Number(value, whole) => {
                self.next();
                ExprKind::Number(value, whole)
            }
            Tok::Str(text) => {
                self.next();
                ExprKind::Str(text)
            }
            Tok::Var(name) => {
                self.next();
                ExprKind::Var(name)
            }
            Tok::Scalar(name) => {
                self.next();
                match self.bound(&name) {
                    Some(Bound::Value(value)) => value.kind.clone(),
                    Some(Bound::Op(..)) => {
                        let reason = format!("`${name}` is an operator, not a value");
                        return Err(RuleError::new(self.source, self.since(start), reason));
                    }
                    None => ExprKind::Scalar(name),
                }
            }
            Tok::Ident(name) => self.word_expr(name)?,
            Tok::Sign("(") => {
                self.next();
                let inner = self.expr()?;
                self.expect(")")?;
                inner.kind
            }
            Tok::Sign("[") => {
                self.next();
                ExprKind::List(self.list()?)
            }
            _ => return Err(self.wrong("expected a value")),
        };
        Ok(Expr { kind, span: self.since(start) })
    }

    fn list(&mut self) -> Result<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.sign("]") {
            items.push(self.expr()?);
            if !self.is_sign("]") {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    fn word_expr(&mut self, name: String) -> Result<ExprKind> {
        self.next();
        if let Some((_, value)) = NUMBERS.iter().find(|(n, _)| *n == name) {
            return Ok(ExprKind::Number(*value, false));
        }
        Ok(match &*name {
            "true" => ExprKind::Bool(true),
            "false" => ExprKind::Bool(false),
            "none" => ExprKind::None,
            _ if self.sign("(") => ExprKind::Call(name, self.args()?),
            _ => ExprKind::Name(name),
        })
    }
}
