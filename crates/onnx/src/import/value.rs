//! Values outside a model, as ONNX stores test data: a tensor, sequence or optional message per file.
//!
//! The file does not say which of the three it holds; the type of the input or output that it belongs to does.

use super::{ImportError, Importer, LoadOptions};
use bytes::Bytes;
use fusebox_ir::Type;
use fusebox_ops::Datum;
use onnx_ir::{Message, TensorProto};

/// Levels of sequences and optionals within each other.
const MAX_DEPTH: usize = 32;

/// Reads the bytes of a `TensorProto`, `SequenceProto` or `OptionalProto`, as the type says.
///
/// # Errors
/// Bytes that are no such message, or a tensor that contradicts itself.
pub fn load_value(bytes: &Bytes, ty: &Type) -> Result<Datum, ImportError> {
    let kind = match ty {
        Type::Sequence(_) => Kind::Sequence,
        Type::Optional(_) => Kind::Optional,
        _ => Kind::Tensor,
    };
    read(bytes, kind, 0)
}

#[derive(Clone, Copy)]
enum Kind {
    Tensor,
    Sequence,
    Optional,
}

fn read(bytes: &Bytes, kind: Kind, depth: usize) -> Result<Datum, ImportError> {
    if depth > MAX_DEPTH {
        return Err(ImportError::TooDeep { offset: 0, limit: MAX_DEPTH });
    }
    // The fields of SequenceProto and OptionalProto bear the same numbers.
    let part = |(number, bytes): (u64, Bytes)| match number {
        3 => Some(read(&bytes, Kind::Tensor, depth + 1)),
        5 => Some(read(&bytes, Kind::Sequence, depth + 1)),
        7 => Some(read(&bytes, Kind::Optional, depth + 1)),
        _ => None,
    };
    match kind {
        Kind::Tensor => tensor(bytes),
        Kind::Sequence => {
            Ok(Datum::Sequence(messages(bytes)?.into_iter().filter_map(part).collect::<Result<_, _>>()?))
        }
        Kind::Optional => messages(bytes)?.into_iter().find_map(part).unwrap_or(Ok(Datum::Absent)),
    }
}

fn tensor(bytes: &Bytes) -> Result<Datum, ImportError> {
    let parsed = TensorProto::parse_from_tokio_bytes(bytes);
    let mut proto = parsed.map_err(|error| ImportError::Wire { reason: error.to_string() })?;
    let options = LoadOptions::default();
    let name = proto.name.clone();
    let owner = || format!("tensor {name:?}");
    Ok(Importer::new(&options, None).read_tensor(&mut proto, &owner)?.into())
}

/// The length-delimited fields of a message, in order.
fn messages(bytes: &Bytes) -> Result<Vec<(u64, Bytes)>, ImportError> {
    let mut at = 0;
    let mut found = Vec::new();
    while at < bytes.len() {
        let start = at;
        let bad = |reason| ImportError::NotOnnx { offset: start, reason };
        let tag = varint(bytes, &mut at).ok_or_else(|| bad("a number is cut off"))?;
        match tag & 7 {
            0 => drop(varint(bytes, &mut at).ok_or_else(|| bad("a number is cut off"))?),
            2 => {
                let length = varint(bytes, &mut at).and_then(|length| usize::try_from(length).ok());
                let end = length.and_then(|length| at.checked_add(length)).filter(|end| *end <= bytes.len());
                let end = end.ok_or_else(|| bad("a field is longer than the file"))?;
                found.push((tag >> 3, bytes.slice(at..end)));
                at = end;
            }
            _ => return Err(bad("a field has a wire type that sequences and optionals do not use")),
        }
    }
    Ok(found)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{DType, Tensor, TensorType};

    fn tensor_bytes(value: f32) -> Vec<u8> {
        let proto = TensorProto {
            data_type: DType::F32.to_onnx(),
            dims: vec![1],
            float_data: vec![value],
            ..Default::default()
        };
        proto.write_to_bytes().unwrap()
    }

    fn field(number: u8, payload: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(payload.len()).unwrap()], payload].concat()
    }

    fn floats() -> Type {
        TensorType::unranked(DType::F32).into()
    }

    fn vector(value: f32) -> Datum {
        Tensor::vector(vec![value]).into()
    }

    #[test]
    fn sequences_and_optionals_nest() {
        let pair = [&[0x10, 1][..], &field(3, &tensor_bytes(1.0)), &field(3, &tensor_bytes(2.0))].concat();
        let sequence = Type::Sequence(Box::new(floats()));
        let expected = Datum::Sequence(vec![vector(1.0), vector(2.0)]);
        assert_eq!(load_value(&pair.clone().into(), &sequence).unwrap(), expected);
        let optional = Type::Optional(Box::new(sequence));
        assert_eq!(load_value(&field(5, &pair).into(), &optional).unwrap(), expected);
        assert_eq!(load_value(&Bytes::from_static(&[0x10, 0]), &optional).unwrap(), Datum::Absent);
        assert_eq!(load_value(&tensor_bytes(3.0).into(), &floats()).unwrap(), vector(3.0));
    }

    #[test]
    fn damage_is_an_error() {
        let sequence = Type::Sequence(Box::new(floats()));
        for bytes in [&[0x1a, 200][..], &[0x1a], &[0x1c], &[0x80; 12]] {
            assert!(load_value(&Bytes::copy_from_slice(bytes), &sequence).is_err(), "{bytes:?}");
        }
        let mut deep = tensor_bytes(0.0);
        for _ in 0..40 {
            deep = field(5, &deep[..deep.len().min(100)]);
        }
        assert!(load_value(&deep.into(), &sequence).is_err());
    }
}
