//! Rules as the engine runs them: names are slots, operators are codes.
//!
//! Built by `lang::compile`; refuses to know syntax.

use crate::egraph::node::Code;
use crate::expr::Expr;
use crate::lang::ast::{Contract, Example, Kind, Phase};
use crate::lang::diag::Source;
use crate::value::Value;
use fusebox_ir::OpName;

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Name, unique in its set.
    pub name: String,
    /// File that it comes from, as messages show it.
    pub file: String,
    /// One-based line of its head.
    pub line: usize,
    /// What the two sides promise each other.
    pub contract: Contract,
    /// When it runs.
    pub phase: Phase,
    /// What kind of rewriting it does.
    pub kind: Kind,
    /// The reason for which it exists.
    pub why: String,
    /// Its text.
    pub text: String,
    /// Patterns that its left sides stand for.
    pub alternatives: usize,
    /// Most sites of a group.
    pub max_group: usize,
    /// One per item of its `for` and direction.
    pub(crate) variants: Vec<Variant>,
    pub(crate) source: Source,
}

impl Rule {
    /// `file:line`.
    pub fn at(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// One left side with its right side.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// Position among the rule's variants.
    pub(crate) number: usize,
    pub(crate) lhs: Pat,
    pub(crate) lets: Vec<Let>,
    pub(crate) roots: Vec<Code>,
    pub(crate) rhs: Template,
    /// Further classes that equal something: a slot, and what it equals.
    pub(crate) also: Vec<(usize, Template)>,
    /// What stands for a class variable whose operand is absent.
    pub(crate) defaults: Vec<Option<Template>>,
    pub(crate) wheres: Vec<(Vec<usize>, Expr)>,
    pub(crate) guards: Vec<Expr>,
    pub(crate) classes: Vec<String>,
    pub(crate) scalars: Vec<String>,
    pub(crate) records: Vec<String>,
    /// Class slots written with `[i]`: one per site of a group.
    pub(crate) each: Vec<bool>,
    pub(crate) examples: Vec<Example>,
}

/// A shared part of a left side.
#[derive(Clone, Debug)]
pub(crate) struct Let {
    pub(crate) slot: usize,
    pub(crate) pat: Pat,
}

/// A pattern.
#[derive(Clone, Debug)]
pub(crate) enum Pat {
    Any,
    Absent,
    /// A class variable; may it be absent?
    Class(usize, bool),
    /// A let by its position.
    Let(usize),
    /// A constant of one element.
    Scalar(usize),
    /// A constant vector of integers.
    Vector(usize),
    /// A given number, or given integers.
    Value(Value),
    Call(Box<PatCall>),
    Either(Vec<Pat>),
    /// A call, or only the operand at a position, with values for what the call would have bound.
    Opt(Box<PatCall>, usize, Vec<Preset>),
    /// An output of a node with several.
    Proj(Box<Pat>, PatIndex),
}

/// Which output a projection takes.
#[derive(Clone, Debug)]
pub(crate) enum PatIndex {
    Is(u32),
    Bind(usize),
}

/// A value for a variable that an absent operator leaves unbound.
#[derive(Clone, Debug)]
pub(crate) enum Preset {
    Scalar(usize, Value),
    Absent(usize),
}

/// An operator in a pattern.
#[derive(Clone, Debug)]
pub(crate) struct PatCall {
    pub(crate) code: Code,
    pub(crate) op: OpName,
    pub(crate) either_order: bool,
    pub(crate) attrs: Vec<PatAttr>,
    pub(crate) args: Vec<Pat>,
    pub(crate) bind: Option<usize>,
}

/// An attribute in a pattern.
#[derive(Clone, Debug)]
pub(crate) enum PatAttr {
    Record(usize),
    Bind(String, usize),
    Equal(String, Value),
}

/// What the right side builds.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Class(usize),
    /// All classes of a group variable, as consecutive operands.
    All(usize),
    Absent,
    /// A scalar constant in the element type of its neighbours.
    Scalar(Expr),
    /// An integer vector.
    Ints(Expr),
    /// A constant made by a function.
    Make(Make, Vec<Expr>),
    Call(Box<TemplateCall>),
    /// A part that must be constant.
    Const(Box<Template>),
    Proj(Box<Template>, Expr),
}

/// Functions that make constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// `zeros(shape)` in the element type of the left side.
    Zeros,
    /// `ones(shape)`.
    Ones,
    /// `ints(list)`: an i64 vector.
    Ints,
    /// `int(value)`: an i64 scalar.
    Int,
    /// `float(value)`: a float scalar in the element type of the left side.
    Float,
}

/// An operator in a template.
#[derive(Clone, Debug)]
pub(crate) struct TemplateCall {
    pub(crate) code: Code,
    pub(crate) op: OpName,
    pub(crate) records: Vec<usize>,
    pub(crate) fields: Vec<(String, Expr)>,
    pub(crate) args: Vec<Template>,
}
