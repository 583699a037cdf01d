//! Compiled expressions and their evaluation on a match.

use crate::egraph::analysis::Egg;
use crate::functions::Function;
use crate::value::{Operand, Value, equal, ordered};
use fusebox_ir::Dim;
use std::hash::{Hash, Hasher};

/// An expression with its names resolved to slots of a match.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    /// A literal.
    Value(Value),
    /// A scalar.
    Scalar(usize),
    /// A class.
    Class(usize),
    /// All classes of a group variable.
    All(usize),
    /// An attribute of a record.
    Attr(usize, String),
    /// A function of the table.
    Call(&'static Function, Vec<Expr>),
    /// Element or elements of a list.
    Index(Box<Expr>, Box<Expr>),
    /// A list.
    List(Vec<Expr>),
    /// `-a`, `!a`.
    Unary(&'static str, Box<Expr>),
    /// `a + b`.
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// A chain of comparisons.
    Compare(Vec<Expr>, Vec<&'static str>),
}

/// Values of the variables of a rule at one site.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subst {
    /// Classes: `?x`, lets, `as` names.
    pub classes: Vec<Option<Operand>>,
    /// Scalars.
    pub scalars: Vec<Option<Value>>,
    /// Attribute records by number.
    pub records: Vec<Option<u32>>,
}

impl Subst {
    /// Feeds everything that the substitution says to a hasher.
    pub(crate) fn hash(&self, hasher: &mut impl Hasher) {
        self.classes.hash(hasher);
        self.records.hash(hasher);
        for scalar in self.scalars.iter().flatten() {
            hash_value(scalar, hasher);
        }
    }
}

fn hash_value(value: &Value, hasher: &mut impl Hasher) {
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::Int(dim) => dim.hash(hasher),
        Value::Float(value) => value.to_bits().hash(hasher),
        Value::Str(text) => text.hash(hasher),
        Value::Bool(value) => value.hash(hasher),
        Value::List(items) => items.iter().for_each(|i| hash_value(i, hasher)),
        Value::Operand(operand) => operand.hash(hasher),
        Value::None => {}
    }
}

/// What expressions see: the e-graph, a match, and the matches of the whole group.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The e-graph.
    pub egraph: &'a Egg,
    /// The match; the first of a group.
    pub subst: &'a Subst,
    /// All matches of a group.
    pub group: &'a [Subst],
}

impl Expr {
    /// Evaluates; `None` is "not known".
    pub(crate) fn eval(&self, scope: Scope<'_>) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Scalar(slot) => scope.subst.scalars[*slot].clone(),
            Self::Class(slot) => scope.subst.classes[*slot].map(Value::Operand),
            Self::All(slot) => {
                let each = scope.group.iter().map(|s| s.classes[*slot].map(Value::Operand));
                each.collect::<Option<_>>().map(Value::List)
            }
            Self::Attr(slot, name) => {
                let record = scope.egraph.analysis.tables.attrs(scope.subst.records[*slot]?);
                record.get(name).map_or(Some(Value::None), Value::from_attr)
            }
            Self::Call(function, args) => {
                let args: Option<Vec<Value>> = args.iter().map(|a| a.eval(scope)).collect();
                (function.call)(scope.egraph, &args?)
            }
            Self::Index(list, index) => index_of(&list.eval(scope)?, &index.eval(scope)?),
            Self::List(items) => items.iter().map(|i| i.eval(scope)).collect::<Option<_>>().map(Value::List),
            Self::Unary(op, inner) => unary(op, &inner.eval(scope)?),
            Self::Binary("&&", a, b) => match (truth(a, scope), truth(b, scope)) {
                (Some(false), _) | (_, Some(false)) => Some(Value::Bool(false)),
                (Some(true), Some(true)) => Some(Value::Bool(true)),
                _ => None,
            },
            Self::Binary("||", a, b) => match (truth(a, scope), truth(b, scope)) {
                (Some(true), _) | (_, Some(true)) => Some(Value::Bool(true)),
                (Some(false), Some(false)) => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Binary(op, a, b) => binary(op, a.eval(scope)?, b.eval(scope)?),
            Self::Compare(sides, ops) => compare(sides, ops, scope).map(Value::Bool),
        }
    }

    /// Whether it is known to be true.
    pub(crate) fn proved(&self, scope: Scope<'_>) -> bool {
        truth(self, scope) == Some(true)
    }
}

fn truth(expr: &Expr, scope: Scope<'_>) -> Option<bool> {
    expr.eval(scope)?.as_bool()
}

fn compare(sides: &[Expr], ops: &[&'static str], scope: Scope<'_>) -> Option<bool> {
    let values: Vec<Option<Value>> = sides.iter().map(|s| s.eval(scope)).collect();
    let mut all = Some(true);
    for (index, op) in ops.iter().enumerate() {
        let step = match (&values[index], &values[index + 1]) {
            (Some(a), Some(b)) => match *op {
                "==" => equal(a, b),
                "!=" => equal(a, b).map(|e| !e),
                op => ordered(op, a, b),
            },
            _ => None,
        };
        all = match (all, step) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
    }
    all
}

fn index_of(list: &Value, index: &Value) -> Option<Value> {
    let items = list.as_list()?;
    let at = |i: i64| {
        let position = if i < 0 { i + items.len() as i64 } else { i };
        items.get(usize::try_from(position).ok()?).cloned()
    };
    match index {
        Value::List(indices) => {
            indices.iter().map(|i| at(i.as_int()?)).collect::<Option<_>>().map(Value::List)
        }
        single => at(single.as_int()?),
    }
}

fn unary(op: &str, value: &Value) -> Option<Value> {
    match (op, value) {
        ("-", Value::Int(dim)) => Some(Value::Int(Dim::known(0).sub(dim))),
        ("-", Value::Float(x)) => Some(Value::Float(-x)),
        ("!", Value::Bool(b)) => Some(Value::Bool(!b)),
        _ => None,
    }
}

fn binary(op: &str, a: Value, b: Value) -> Option<Value> {
    if op == "++" {
        let (Value::List(mut a), Value::List(b)) = (a, b) else { return None };
        a.extend(b);
        return Some(Value::List(a));
    }
    if let (Value::Int(x), Value::Int(y)) = (&a, &b)
        && !(op == "/" && x.exact_div(y).is_none() && x.value().is_some() && y.value().is_some())
    {
        let (a, b) = (x, y);
        return Some(Value::Int(match op {
            "+" => a.add(b),
            "-" => a.sub(b),
            "*" => a.mul(b),
            "/" => a.exact_div(b)?,
            "%" if b.value() != Some(0) => a.modulo(b),
            _ => return None,
        }));
    }
    let (a, b) = (a.as_float()?, b.as_float()?);
    Some(Value::Float(match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        _ => return None,
    }))
}
