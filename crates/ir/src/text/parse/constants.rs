//! Reads constants: a type with known sizes, then elements, raw bytes, or a hash that a source resolves.

use super::super::{literal, short_hash};
use super::{Kind, ParseErrorKind, Parser, Result};
use crate::tensor::element_count;
use crate::{DType, Tensor, TensorType};
use bytes::Bytes;
use half::{bf16, f16};

impl Parser<'_, '_> {
    /// `f32[3]{1, 2.5, -0}`, `f32[768, 768]{#a1b2…}`, `u4[3]{raw 0xf1f2}`.
    pub(super) fn constant(&mut self) -> Result<Tensor> {
        let start = self.token.span.start;
        let ty = self.tensor_type()?;
        let span = start..self.token.span.start;
        let Some(shape) = ty.sizes() else {
            return Err(self.error(span, ParseErrorKind::ConstantShape { found: ty.to_string() }));
        };
        self.punct('{', "`{` and the elements of the constant")?;
        if let Kind::Hash(digits) = self.token.kind {
            return self.hashed(&ty, digits);
        }
        if self.skip_word("raw")? {
            let bytes = self.hex_bytes()?;
            self.punct('}', "`}`")?;
            let found = bytes.len();
            return Tensor::from_bytes(ty.dtype, shape.clone(), Bytes::from(bytes))
                .map_err(|_| self.error(span, count_error(shape, found)));
        }
        let mut elements = Elements::default();
        let mut count = 0usize;
        self.list('}', |p| {
            count += 1;
            p.element(ty.dtype, &mut elements)
        })?;
        if element_count(&shape) != Some(count) {
            return Err(self.error(span, count_error(shape, count)));
        }
        let tensor = match ty.dtype {
            DType::String => Tensor::from_strings(shape.clone(), elements.strings),
            dtype if dtype.bits() < 8 => {
                let packed = literal::pack(&elements.bytes, dtype.bits());
                Tensor::from_bytes(dtype, shape.clone(), packed.into())
            }
            dtype => Tensor::from_bytes(dtype, shape.clone(), elements.bytes.into()),
        };
        tensor.map_err(|_| self.error(span, count_error(shape, count)))
    }

    fn hashed(&mut self, ty: &TensorType, digits: &str) -> Result<Tensor> {
        let Ok(hash) = u64::from_str_radix(digits, 16) else {
            return self.bad_number(digits, "64-bit hash in hex");
        };
        let Some(tensor) = (self.source)(ty, hash) else {
            let kind = ParseErrorKind::MissingConstant { ty: ty.to_string(), hash: digits.into() };
            return Err(self.here(kind));
        };
        if tensor.ty() != *ty || short_hash(&tensor) != hash {
            return Err(self.here(ParseErrorKind::WrongConstant {
                hash: digits.into(),
                expected: ty.to_string(),
                found: format!("{} with content #{:016x}", tensor.ty(), short_hash(&tensor)),
            }));
        }
        self.advance()?;
        self.punct('}', "`}`")?;
        Ok(tensor)
    }

    fn element(&mut self, dtype: DType, out: &mut Elements) -> Result<()> {
        match dtype {
            DType::F32 => self.single(out),
            DType::F64 => self.double(out),
            DType::C64 => self.pair(out, Self::single),
            DType::C128 => self.pair(out, Self::double),
            DType::F16 | DType::BF16 => self.half(dtype, out),
            DType::I8 => self.whole::<i8>(out, "i8"),
            DType::I16 => self.whole::<i16>(out, "i16"),
            DType::I32 => self.whole::<i32>(out, "i32"),
            DType::I64 => self.whole::<i64>(out, "i64"),
            DType::U8 => self.whole::<u8>(out, "u8"),
            DType::U16 => self.whole::<u16>(out, "u16"),
            DType::U32 => self.whole::<u32>(out, "u32"),
            DType::U64 => self.whole::<u64>(out, "u64"),
            DType::U4 => self.small(out, 0, 15, "u4"),
            DType::U2 => self.small(out, 0, 3, "u2"),
            DType::I4 => self.small(out, -8, 7, "i4"),
            DType::I2 => self.small(out, -2, 1, "i2"),
            DType::F4E2M1 => self.pattern(out, 15, "4-bit pattern such as `0x7`"),
            DType::Bool if self.at_word("true") || self.at_word("false") => {
                out.bytes.push(u8::from(self.at_word("true")));
                self.advance().map(drop)
            }
            DType::Bool => self.pattern(out, 255, "boolean: true or false"),
            DType::F6E2M3 | DType::F6E3M2 => self.pattern(out, 63, "6-bit pattern such as `0x1c`"),
            DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F8E8M0 => {
                self.pattern(out, 255, "8-bit pattern such as `0x3c`")
            }
            DType::String => match self.token.kind {
                Kind::Str(_) => {
                    if let Kind::Str(bytes) = self.advance()?.kind {
                        out.strings.push(bytes);
                    }
                    Ok(())
                }
                _ => self.expected("a string"),
            },
        }
    }

    fn single(&mut self, out: &mut Elements) -> Result<()> {
        let negative = self.skip('-')?;
        let value = self.float32(negative)?;
        out.push(value);
        Ok(())
    }

    /// An f32 whose sign has been read.
    pub(super) fn float32(&mut self, negative: bool) -> Result<f32> {
        if let Some(bits) = self.nan("f32", u32::MAX.into())? {
            return Ok(bits.map_or(f32::NAN, |bits| f32::from_bits(bits as u32)));
        }
        let value = if self.skip_word("inf")? { f32::INFINITY } else { self.decimal(f32::is_finite, "f32")? };
        Ok(if negative { -value } else { value })
    }

    fn double(&mut self, out: &mut Elements) -> Result<()> {
        let negative = self.skip('-')?;
        let value = self.float64(negative)?;
        out.push(value);
        Ok(())
    }

    fn float64(&mut self, negative: bool) -> Result<f64> {
        if let Some(bits) = self.nan("f64", u64::MAX)? {
            return Ok(bits.map_or(f64::NAN, f64::from_bits));
        }
        let value = if self.skip_word("inf")? { f64::INFINITY } else { self.decimal(f64::is_finite, "f64")? };
        Ok(if negative { -value } else { value })
    }

    fn half(&mut self, dtype: DType, out: &mut Elements) -> Result<()> {
        let narrow = |value: f64| match dtype {
            DType::F16 => f16::from_f64(value).to_bits(),
            _ => bf16::from_f64(value).to_bits(),
        };
        let negative = self.skip('-')?;
        if let Some(bits) = self.nan(dtype.name(), u16::MAX.into())? {
            let canonical = if dtype == DType::F16 { f16::NAN.to_bits() } else { bf16::NAN.to_bits() };
            out.push(bits.map_or(canonical, |bits| bits as u16));
            return Ok(());
        }
        let infinite = self.at_word("inf");
        let span = self.token.span.clone();
        let value = narrow(self.float64(negative)?);
        if !infinite && value & 0x7fff == narrow(f64::INFINITY) {
            let found = self.lexer.text[span.clone()].to_owned();
            return Err(self.error(span, ParseErrorKind::Number { found, expected: dtype.name() }));
        }
        out.push(value);
        Ok(())
    }

    /// `nan` gives `Some(None)`, `nan(0x…)` its bits; anything else `None`, unread.
    fn nan(&mut self, expected: &'static str, limit: u64) -> Result<Option<Option<u64>>> {
        if !self.skip_word("nan")? {
            return Ok(None);
        }
        if !self.skip('(')? {
            return Ok(Some(None));
        }
        let Kind::Hex(digits) = self.token.kind else { return self.expected("bits such as `0x7fc00001`") };
        match u64::from_str_radix(digits, 16) {
            Ok(bits) if bits <= limit => {
                self.advance()?;
                self.punct(')', "`)`")?;
                Ok(Some(Some(bits)))
            }
            _ => self.bad_number(digits, expected),
        }
    }

    fn decimal<T: std::str::FromStr + Copy>(
        &mut self,
        is_finite: impl Fn(T) -> bool,
        expected: &'static str,
    ) -> Result<T> {
        let Kind::Number(digits) = self.token.kind else { return self.expected("a number, inf or nan") };
        match digits.parse::<T>() {
            Ok(value) if is_finite(value) => self.advance().map(|_| value),
            _ => self.bad_number(digits, expected),
        }
    }

    fn pair(&mut self, out: &mut Elements, part: fn(&mut Self, &mut Elements) -> Result<()>) -> Result<()> {
        self.punct('(', "a complex number such as `(1, 2)`")?;
        part(self, out)?;
        self.punct(',', "`,` and the imaginary part")?;
        part(self, out)?;
        self.punct(')', "`)`")
    }

    fn any_integer(&mut self, expected: &'static str) -> Result<i128> {
        let negative = self.skip('-')?;
        let Kind::Number(digits) = self.token.kind else { return self.expected("an integer") };
        match digits.parse::<i128>() {
            Ok(value) => self.advance().map(|_| if negative { -value } else { value }),
            Err(_) => self.bad_number(digits, expected),
        }
    }

    fn whole<T: TryFrom<i128> + bytemuck::Pod>(
        &mut self,
        out: &mut Elements,
        expected: &'static str,
    ) -> Result<()> {
        let span = self.token.span.clone();
        let value = self.any_integer(expected)?;
        match T::try_from(value) {
            Ok(value) => out.push(value),
            Err(_) => {
                return Err(self.error(span, ParseErrorKind::Number { found: value.to_string(), expected }));
            }
        }
        Ok(())
    }

    fn small(&mut self, out: &mut Elements, low: i128, high: i128, expected: &'static str) -> Result<()> {
        let span = self.token.span.clone();
        let value = self.any_integer(expected)?;
        if !(low..=high).contains(&value) {
            return Err(self.error(span, ParseErrorKind::Number { found: value.to_string(), expected }));
        }
        // Two's complement within the element's bits: `high - low` is the mask.
        out.bytes.push((value & (high - low)) as u8);
        Ok(())
    }

    fn pattern(&mut self, out: &mut Elements, limit: u64, expected: &'static str) -> Result<()> {
        let Kind::Hex(digits) = self.token.kind else {
            return self.bad_number(&self.token.kind.describe(), expected);
        };
        match u64::from_str_radix(digits, 16) {
            Ok(bits) if bits <= limit => out.bytes.push(bits as u8),
            _ => return self.bad_number(digits, expected),
        }
        self.advance().map(drop)
    }
}

fn count_error(shape: Vec<usize>, found: usize) -> ParseErrorKind {
    let expected = element_count(&shape).map_or_else(|| "too many".into(), |count| count.to_string());
    ParseErrorKind::ElementCount { shape, expected, found }
}

/// Elements read so far: bytes, sub-byte types one per byte, or strings.
#[derive(Default)]
struct Elements {
    bytes: Vec<u8>,
    strings: Vec<Vec<u8>>,
}

impl Elements {
    fn push(&mut self, value: impl bytemuck::Pod) {
        self.bytes.extend_from_slice(bytemuck::bytes_of(&value));
    }
}
