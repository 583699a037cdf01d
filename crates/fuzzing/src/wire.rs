//! Model files as trees of protobuf fields, to be changed and written again.
//!
//! Knows which fields of ONNX are messages and which lists of numbers are packed, and nothing else. A message that cannot
//! be read stays bytes, so every input has a tree.

/// Messages may nest this deep; what lies deeper stays bytes.
const MAX_DEPTH: usize = 60;

/// Message types that mutations tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ModelProto`.
    Model,
    /// `GraphProto`.
    Graph,
    /// `NodeProto`.
    Node,
    /// `AttributeProto`.
    Attribute,
    /// `TensorProto`.
    Tensor,
    /// `SparseTensorProto`.
    Sparse,
    /// `ValueInfoProto`.
    ValueInfo,
    /// `TypeProto`.
    Type,
    /// `TypeProto.Tensor`.
    TensorType,
    /// `TypeProto.Sequence` or `TypeProto.Optional`.
    Wrapped,
    /// `TensorShapeProto`.
    Shape,
    /// `TensorShapeProto.Dimension`.
    Dimension,
    /// `FunctionProto`.
    Function,
    /// `OperatorSetIdProto`.
    Opset,
    /// `StringStringEntryProto`.
    Pair,
}

impl Kind {
    fn child(self, number: u32) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 8) | (Self::Function, 9) => Self::Opset,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::ValueInfo,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::Attribute, 14 | 15) | (Self::Wrapped, 1) => Self::Type,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 9) => Self::Wrapped,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1) => Self::Dimension,
            (Self::Model | Self::Graph, 14) | (Self::Node, 9) | (Self::Tensor, 13 | 16) => Self::Pair,
            _ => return None,
        })
    }

    /// Whether a field is a list of varints that may be packed.
    fn is_packed(self, number: u32) -> bool {
        matches!((self, number), (Self::Tensor, 1 | 5 | 7 | 11) | (Self::Attribute, 8) | (Self::Sparse, 3))
    }
}

/// Content of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Wire type 0.
    Number(u64),
    /// Wire type 1.
    Eight([u8; 8]),
    /// Wire type 5.
    Four([u8; 4]),
    /// Wire type 2 that is no message: a string, bytes, packed floats.
    Bytes(Vec<u8>),
    /// Wire type 2 that is a message.
    Message(Message),
}

/// A field with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Number.
    pub number: u32,
    /// Content.
    pub content: Content,
}

impl Field {
    /// A number.
    pub fn int(number: u32, value: i64) -> Self {
        Self { number, content: Content::Number(value.cast_unsigned()) }
    }

    /// A string or bytes.
    pub fn bytes(number: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { number, content: Content::Bytes(bytes.into()) }
    }

    /// A message.
    pub fn message(number: u32, kind: Kind, fields: Vec<Self>) -> Self {
        Self { number, content: Content::Message(Message { kind, fields }) }
    }

    /// The number, when it is one.
    pub fn as_int(&self) -> Option<i64> {
        if let Content::Number(value) = self.content { Some(value.cast_signed()) } else { None }
    }

    /// The bytes, when it is a string or bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Content::Bytes(bytes) = &self.content { Some(bytes) } else { None }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

impl Message {
    /// Reads a model; `None` when the bytes are no protobuf.
    pub fn model(bytes: &[u8]) -> Option<Self> {
        read(bytes, Kind::Model, 0)
    }

    /// The bytes of the message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.fields {
            write(&mut out, field);
        }
        out
    }

    /// All fields of a number.
    pub fn all(&self, number: u32) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.number == number)
    }

    /// The first string or bytes of a number, empty when absent.
    pub fn text(&self, number: u32) -> &[u8] {
        self.all(number).find_map(Field::as_bytes).unwrap_or_default()
    }

    /// The first number of a number, 0 when absent.
    pub fn int(&self, number: u32) -> i64 {
        self.all(number).find_map(Field::as_int).unwrap_or(0)
    }

    /// Replaces all fields of a number.
    pub fn set(&mut self, number: u32, fields: impl IntoIterator<Item = Field>) {
        self.fields.retain(|field| field.number != number);
        self.fields.extend(fields);
    }

    /// Calls `see` on this message and on all inside, outermost first.
    pub fn visit<'m>(&'m self, see: &mut dyn FnMut(&'m Self)) {
        see(self);
        for field in &self.fields {
            if let Content::Message(inner) = &field.content {
                inner.visit(see);
            }
        }
    }

    /// Calls `change` on this message and on all inside, outermost first.
    pub fn visit_mut(&mut self, change: &mut dyn FnMut(&mut Self)) {
        change(self);
        for field in &mut self.fields {
            if let Content::Message(inner) = &mut field.content {
                inner.visit_mut(change);
            }
        }
    }
}

fn read(mut bytes: &[u8], kind: Kind, depth: usize) -> Option<Message> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
        let content = match tag & 7 {
            0 => Content::Number(varint(&mut bytes)?),
            1 => Content::Eight(take(&mut bytes, 8)?.try_into().ok()?),
            5 => Content::Four(take(&mut bytes, 4)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, length)?;
                if kind.is_packed(number) {
                    unpack(inner, number, &mut fields)?;
                    continue;
                }
                let message = kind.child(number).filter(|_| depth < MAX_DEPTH);
                match message.and_then(|kind| read(inner, kind, depth + 1)) {
                    Some(message) => Content::Message(message),
                    None => Content::Bytes(inner.to_vec()),
                }
            }
            _ => return None,
        };
        fields.push(Field { number, content });
    }
    Some(Message { kind, fields })
}

fn unpack(mut bytes: &[u8], number: u32, fields: &mut Vec<Field>) -> Option<()> {
    while !bytes.is_empty() {
        fields.push(Field { number, content: Content::Number(varint(&mut bytes)?) });
    }
    Some(())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn write(out: &mut Vec<u8>, field: &Field) {
    let tag = |wire: u64| u64::from(field.number) << 3 | wire;
    let delimited = |out: &mut Vec<u8>, bytes: &[u8]| {
        write_varint(out, tag(2));
        write_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    match &field.content {
        Content::Number(value) => {
            write_varint(out, tag(0));
            write_varint(out, *value);
        }
        Content::Eight(bytes) => {
            write_varint(out, tag(1));
            out.extend_from_slice(bytes);
        }
        Content::Four(bytes) => {
            write_varint(out, tag(5));
            out.extend_from_slice(bytes);
        }
        Content::Bytes(bytes) => delimited(out, bytes),
        Content::Message(message) => delimited(out, &message.to_bytes()),
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
