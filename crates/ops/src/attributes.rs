//! Kinds and defaults of attributes, as operators declare them in their [`crate::Schema`].
//!
//! Rules name attributes by these declarations, and a record of attributes is compared with the defaults filled in, so
//! that a pattern sees `axis=-1` whether or not the exporter wrote it. Versions play no part here: a declaration is
//! that of the newest form of its operator.

use fusebox_ir::{Attr, OpName};

/// Kind of an attribute, with the default where the operator gives one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttrSpec {
    /// An integer.
    Int(Option<i64>),
    /// A float.
    Float(Option<f32>),
    /// A string.
    Str(Option<&'static str>),
    /// Integers.
    Ints,
    /// Anything else: only matched and copied as part of a record.
    Other,
}

impl AttrSpec {
    /// The default as an attribute.
    pub fn default(self) -> Option<Attr> {
        match self {
            Self::Int(value) => value.map(Attr::Int),
            Self::Float(value) => value.map(Attr::Float),
            Self::Str(value) => value.map(Attr::from),
            Self::Ints | Self::Other => None,
        }
    }
}

/// Attributes of an operator by name, sorted.
pub type Attributes = &'static [(&'static str, AttrSpec)];

/// An integer that is this when absent.
pub const fn int(default: i64) -> AttrSpec {
    AttrSpec::Int(Some(default))
}

/// A float that is this when absent.
pub const fn float(default: f32) -> AttrSpec {
    AttrSpec::Float(Some(default))
}

/// A string that is this when absent.
pub const fn text(default: &'static str) -> AttrSpec {
    AttrSpec::Str(Some(default))
}

/// An integer without a default.
pub const INT: AttrSpec = AttrSpec::Int(None);
/// A float without a default.
pub const FLOAT: AttrSpec = AttrSpec::Float(None);
/// A string without a default.
pub const TEXT: AttrSpec = AttrSpec::Str(None);
/// Integers.
pub const INTS: AttrSpec = AttrSpec::Ints;
/// Anything else.
pub const OTHER: AttrSpec = AttrSpec::Other;

/// Attributes that an operator declares; none for one that the table does not know.
pub fn of(op: &OpName) -> Attributes {
    crate::op(op).map_or(&[], |op| op.schema().attributes)
}

/// Kind of one attribute.
pub fn spec(op: &OpName, name: &str) -> Option<AttrSpec> {
    of(op).iter().find(|(n, _)| *n == name).map(|(_, spec)| *spec)
}

#[cfg(test)]
mod tests {
    #[test]
    fn declarations_are_sorted() {
        for op in crate::ops() {
            let schema = op.schema();
            assert!(schema.attributes.is_sorted_by_key(|row| row.0), "{}", schema.op_name());
        }
    }
}
