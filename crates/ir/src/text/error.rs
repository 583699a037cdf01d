//! Why a text is not a graph: kind, line, column and byte span.
//!
//! The span is a plain byte range, so that a front end can underline it with whatever renderer it uses.

use std::ops::Range;

/// An error of the parser, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {kind}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the text that the message is about.
    pub span: Range<usize>,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

impl ParseError {
    pub(super) fn new(text: &str, span: Range<usize>, kind: ParseErrorKind) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Self { line, column: before[line_start..].chars().count() + 1, span, kind }
    }
}

/// What can be wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// A character that starts no token.
    #[error("{found:?} means nothing here")]
    Character {
        /// The character.
        found: char,
    },
    /// A string without its closing quote.
    #[error("this string has no closing quote")]
    OpenString,
    /// An escape that is not known.
    #[error(r#"not an escape: write \n, \t, \r, \0, \", \\, \xNN (a byte) or \u{{...}} (a character)"#)]
    Escape,
    /// `%` without a number.
    #[error("`%` must be followed by the number of a value, below 4294967296")]
    ValueNumber,
    /// The wrong token.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What the grammar allows here.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A value that is read before its definition.
    #[error("%{value} is not defined above: a value must be an input or an output of an earlier node")]
    Undefined {
        /// Its number.
        value: u32,
    },
    /// A value that is defined again.
    #[error("%{value} is already defined: give this one a number of its own")]
    Redefined {
        /// Its number.
        value: u32,
    },
    /// An unknown element type.
    #[error("`{found}` is no element type: write f32, f16, bf16, i64, i32, u8, i8, bool, string, ...")]
    DType {
        /// The word.
        found: String,
    },
    /// A number out of the range of its type.
    #[error("{found} is no {expected}")]
    Number {
        /// The digits.
        found: String,
        /// Type that it should have.
        expected: &'static str,
    },
    /// A constant whose sizes are not numbers.
    #[error("a constant needs sizes that are known and not negative, found {found}")]
    ConstantShape {
        /// The shape.
        found: String,
    },
    /// Number of elements and shape disagree.
    #[error("a constant of shape {shape:?} has {expected} elements, {found} are given")]
    ElementCount {
        /// The shape.
        shape: Vec<usize>,
        /// Elements of the shape.
        expected: String,
        /// Elements given.
        found: usize,
    },
    /// A summarised constant that nobody supplied.
    #[error(
        "the elements of {ty} constant #{hash} are not in the text: print with a larger inline limit, or parse with a \
         source of constants that knows it"
    )]
    MissingConstant {
        /// Type of the constant.
        ty: String,
        /// Its content hash.
        hash: String,
    },
    /// A supplied constant of the wrong type.
    #[error("constant #{hash} is {expected} in the text, the source of constants gave {found}")]
    WrongConstant {
        /// Its content hash.
        hash: String,
        /// Type in the text.
        expected: String,
        /// Type supplied.
        found: String,
    },
    /// Items of a list that are not all alike.
    #[error("a list holds integers, floats, strings or tensors, but only one of these")]
    MixedList,
    /// An attribute given twice.
    #[error("attribute {name:?} is given twice")]
    DuplicateAttribute {
        /// Its name.
        name: String,
    },
    /// Bytes that should be text.
    #[error("a name must be valid UTF-8")]
    NotUtf8,
    /// An odd number of hex digits.
    #[error("bytes are pairs of hex digits, found an odd number of digits")]
    OddHex,
    /// Number of types and of outputs disagree.
    #[error("{outputs} outputs but {types} types")]
    TypeCount {
        /// Outputs that are asked for.
        outputs: usize,
        /// Types given.
        types: usize,
    },
    /// Nesting beyond the limit.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A dim beyond the limit.
    #[error("this dim expands to more than {limit} characters or operations")]
    DimTooLong {
        /// The limit.
        limit: usize,
    },
    /// A text beyond the limit.
    #[error("the text has {found} bytes, the limit is {limit}")]
    TooLong {
        /// Length of the text.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A reference to an attribute outside a function, or a capture without a source.
    #[error("a capture of a region needs `= %N`, the value of the enclosing graph that it stands for")]
    CaptureSource,
}
