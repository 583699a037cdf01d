//! Attributes of nodes. Subgraph attributes are not here: they are regions of the node.

use crate::{Tensor, Type};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// Bytes, UTF-8 for all standard operators.
    String(Vec<u8>),
    /// A tensor.
    Tensor(Tensor),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Byte strings.
    Strings(Vec<Vec<u8>>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// A type.
    Type(Type),
    /// Inside a function body: the attribute of the calling node that gives the value, with the attribute's ONNX
    /// type number.
    Reference(Arc<str>, i32),
    /// An attribute that we carry without reading (sparse tensors, lists of types): its wire bytes.
    Foreign(Vec<u8>),
}

/// Attributes by name, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(BTreeMap<Arc<str>, Attr>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces an attribute, for chained construction.
    #[must_use]
    pub fn with(mut self, name: &str, attr: impl Into<Attr>) -> Self {
        self.set(name, attr);
        self
    }

    /// Adds or replaces an attribute.
    pub fn set(&mut self, name: &str, attr: impl Into<Attr>) {
        self.0.insert(name.into(), attr.into());
    }

    /// Removes an attribute.
    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        self.0.remove(name)
    }

    /// Attribute by name.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.get(name)
    }

    /// Attributes in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attr)> {
        self.0.iter().map(|(name, attr)| (&**name, attr))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of attributes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        if let Some(Attr::Int(value)) = self.get(name) { Some(*value) } else { None }
    }

    /// An integer attribute or its default.
    pub fn int_or(&self, name: &str, default: i64) -> i64 {
        self.int(name).unwrap_or(default)
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        if let Some(Attr::Float(value)) = self.get(name) { Some(*value) } else { None }
    }

    /// A float attribute or its default.
    pub fn float_or(&self, name: &str, default: f32) -> f32 {
        self.float(name).unwrap_or(default)
    }

    /// Integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        if let Some(Attr::Ints(values)) = self.get(name) { Some(values) } else { None }
    }

    /// A UTF-8 string.
    pub fn str(&self, name: &str) -> Option<&str> {
        if let Some(Attr::String(bytes)) = self.get(name) { std::str::from_utf8(bytes).ok() } else { None }
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        if let Some(Attr::Tensor(tensor)) = self.get(name) { Some(tensor) } else { None }
    }
}

impl FromIterator<(Arc<str>, Attr)> for Attrs {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Attr)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl From<i64> for Attr {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<f32> for Attr {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}
impl From<&str> for Attr {
    fn from(value: &str) -> Self {
        Self::String(value.as_bytes().to_vec())
    }
}
impl From<Vec<i64>> for Attr {
    fn from(values: Vec<i64>) -> Self {
        Self::Ints(values)
    }
}
impl From<Vec<f32>> for Attr {
    fn from(values: Vec<f32>) -> Self {
        Self::Floats(values)
    }
}
impl From<Tensor> for Attr {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}
