//! Elements and strings as text, so that reading the text gives the same bits.
//!
//! Floats are the shortest decimal that reads back to the same value; a NaN that is not the canonical one is written
//! as its bit pattern, and types without decimal notation (8-bit and 4-bit floats) always are.

use crate::tensor::Element;
use crate::{DType, Tensor};
use half::{bf16, f16};
use std::fmt::Write;

/// Quotes bytes: printable UTF-8 as it is, everything else escaped.
pub(super) fn quote(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                _ if letter.is_control() || is_invisible(letter) => {
                    escape_bytes(out, letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => out.push(letter),
            }
        }
        escape_bytes(out, chunk.invalid());
    }
    out.push('"');
}

/// Direction marks and separators, which would make a terminal show something else than the text says.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn escape_bytes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(out, "\\x{byte:02x}").expect("writing to a string cannot fail");
    }
}

/// Bytes as `0x…`.
pub(super) fn hex(out: &mut String, bytes: &[u8]) {
    out.push_str("0x");
    for byte in bytes {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
    }
}

/// Whether a word can stand without quotes.
pub(super) fn is_plain(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && word != "_"
}

/// A name, quoted where it has to be.
pub(super) fn name(out: &mut String, name: &str) {
    if is_plain(name) { out.push_str(name) } else { quote(out, name.as_bytes()) }
}

/// A float attribute: always with a point, an exponent, or `inf` or `nan`, so that it is not taken for an integer.
pub(super) fn float_attr(value: f32) -> String {
    special(f64::from(value), u64::from(value.to_bits()), u64::from(f32::NAN.to_bits()), 8)
        .unwrap_or_else(|| format!("{value:?}"))
}

/// Infinities and NaNs; other values give `None`.
fn special(value: f64, bits: u64, canonical: u64, digits: usize) -> Option<String> {
    match () {
        () if value.is_nan() && bits == canonical => Some("nan".into()),
        () if value.is_nan() => Some(format!("nan(0x{bits:0digits$x})")),
        () if value.is_infinite() => Some(if value > 0.0 { "inf".into() } else { "-inf".into() }),
        () => None,
    }
}

fn short(debug: &str) -> String {
    debug.strip_suffix(".0").unwrap_or(debug).to_owned()
}

fn wide(value: f64) -> String {
    special(value, value.to_bits(), f64::NAN.to_bits(), 16).unwrap_or_else(|| short(&format!("{value:?}")))
}

fn single(value: f32) -> String {
    special(f64::from(value), value.to_bits().into(), f32::NAN.to_bits().into(), 8)
        .unwrap_or_else(|| short(&format!("{value:?}")))
}

/// The shortest decimal that `same` accepts as reading back; five digits are enough for any 16-bit float.
fn narrow(value: f64, same: impl Fn(f64) -> bool) -> String {
    let decimal = |digits: usize| format!("{value:.digits$e}").parse().unwrap_or(value);
    short(&format!("{:?}", (0..6).map(decimal).find(|d| same(*d)).unwrap_or(value)))
}

fn half_float(value: f16) -> String {
    special(value.into(), value.to_bits().into(), f16::NAN.to_bits().into(), 4).unwrap_or_else(|| {
        narrow(value.into(), |decimal| f16::from_f64(decimal).to_bits() == value.to_bits())
    })
}

fn brain_float(value: bf16) -> String {
    special(value.into(), value.to_bits().into(), bf16::NAN.to_bits().into(), 4).unwrap_or_else(|| {
        narrow(value.into(), |decimal| bf16::from_f64(decimal).to_bits() == value.to_bits())
    })
}

/// Sub-byte element `index`; the least significant bits come first, as ONNX packs them.
fn packed(data: &[u8], bits: usize, index: usize) -> u8 {
    (data[index * bits / 8] >> (index * bits % 8)) & ((1u16 << bits) - 1) as u8
}

/// Packs sub-byte elements; padding bits are zero.
pub(super) fn pack(elements: &[u8], bits: usize) -> Vec<u8> {
    let mut data = vec![0u8; (elements.len() * bits).div_ceil(8)];
    for (index, element) in elements.iter().enumerate() {
        data[index * bits / 8] |= element << (index * bits % 8);
    }
    data
}

/// Whether the elements say everything: padding bits behind packed elements are zero.
pub(super) fn is_clean(tensor: &Tensor) -> bool {
    let used = tensor.len().wrapping_mul(tensor.dtype().bits()) % 8;
    used == 0 || tensor.data().last().is_none_or(|byte| byte >> used == 0)
}

fn signed(element: u8, bits: usize) -> String {
    let shift = 8 - bits;
    (((element << shift) as i8) >> shift).to_string()
}

/// Element `index` of little-endian data.
fn at<T: Element>(data: &[u8], index: usize) -> T {
    let size = size_of::<T>();
    bytemuck::pod_read_unaligned(&data[index * size..][..size])
}

/// Element `index` of a tensor as text that reads back to the same bits.
pub(super) fn element(tensor: &Tensor, index: usize) -> String {
    let (data, bits) = (&tensor.data()[..], tensor.dtype().bits());
    match tensor.dtype() {
        DType::F32 => single(at(data, index)),
        DType::F64 => wide(at(data, index)),
        DType::C64 => format!("({}, {})", single(at(data, 2 * index)), single(at(data, 2 * index + 1))),
        DType::C128 => format!("({}, {})", wide(at(data, 2 * index)), wide(at(data, 2 * index + 1))),
        DType::F16 => half_float(at(data, index)),
        DType::BF16 => brain_float(at(data, index)),
        DType::I8 => at::<i8>(data, index).to_string(),
        DType::I16 => at::<i16>(data, index).to_string(),
        DType::I32 => at::<i32>(data, index).to_string(),
        DType::I64 => at::<i64>(data, index).to_string(),
        DType::U8 => at::<u8>(data, index).to_string(),
        DType::U16 => at::<u16>(data, index).to_string(),
        DType::U32 => at::<u32>(data, index).to_string(),
        DType::U64 => at::<u64>(data, index).to_string(),
        DType::Bool if data[index] < 2 => (data[index] == 1).to_string(),
        DType::U4 | DType::U2 => packed(data, bits, index).to_string(),
        DType::I4 | DType::I2 => signed(packed(data, bits, index), bits),
        DType::F4E2M1 => format!("0x{:x}", packed(data, bits, index)),
        DType::Bool
        | DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F8E8M0
        | DType::F6E2M3
        | DType::F6E3M2 => format!("0x{:02x}", data[index]),
        DType::String => {
            let mut out = String::new();
            quote(
                &mut out,
                tensor.strings().and_then(|strings| strings.get(index)).map_or(b"", Vec::as_slice),
            );
            out
        }
    }
}
