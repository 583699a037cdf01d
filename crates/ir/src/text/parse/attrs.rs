//! Reads attributes.
//!
//! The kind of an attribute is in its notation: `3` is an integer, `3.0` a float, `"gelu"` a string, `f32[1]{3}` a
//! tensor, `&alpha:1` a reference. Lists are of one kind; an empty list of anything but integers says its kind.

use super::{Kind, ParseErrorKind, Parser, Result};
use crate::{Attr, Attrs, DType};

impl Parser<'_, '_> {
    /// `[name=value, …]`.
    pub(super) fn attrs(&mut self) -> Result<Attrs> {
        let mut attrs = Attrs::new();
        self.punct('[', "`[` and the attributes")?;
        self.list(']', |p| {
            let span = p.token.span.clone();
            let name = p.name("the name of an attribute")?;
            if attrs.get(&name).is_some() {
                return Err(p.error(span, ParseErrorKind::DuplicateAttribute { name }));
            }
            p.punct('=', "`=`")?;
            let value = p.attr()?;
            attrs.set(&name, value);
            Ok(())
        })?;
        Ok(attrs)
    }

    fn attr(&mut self) -> Result<Attr> {
        match self.token.kind {
            Kind::Punct('[') => self.attr_list(),
            Kind::Punct('&') => {
                self.advance()?;
                let name = self.name("the name of an attribute")?;
                self.punct(':', "`:` and the attribute's type number")?;
                let kind = self.integer()?;
                match i32::try_from(kind) {
                    Ok(kind) => Ok(Attr::Reference(name.into(), kind)),
                    Err(_) => self.bad_number(&kind.to_string(), "32-bit integer"),
                }
            }
            Kind::Ident("type") => {
                self.advance()?;
                self.punct('(', "`(` and a type")?;
                let ty = self.ty()?;
                self.punct(')', "`)`")?;
                Ok(Attr::Type(ty))
            }
            Kind::Ident("foreign") => self.foreign().map(Attr::Foreign),
            Kind::Ident(word @ ("floats" | "strings" | "tensors")) => {
                self.advance()?;
                self.punct('[', "`[]`")?;
                self.punct(']', "`]`: only an empty list names its kind")?;
                Ok(match word {
                    "floats" => Attr::Floats(Vec::new()),
                    "strings" => Attr::Strings(Vec::new()),
                    _ => Attr::Tensors(Vec::new()),
                })
            }
            _ => self.attr_item(),
        }
    }

    fn attr_item(&mut self) -> Result<Attr> {
        match &self.token.kind {
            Kind::Str(_) => match self.advance()?.kind {
                Kind::Str(bytes) => Ok(Attr::String(bytes)),
                _ => self.expected("a string"),
            },
            Kind::Ident(word) if DType::from_name(word).is_some() => self.constant().map(Attr::Tensor),
            Kind::Number(_) | Kind::Punct('-') | Kind::Ident("inf" | "nan") => self.attr_number(),
            _ => self.expected(
                "the value of an attribute: 1, 1.5, \"text\", [1, 2], f32[1]{0}, type(...), &name:1",
            ),
        }
    }

    fn attr_number(&mut self) -> Result<Attr> {
        let negative = self.skip('-')?;
        match self.token.kind {
            Kind::Number(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let magnitude = digits.parse::<i128>().ok();
                match magnitude.and_then(|m| i64::try_from(if negative { -m } else { m }).ok()) {
                    Some(value) => self.advance().map(|_| Attr::Int(value)),
                    None => self.bad_number(digits, "64-bit integer"),
                }
            }
            _ => self.float32(negative).map(Attr::Float),
        }
    }

    fn attr_list(&mut self) -> Result<Attr> {
        self.punct('[', "`[`")?;
        let mut list = Attr::Ints(Vec::new());
        let mut first = true;
        self.list(']', |p| {
            let span = p.token.span.clone();
            let item = p.attr_item()?;
            if std::mem::take(&mut first) {
                list = match &item {
                    Attr::Float(_) => Attr::Floats(Vec::new()),
                    Attr::String(_) => Attr::Strings(Vec::new()),
                    Attr::Tensor(_) => Attr::Tensors(Vec::new()),
                    _ => Attr::Ints(Vec::new()),
                };
            }
            match (&mut list, item) {
                (Attr::Ints(items), Attr::Int(item)) => items.push(item),
                (Attr::Floats(items), Attr::Float(item)) => items.push(item),
                (Attr::Strings(items), Attr::String(item)) => items.push(item),
                (Attr::Tensors(items), Attr::Tensor(item)) => items.push(item),
                _ => return Err(p.error(span, ParseErrorKind::MixedList)),
            }
            Ok(())
        })?;
        Ok(list)
    }
}
