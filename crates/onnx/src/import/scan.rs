//! First look at the bytes: walks the wire format without building anything.
//!
//! Finds out, with byte offsets, that a file is no protobuf, is cut off, nests too deeply, or would need absurd
//! amounts of memory once parsed. What passes is safe to hand to the parser. Knows which fields are messages and
//! nothing else about ONNX.

use super::ImportError;

/// Message levels below the model; protobuf readers of all languages stop there (about 32 nested subgraphs).
const MAX_DEPTH: usize = 100;

/// Message types as far as their fields differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Wrapped,
    Map,
    Function,
    Training,
    Sharding,
    /// A message without message fields that matter.
    Leaf,
}

impl Kind {
    /// The message in field `number`, or `None` for bytes, strings and packed numbers.
    fn child(self, number: u32) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::ValueInfo,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::Attribute, 14 | 15) | (Self::Wrapped, 1) | (Self::Map, 2) => {
                Self::Type
            }
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 9) => Self::Wrapped,
            (Self::Type, 5) => Self::Map,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Node, 10) | (Self::Sharding, 2..=4) => Self::Sharding,
            (Self::Model, 8 | 14 | 26)
            | (Self::Graph, 14 | 16)
            | (Self::Node, 9)
            | (Self::Tensor, 3 | 13 | 16)
            | (Self::ValueInfo, 4)
            | (Self::Function, 9 | 14)
            | (Self::Training, 3 | 4)
            | (Self::Shape, 1) => Self::Leaf,
            _ => return None,
        })
    }

    /// Memory that one takes once parsed and imported, in bytes, rounded up.
    fn weight(self) -> u64 {
        match self {
            Self::Node | Self::Attribute | Self::Tensor | Self::Graph | Self::Function | Self::Training => {
                1024
            }
            _ => 256,
        }
    }

    /// Name in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Model => "the model",
            Self::Graph => "a graph",
            Self::Node => "a node",
            Self::Attribute => "an attribute",
            Self::Tensor => "a tensor",
            Self::Sparse => "a sparse tensor",
            Self::ValueInfo => "a value's description",
            Self::Type | Self::TensorType | Self::Wrapped | Self::Map | Self::Shape => "a type",
            Self::Function => "a function",
            Self::Training => "training information",
            Self::Sharding | Self::Leaf => "an entry",
        }
    }
}

/// Memory of a string or byte field once parsed.
const STRING_WEIGHT: u64 = 64;

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Ends of the messages around the current position, innermost last.
    open: Vec<(Kind, usize)>,
    weight: u64,
    limit: u64,
    /// Whether a field of the model has been read to its end.
    begun: bool,
}

/// Checks the wire structure of a model.
///
/// # Errors
/// What is wrong and at which byte.
pub(super) fn scan(bytes: &[u8], max_overhead: u64) -> Result<(), ImportError> {
    if bytes.is_empty() {
        return Err(ImportError::NotOnnx { offset: 0, reason: "the file is empty" });
    }
    let open = vec![(Kind::Model, bytes.len())];
    let mut walk = Walk { bytes, at: 0, open, weight: 0, limit: max_overhead, begun: false };
    while let Some((kind, end)) = walk.open.last().copied() {
        if walk.at == end {
            walk.open.pop();
        } else {
            walk.field(kind, end)?;
            walk.begun |= walk.open.len() == 1;
        }
    }
    Ok(())
}

impl Walk<'_> {
    fn field(&mut self, kind: Kind, end: usize) -> Result<(), ImportError> {
        let start = self.at;
        let tag = self.varint(kind, end)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0 && *n < 1 << 29);
        let Some(number) = number else {
            return Err(self.malformed(start, "a field number is out of range"));
        };
        match tag & 7 {
            0 => self.varint(kind, end).map(drop),
            1 => self.skip(kind, end, 8),
            5 => self.skip(kind, end, 4),
            2 => {
                let length = self.varint(kind, end)?;
                let inner = kind.child(number);
                self.count(start, inner.map_or(STRING_WEIGHT, Kind::weight))?;
                match inner {
                    Some(inner) => self.enter(inner, end, length),
                    None => self.skip(kind, end, length),
                }
            }
            3 | 4 => Err(self.malformed(start, "it uses groups, which ONNX never does")),
            _ => Err(self.malformed(start, "a field has a wire type that does not exist")),
        }
    }

    fn count(&mut self, at: usize, weight: u64) -> Result<(), ImportError> {
        self.weight += weight;
        if self.weight <= self.limit {
            return Ok(());
        }
        Err(ImportError::TooManyParts { offset: at, limit: self.limit })
    }

    fn enter(&mut self, kind: Kind, end: usize, length: u64) -> Result<(), ImportError> {
        let stop = self.checked_end(kind, end, length)?;
        if self.open.len() > MAX_DEPTH {
            return Err(ImportError::TooDeep { offset: self.at, limit: MAX_DEPTH });
        }
        self.open.push((kind, stop));
        Ok(())
    }

    fn skip(&mut self, kind: Kind, end: usize, length: u64) -> Result<(), ImportError> {
        self.at = self.checked_end(kind, end, length)?;
        Ok(())
    }

    /// End of a field of `length` bytes that starts here and must end by `end`.
    fn checked_end(&self, kind: Kind, end: usize, length: u64) -> Result<usize, ImportError> {
        let stop = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        match stop {
            Some(stop) if stop <= end => Ok(stop),
            _ if end == self.bytes.len() => Err(self.truncated(kind, length)),
            _ => Err(self.malformed(self.at, "a field is longer than the message that holds it")),
        }
    }

    fn varint(&mut self, kind: Kind, end: usize) -> Result<u64, ImportError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if self.at == end {
                return Err(if end == self.bytes.len() {
                    self.truncated(kind, 1)
                } else {
                    self.malformed(start, "a number crosses the end of the message that holds it")
                });
            }
            let byte = self.bytes[self.at];
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed(start, "a number is longer than 64 bits"))
    }

    fn truncated(&self, kind: Kind, needed: u64) -> ImportError {
        let present = (self.bytes.len() - self.at) as u64;
        // Garbage tends to claim absurd lengths at once; a cut-off model has a readable beginning.
        if !self.begun {
            return self.malformed(self.at, "its first field is longer than the file");
        }
        ImportError::Truncated { offset: self.bytes.len(), inside: kind.name(), needed, present }
    }

    fn malformed(&self, offset: usize, reason: &'static str) -> ImportError {
        ImportError::NotOnnx { offset, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(number << 3) | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn tells_truncation_from_garbage() {
        let model = field(7, &field(5, &field(9, &[0; 300])));
        assert!(scan(&model, u64::MAX).is_ok());
        let cut = scan(&model[..200], u64::MAX).unwrap_err();
        assert!(matches!(cut, ImportError::NotOnnx { .. }), "{cut}");
        let whole = [field(2, b"pytorch"), model].concat();
        let cut = scan(&whole[..200], u64::MAX).unwrap_err();
        assert!(matches!(cut, ImportError::Truncated { needed: 306, present: 188, .. }), "{cut:?}");
        assert!(matches!(scan(b"hello, world", u64::MAX), Err(ImportError::NotOnnx { .. })));
        assert!(matches!(scan(&[0x0b], u64::MAX), Err(ImportError::NotOnnx { .. })));
    }

    #[test]
    fn depth_and_parts_are_limited() {
        let mut graph = Vec::new();
        for _ in 0..40 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        assert!(matches!(scan(&field(7, &graph), u64::MAX), Err(ImportError::TooDeep { .. })));
        let nodes = field(1, &[]).repeat(1000);
        assert!(matches!(scan(&field(7, &nodes), 100_000), Err(ImportError::TooManyParts { .. })));
        assert!(scan(&field(7, &nodes), 2_000_000).is_ok());
    }
}
