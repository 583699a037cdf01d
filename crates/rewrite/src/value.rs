//! Values that expressions in rules compute with, and their three-valued comparison.
//!
//! `None` where a Rust function returns `Option<Value>` means "not known"; a guard holds only when it is known to.

use egg::Id;
use fusebox_ir::{Attr, Dim};

/// What a class variable stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operand {
    /// A class.
    Class(Id),
    /// An optional operand that is absent.
    Absent,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer or a size, known or symbolic.
    Int(Dim),
    /// A float.
    Float(f64),
    /// A string or the name of an element type.
    Str(String),
    /// A truth value.
    Bool(bool),
    /// A list.
    List(Vec<Value>),
    /// An operand.
    Operand(Operand),
    /// `none`.
    None,
}

/// Relative difference below which two floats count as equal: exporters write constants in f32.
const CLOSE: f64 = 1e-5;

/// Whether two floats are the same constant written by two exporters.
pub(crate) fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_finite() && b.is_finite() && (a - b).abs() <= CLOSE * a.abs().max(b.abs()))
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Dim::known(value))
    }
}

impl Value {
    /// A list of integers.
    pub fn ints(values: impl IntoIterator<Item = i64>) -> Self {
        Self::List(values.into_iter().map(Self::from).collect())
    }

    /// A list of sizes.
    pub fn dims(values: impl IntoIterator<Item = Dim>) -> Self {
        Self::List(values.into_iter().map(Self::Int).collect())
    }

    /// A known integer.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(dim) = self { dim.value() } else { None }
    }

    /// A known integer or a float, as a float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(dim) => dim.value().map(|v| v as f64),
            _ => None,
        }
    }

    /// A size.
    pub fn as_dim(&self) -> Option<&Dim> {
        if let Self::Int(dim) = self { Some(dim) } else { None }
    }

    /// A list.
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// A list of sizes.
    pub fn as_dims(&self) -> Option<Vec<Dim>> {
        self.as_list()?.iter().map(|v| v.as_dim().cloned()).collect()
    }

    /// A list of known integers.
    pub fn as_ints(&self) -> Option<Vec<i64>> {
        self.as_list()?.iter().map(Self::as_int).collect()
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The value of an attribute, when it is of a kind that rules compute with.
    pub fn from_attr(attr: &Attr) -> Option<Self> {
        Some(match attr {
            Attr::Int(value) => Self::from(*value),
            Attr::Float(value) => Self::Float(f64::from(*value)),
            Attr::Ints(values) => Self::ints(values.iter().copied()),
            Attr::Floats(values) => Self::List(values.iter().map(|v| Self::Float(f64::from(*v))).collect()),
            Attr::String(bytes) => Self::Str(String::from_utf8(bytes.clone()).ok()?),
            _ => return None,
        })
    }
}

/// Whether two values are equal, when that is known.
pub(crate) fn equal(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) if a == b => Some(true),
        (Value::Int(a), Value::Int(b)) => a.sub(b).value().map(|d| d == 0),
        (Value::List(a), Value::List(b)) if a.len() != b.len() => Some(false),
        (Value::List(a), Value::List(b)) => a
            .iter()
            .zip(b)
            .map(|(a, b)| equal(a, b))
            .try_fold(true, |all, e| if all { e } else { Some(false) }),
        (Value::Str(a), Value::Str(b)) => Some(a == b),
        (Value::Bool(a), Value::Bool(b)) => Some(a == b),
        (Value::Operand(a), Value::Operand(b)) => Some(a == b),
        (Value::Operand(a), Value::None) | (Value::None, Value::Operand(a)) => Some(*a == Operand::Absent),
        (Value::None, Value::None) => Some(true),
        (Value::None, _) | (_, Value::None) => Some(false),
        _ => Some(close(a.as_float()?, b.as_float()?)),
    }
}

/// `a op b` for an order comparison, when it is known.
pub(crate) fn ordered(op: &str, a: &Value, b: &Value) -> Option<bool> {
    let difference = match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.sub(b).value().map(|d| d as f64),
        _ => None,
    };
    let difference = match difference {
        Some(difference) => difference,
        None => {
            let (a, b) = (a.as_float()?, b.as_float()?);
            if a == b { 0.0 } else { a - b }
        }
    };
    match op {
        "<" => Some(difference < 0.0),
        "<=" => Some(difference <= 0.0),
        ">" => Some(difference > 0.0),
        ">=" => Some(difference >= 0.0),
        _ => None,
    }
}
