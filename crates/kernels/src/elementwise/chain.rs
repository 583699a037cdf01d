//! A chain: a small straight-line program over virtual values, typed as it is built.
//!
//! Owns the operations and their types; knows neither shapes nor memory.

use crate::math::{Activation, Levels};
use crate::operand::SpecError;

/// What a value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A float, computed in f32.
    Float,
    /// An integer, computed in wrapping i64.
    Int,
    /// True or false.
    Truth,
}

/// A value of a chain: an input or the result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(super) usize);

/// A function of one float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `−x`; integers too.
    Neg,
    /// `|x|`; integers too.
    Abs,
    /// −1, 0 or 1; integers too.
    Sign,
    /// Square root.
    Sqrt,
    /// `1/√x`.
    Rsqrt,
    /// `1/x`.
    Reciprocal,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Nearest integer, ties to even.
    Round,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x·tanh(softplus(x))`.
    Mish,
    /// `x` above zero, `alpha·(e^x − 1)` below.
    Elu {
        /// Limit far below zero, negated.
        alpha: f32,
    },
    /// `clamp(round(x/scale) + zero)`, a whole number; NaN gives 0.
    Level(Levels),
    /// One of the functions that GEMM epilogues share.
    Activation(Activation),
}

/// A function of two numbers of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Sub,
    /// `a·b`.
    Mul,
    /// `a/b`; integers truncate, and give 0 for a zero divisor.
    Div,
    /// `a^b`, floats only.
    Pow,
    /// The smaller; NaN if either is.
    Min,
    /// The larger; NaN if either is.
    Max,
}

/// A comparison of two numbers of the same kind; false where either is NaN, except `NotEqual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `a = b`.
    Equal,
    /// `a ≠ b`.
    NotEqual,
    /// `a < b`.
    Less,
    /// `a ≤ b`.
    LessOrEqual,
    /// `a > b`.
    Greater,
    /// `a ≥ b`.
    GreaterOrEqual,
}

/// A function of two truths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logic {
    /// Both.
    And,
    /// Either.
    Or,
    /// One but not the other.
    Xor,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// The same float everywhere.
    Float(f32),
    /// The same integer everywhere.
    Int(i64),
    /// A function of one number.
    Unary(Unary, Value),
    /// A function of two numbers.
    Binary(Binary, Value, Value),
    /// A comparison.
    Compare(Compare, Value, Value),
    /// A function of two truths.
    Logic(Logic, Value, Value),
    /// The opposite truth.
    Not(Value),
    /// `on_true` where the condition holds, else `on_false`: condition, on_true, on_false.
    Where(Value, Value, Value),
    /// Converts, as ONNX Cast does.
    Convert(Kind, Value),
}

/// Operations over typed inputs, in an order in which every operand comes first.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    pub(super) inputs: usize,
    pub(super) kinds: Vec<Kind>,
    pub(super) ops: Vec<Op>,
}

impl Chain {
    /// A chain without operations; its first values are the inputs.
    pub fn new(inputs: &[Kind]) -> Self {
        Self { inputs: inputs.len(), kinds: inputs.to_vec(), ops: Vec::new() }
    }

    /// The value of an input.
    ///
    /// # Errors
    /// No such input.
    pub fn input(&self, index: usize) -> Result<Value, SpecError> {
        let missing = || SpecError::new(format!("chain input {index} of {}", self.inputs));
        (index < self.inputs).then_some(Value(index)).ok_or_else(missing)
    }

    /// Appends an operation and returns its result.
    ///
    /// # Errors
    /// Operands that do not exist or are of the wrong kind.
    pub fn push(&mut self, op: Op) -> Result<Value, SpecError> {
        let kind = self.result_kind(op)?;
        self.kinds.push(kind);
        self.ops.push(op);
        Ok(Value(self.kinds.len() - 1))
    }

    /// The operation that gives a value; none for an input.
    pub fn op(&self, value: Value) -> Option<Op> {
        value.0.checked_sub(self.inputs).and_then(|index| self.ops.get(index)).copied()
    }

    /// What a value holds.
    ///
    /// # Errors
    /// A value of another chain.
    pub fn kind(&self, value: Value) -> Result<Kind, SpecError> {
        let unknown = || SpecError::new(format!("chain value {} of {}", value.0, self.kinds.len()));
        self.kinds.get(value.0).copied().ok_or_else(unknown)
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether the chain has no operation.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    fn result_kind(&self, op: Op) -> Result<Kind, SpecError> {
        let wrong = |kinds: &[Kind]| SpecError::new(format!("chain operation {op:?} on {kinds:?}"));
        match op {
            Op::Float(_) => Ok(Kind::Float),
            Op::Int(_) => Ok(Kind::Int),
            Op::Unary(function, a) => match (function, self.kind(a)?) {
                (_, Kind::Float) => Ok(Kind::Float),
                (Unary::Neg | Unary::Abs | Unary::Sign, Kind::Int) => Ok(Kind::Int),
                (_, kind) => Err(wrong(&[kind])),
            },
            Op::Binary(function, a, b) => match (function, self.kind(a)?, self.kind(b)?) {
                (_, Kind::Float, Kind::Float) => Ok(Kind::Float),
                (Binary::Pow, a, b) => Err(wrong(&[a, b])),
                (_, Kind::Int, Kind::Int) => Ok(Kind::Int),
                (_, a, b) => Err(wrong(&[a, b])),
            },
            Op::Compare(_, a, b) => match (self.kind(a)?, self.kind(b)?) {
                (a, b) if a == b => Ok(Kind::Truth),
                (a, b) => Err(wrong(&[a, b])),
            },
            Op::Logic(_, a, b) => match (self.kind(a)?, self.kind(b)?) {
                (Kind::Truth, Kind::Truth) => Ok(Kind::Truth),
                (a, b) => Err(wrong(&[a, b])),
            },
            Op::Not(a) => match self.kind(a)? {
                Kind::Truth => Ok(Kind::Truth),
                kind => Err(wrong(&[kind])),
            },
            Op::Where(c, a, b) => match (self.kind(c)?, self.kind(a)?, self.kind(b)?) {
                (Kind::Truth, a, b) if a == b => Ok(a),
                (c, a, b) => Err(wrong(&[c, a, b])),
            },
            Op::Convert(kind, a) => self.kind(a).map(|_| kind),
        }
    }
}

impl Op {
    /// The operands, in order.
    pub(super) fn operands(self) -> impl Iterator<Item = Value> {
        let list = match self {
            Self::Float(_) | Self::Int(_) => [None, None, None],
            Self::Unary(_, a) | Self::Not(a) | Self::Convert(_, a) => [Some(a), None, None],
            Self::Binary(_, a, b) | Self::Compare(_, a, b) | Self::Logic(_, a, b) => [Some(a), Some(b), None],
            Self::Where(c, a, b) => [Some(c), Some(a), Some(b)],
        };
        list.into_iter().flatten()
    }
}
