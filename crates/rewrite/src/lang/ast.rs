//! What a rule file says, before any name is resolved.
//!
//! One term type serves patterns and templates: the compiler decides which constructs are allowed on which side.

use super::diag::{Source, Span};

/// What the two sides of a rule promise each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contract {
    /// Same bits for every input.
    Exact,
    /// Equal over the reals; rounding may differ.
    Real,
    /// Equal within a stated bound.
    Approx,
    /// Within an error model.
    Lossy,
}

impl Contract {
    /// All names.
    pub const NAMES: &'static [&'static str] = &["exact", "real", "approx", "lossy"];

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Exact, Self::Real, Self::Approx, Self::Lossy].into_iter().find(|c| c.name() == name)
    }

    /// Name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// When a rule runs. Phases run in this order; each also runs the rules of `canon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Cleanup without a choice.
    Canon,
    /// Writes operators in simpler ones, so that those are recognised together with what is around.
    Decompose,
    /// Finds operators that were spelt out in primitives.
    Recognize,
    /// Alternatives that may or may not pay.
    Explore,
    /// Operators of the target.
    Lower,
}

impl Phase {
    /// All names.
    pub const NAMES: &'static [&'static str] = &["canon", "decompose", "recognize", "explore", "lower"];
    /// All phases in order.
    pub const ALL: [Self; 5] = [Self::Canon, Self::Decompose, Self::Recognize, Self::Explore, Self::Lower];

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What kind of rewriting a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An equality: both sides are put into one class.
    Rule,
    /// Sites that share operands, merged at once.
    Group,
    /// A cheaper implementation with an error: never an equality, a candidate for extraction.
    Impl,
}

/// An expression over scalars, sizes, attributes and types.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it is.
    pub span: Span,
}

/// Kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number; the flag says that it is an integer.
    Number(f64, bool),
    /// A string.
    Str(String),
    /// `true`, `false`.
    Bool(bool),
    /// `none`.
    None,
    /// `$c`.
    Scalar(String),
    /// `?x`.
    Var(String),
    /// A let, an element type, a named number, or `record.attribute`.
    Name(String),
    /// `?w[*]`.
    All(String),
    /// A function of the guard table.
    Call(String, Vec<Expr>),
    /// `a[i]`; with a list as index, the elements at these positions.
    Index(Box<Expr>, Box<Expr>),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `-a`, `!a`.
    Unary(&'static str, Box<Expr>),
    /// `a + b`.
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `a == b < c`.
    Compare(Vec<Expr>, Vec<&'static str>),
}

/// An entry of an attribute list.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrItem {
    /// `@a`: binds or copies the whole record.
    Record(String, Span),
    /// `name=value`.
    Field(String, Expr),
}

/// A pattern or a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// What it is.
    pub kind: TermKind,
    /// Where it is.
    pub span: Span,
}

/// Kinds of terms.
#[derive(Clone, Debug, PartialEq)]
pub enum TermKind {
    /// `?x`, `?x[i]`, `?x=default`.
    Var {
        /// Name.
        name: String,
        /// Written with `[i]` or `[*]`: one per site of a group.
        each: bool,
        /// What stands for it where the operand is absent.
        default: Option<Box<Term>>,
    },
    /// `_`.
    Wild,
    /// `none`.
    None,
    /// `$c` or `$c=default`: a constant of one element.
    Scalar(String, Option<Expr>),
    /// `$axes[]`: a constant vector of integers.
    Vector(String),
    /// A constant given by an expression: a number or a list of integers.
    Value(Expr),
    /// The name of a let.
    Name(String),
    /// `Op~[attributes](operands)`, with `as ?y`.
    Call(Box<Call>),
    /// `{A | B}`.
    Either(Vec<Term>),
    /// `opt P(x, $s=1)`.
    Opt(Box<Term>),
    /// `const!(t)`.
    Const(Box<Term>),
    /// `t#0`.
    Proj(Box<Term>, Expr),
    /// A constant made by a function: `zeros(shape)`.
    Make(String, Vec<Expr>),
}

/// An operator applied to operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Operator with its domain, or `$op` of a `for`.
    pub op: String,
    /// Place of the operator's name.
    pub op_span: Span,
    /// Whether the operands may come in either order.
    pub either_order: bool,
    /// Attributes.
    pub attrs: Vec<AttrItem>,
    /// Operands.
    pub args: Vec<Term>,
    /// Name given to the result with `as ?y`.
    pub name: Option<String>,
}

/// A variable of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleVar {
    /// `?x`, `$c` or `@a` with its sign.
    pub name: String,
    /// What it is.
    pub value: ExampleValue,
    /// Place.
    pub span: Span,
}

/// What an example gives for a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum ExampleValue {
    /// A tensor type, whether it is a constant, and for each size its expression. Several for a group.
    Tensors(Vec<ExampleTensor>),
    /// A scalar, list or string.
    Value(Expr),
    /// A record.
    Record(Vec<(String, Expr)>),
    /// Absent.
    None,
}

/// A tensor of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleTensor {
    /// Element type by name.
    pub dtype: String,
    /// Sizes: numbers or symbols.
    pub dims: Vec<Expr>,
    /// Whether it is an initializer.
    pub constant: bool,
    /// Whether all its elements are positive.
    pub positive: bool,
    /// A constant of given elements: `ones`, `zeros`, `causal` (0 on and below the diagonal, -inf above).
    pub fill: Option<String>,
}

/// An example: values for the variables of the left side.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The variables.
    pub vars: Vec<ExampleVar>,
    /// Place.
    pub span: Span,
}

/// A rule as written; `for` is already expanded.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleAst {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Place of the name.
    pub name_span: Span,
    /// Contract.
    pub contract: Contract,
    /// Phase.
    pub phase: Phase,
    /// Most sites of a group.
    pub max_group: usize,
    /// Reason for which it exists.
    pub why: String,
    /// Examples.
    pub examples: Vec<Example>,
    /// `let`s in order.
    pub lets: Vec<(String, Term)>,
    /// Left side.
    pub lhs: Term,
    /// Right side.
    pub rhs: Term,
    /// Further equalities of the same match: a let, and what it equals.
    pub also: Vec<(String, Span, Term)>,
    /// Whether it also runs from right to left.
    pub both_ways: bool,
    /// `where $x = e` in order; several names take a list apart.
    pub wheres: Vec<(Vec<String>, Expr)>,
    /// Guards; all must hold.
    pub when: Vec<Expr>,
    /// Which instance of a `for` this is, and of how many.
    pub instance: (usize, usize),
    /// The whole rule.
    pub span: Span,
    /// File.
    pub source: Source,
}
