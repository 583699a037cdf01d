//! Reads types and dims.
//!
//! A dim is an expression over symbols with `+ - *`, parentheses and `floordiv`, `mod`, `max`, `min`, `mul`. Products
//! can expand far beyond their text, so the work and the size of each dim are limited.

use super::{Kind, ParseErrorKind, Parser, Result};
use crate::{DType, Dim, Shape, TensorType, Type};
use std::fmt::Write;

/// Longest canonical form of a dim, in characters; also the number of operations in one.
const MAX_DIM: usize = 4096;
/// Operations in one dim.
const MAX_DIM_WORK: usize = 512;

impl Parser<'_, '_> {
    /// `f32[2, n]`, `f32[..]`, `seq(…)`, `optional(…)`, `foreign(0x…)`, `?`.
    pub(super) fn ty(&mut self) -> Result<Type> {
        if self.skip('?')? {
            return Ok(Type::Unknown);
        }
        let Kind::Ident(word) = self.token.kind else { return self.expected("a type such as `f32[2, n]`") };
        match word {
            "seq" | "optional" => {
                self.advance()?;
                self.punct('(', "`(` and a type")?;
                let inner = Box::new(self.deeper(Self::ty)?);
                self.punct(')', "`)`")?;
                Ok(if word == "seq" { Type::Sequence(inner) } else { Type::Optional(inner) })
            }
            "foreign" => self.foreign().map(Type::Foreign),
            _ => self.tensor_type().map(Type::Tensor),
        }
    }

    /// `foreign(0x…)`.
    pub(super) fn foreign(&mut self) -> Result<Vec<u8>> {
        self.word("foreign", "`foreign`")?;
        self.punct('(', "`(`")?;
        let bytes = self.hex_bytes()?;
        self.punct(')', "`)`")?;
        Ok(bytes)
    }

    /// Bytes as `0x…`.
    pub(super) fn hex_bytes(&mut self) -> Result<Vec<u8>> {
        let Kind::Hex(digits) = self.token.kind else { return self.expected("bytes such as `0x1f2e`") };
        if digits.len() % 2 != 0 {
            return Err(self.here(ParseErrorKind::OddHex));
        }
        self.advance()?;
        let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        Ok(digits.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect())
    }

    /// `f32[2, n]`.
    pub(super) fn tensor_type(&mut self) -> Result<TensorType> {
        let Kind::Ident(word) = self.token.kind else {
            return self.expected("an element type such as `f32`");
        };
        let Some(dtype) = DType::from_name(word) else {
            return Err(self.here(ParseErrorKind::DType { found: word.into() }));
        };
        self.advance()?;
        self.punct('[', "`[` and the dims")?;
        if self.skip('.')? {
            self.punct('.', "`..`")?;
            self.punct(']', "`]`")?;
            return Ok(TensorType::unranked(dtype));
        }
        let mut shape = Shape::new();
        self.list(']', |p| {
            shape.push(p.dim()?);
            Ok(())
        })?;
        Ok(TensorType { dtype, shape: Some(shape) })
    }

    fn dim(&mut self) -> Result<Dim> {
        self.dim_work = 0;
        self.dim_sum()
    }

    /// Counts an operation and refuses a result that has grown too large.
    fn checked(&mut self, dim: Dim) -> Result<Dim> {
        self.dim_work += 1;
        let short = dim.value().is_some() || write!(Room(MAX_DIM), "{dim}").is_ok();
        if short && self.dim_work <= MAX_DIM_WORK {
            Ok(dim)
        } else {
            Err(self.here(ParseErrorKind::DimTooLong { limit: MAX_DIM }))
        }
    }

    fn dim_sum(&mut self) -> Result<Dim> {
        let negative = self.skip('-')?;
        let mut sum = self.dim_product(negative)?;
        loop {
            let negative = self.at('-');
            if !negative && !self.at('+') {
                return Ok(sum);
            }
            self.advance()?;
            let term = self.dim_product(negative)?;
            sum = self.checked(sum.add(&term))?;
        }
    }

    /// Factors; the numbers among them are multiplied apart, because the lowest i64 has no positive counterpart.
    fn dim_product(&mut self, negative: bool) -> Result<Dim> {
        let start = self.token.span.start;
        let mut coefficient: i128 = if negative { -1 } else { 1 };
        let mut product: Option<Dim> = None;
        loop {
            if let Kind::Number(digits) = self.token.kind {
                let Some(next) = digits.parse().ok().and_then(|n| coefficient.checked_mul(n)) else {
                    return self.bad_number(digits, "64-bit integer");
                };
                coefficient = next;
                self.advance()?;
            } else {
                let factor = self.dim_factor()?;
                product = Some(match product {
                    Some(product) => self.checked(product.mul(&factor))?,
                    None => factor,
                });
            }
            if !self.skip('*')? {
                break;
            }
        }
        let Ok(number) = i64::try_from(coefficient) else {
            let span = start..self.token.span.start;
            let found = self.lexer.text[span.clone()].trim_end().to_owned();
            return Err(self.error(span, ParseErrorKind::Number { found, expected: "64-bit integer" }));
        };
        match product {
            None => Ok(Dim::known(number)),
            Some(product) if number == 1 => Ok(product),
            Some(product) => self.checked(Dim::known(number).mul(&product)),
        }
    }

    fn dim_factor(&mut self) -> Result<Dim> {
        if self.skip('(')? {
            let inner = self.deeper(Self::dim_sum)?;
            self.punct(')', "`)`")?;
            return Ok(inner);
        }
        let combine = match self.token.kind {
            Kind::Ident("floordiv") => Dim::floor_div,
            Kind::Ident("mod") => Dim::modulo,
            Kind::Ident("max") => Dim::larger,
            Kind::Ident("min") => Dim::smaller,
            Kind::Ident("mul") => Dim::mul,
            _ => return Ok(Dim::symbol(self.name("a dim such as `12*batch + 1`")?)),
        };
        self.advance()?;
        self.punct('(', "`(`")?;
        let left = self.deeper(Self::dim_sum)?;
        self.punct(',', "`,`")?;
        let right = self.deeper(Self::dim_sum)?;
        self.punct(')', "`)`")?;
        self.checked(combine(&left, &right))
    }

    /// A whole number with optional sign.
    pub(super) fn integer(&mut self) -> Result<i64> {
        let negative = self.skip('-')?;
        let Kind::Number(digits) = self.token.kind else { return self.expected("an integer") };
        let magnitude = digits.parse::<i128>().ok();
        let value = magnitude.and_then(|m| i64::try_from(if negative { -m } else { m }).ok());
        match value {
            Some(value) => self.advance().map(|_| value),
            None => self.bad_number(digits, "64-bit integer"),
        }
    }

    pub(super) fn bad_number<T>(&self, digits: &str, expected: &'static str) -> Result<T> {
        Err(self.here(ParseErrorKind::Number { found: digits.into(), expected }))
    }
}

/// Swallows so many bytes and then fails: measures a dim without building its text.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(std::fmt::Error)?;
        Ok(())
    }
}
