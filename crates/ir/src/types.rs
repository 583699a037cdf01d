//! Types of values: tensors with symbolic shapes, sequences, optionals, and what we do not know.

use crate::{DType, Dim};
use smallvec::SmallVec;
use std::fmt;

/// Dims of a tensor of known rank.
pub type Shape = SmallVec<[Dim; 4]>;

/// Element type and shape. `shape` is `None` when even the rank is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dims, when the rank is known.
    pub shape: Option<Shape>,
}

impl TensorType {
    /// A type with a shape.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> Self {
        Self { dtype, shape: Some(shape.into_iter().collect()) }
    }

    /// A type with known sizes.
    pub fn known(dtype: DType, sizes: &[usize]) -> Self {
        let dim = |size: &usize| Dim::known(i64::try_from(*size).unwrap_or(i64::MAX));
        Self::new(dtype, sizes.iter().map(dim))
    }

    /// A type of unknown rank.
    pub fn unranked(dtype: DType) -> Self {
        Self { dtype, shape: None }
    }

    /// Rank, when known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(SmallVec::len)
    }

    /// All sizes, when every one is known and not negative.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(|d| usize::try_from(d.value()?).ok()).collect()
    }

    /// Number of elements as an expression, when the rank is known.
    pub fn elements(&self) -> Option<Dim> {
        Some(self.shape.as_ref()?.iter().fold(Dim::known(1), |product, dim| product.mul(dim)))
    }

    /// As [`TensorType::substitute`], but for dims that are a bare symbol; expressions stay as they are. What a file says
    /// of values inside a graph need not be right where it calculates: exporters lose parentheses.
    #[must_use]
    pub fn substitute_symbols(&self, binding: &dyn Fn(&str) -> Option<Dim>) -> Self {
        let one = |dim: &Dim| match dim.as_symbol() {
            Some(name) => binding(name).unwrap_or_else(|| dim.clone()),
            None => dim.clone(),
        };
        Self { dtype: self.dtype, shape: self.shape.as_ref().map(|shape| shape.iter().map(one).collect()) }
    }

    /// Replaces symbols.
    #[must_use]
    pub fn substitute(&self, binding: &dyn Fn(&str) -> Option<Dim>) -> Self {
        let shape = self.shape.as_ref().map(|shape| shape.iter().map(|d| d.substitute(binding)).collect());
        Self { dtype: self.dtype, shape }
    }
}

impl fmt::Display for TensorType {
    /// `f32[batch, 12, 64]`, `f32[]` for a scalar, `f32[..]` for an unknown rank.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shape) = &self.shape else { return write!(f, "{}[..]", self.dtype) };
        write!(f, "{}[", self.dtype)?;
        for (index, dim) in shape.iter().enumerate() {
            write!(f, "{}{dim}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// Type of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A tensor.
    Tensor(TensorType),
    /// A sequence of values of one type.
    Sequence(Box<Type>),
    /// A value that may be absent.
    Optional(Box<Type>),
    /// A type of the file that we carry without reading (map, sparse tensor, opaque): its wire bytes.
    Foreign(Vec<u8>),
}

impl Type {
    /// The tensor type, when it is one.
    pub fn tensor(&self) -> Option<&TensorType> {
        if let Self::Tensor(tensor) = self { Some(tensor) } else { None }
    }
}

impl From<TensorType> for Type {
    fn from(tensor: TensorType) -> Self {
        Self::Tensor(tensor)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("?"),
            Self::Tensor(tensor) => write!(f, "{tensor}"),
            Self::Sequence(inner) => write!(f, "seq({inner})"),
            Self::Optional(inner) => write!(f, "optional({inner})"),
            Self::Foreign(_) => f.write_str("foreign"),
        }
    }
}
