//! Cuts the text form into tokens, one at a time, with byte spans.
//!
//! Knows quoting, comments and number shapes; refuses to know the grammar. Never allocates more than a token's bytes
//! and never recurses, so any text costs time and memory linear in its length.

use super::error::{ParseError, ParseErrorKind};
use std::ops::Range;

/// A token and the bytes of the text that it covers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) span: Range<usize>,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'t> {
    /// `[A-Za-z_][A-Za-z0-9_]*`.
    Ident(&'t str),
    /// Digits with optional fraction and exponent, without sign.
    Number(&'t str),
    /// Hex digits after `0x`.
    Hex(&'t str),
    /// Bytes between quotes, unescaped.
    Str(Vec<u8>),
    /// `%` and a number.
    Value(u32),
    /// Hex digits after `#`.
    Hash(&'t str),
    /// `->`.
    Arrow,
    /// One of `()[]{}=:,.*+-@&!?`.
    Punct(char),
    /// End of the text.
    End,
}

impl Kind<'_> {
    /// How messages name the token.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ident(name) => format!("`{name}`"),
            Self::Number(digits) => format!("`{digits}`"),
            Self::Hex(digits) => format!("`0x{digits}`"),
            Self::Str(_) => "a string".into(),
            Self::Value(number) => format!("`%{number}`"),
            Self::Hash(digits) => format!("`#{digits}`"),
            Self::Arrow => "`->`".into(),
            Self::Punct(mark) => format!("`{mark}`"),
            Self::End => "the end of the text".into(),
        }
    }
}

/// Position in the text.
pub(super) struct Lexer<'t> {
    pub(super) text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'t str {
        let start = self.at;
        while self.at < self.text.len() && accept(self.peek(0)) {
            self.at += 1;
        }
        // `accept` takes ASCII only, so both ends are character boundaries.
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(|b| b.is_ascii_whitespace());
            if self.peek(0) != b'/' || self.peek(1) != b'/' {
                return;
            }
            let rest = &self.text[self.at..];
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    fn error(&self, span: Range<usize>, kind: ParseErrorKind) -> ParseError {
        ParseError::new(self.text, span, kind)
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token<'t>, ParseError> {
        self.skip_blanks();
        let start = self.at;
        if start >= self.text.len() {
            return Ok(Token { kind: Kind::End, span: start..start });
        }
        let kind = match self.peek(0) {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                Kind::Ident(self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_'))
            }
            b'0'..=b'9' => self.number(),
            b'"' => Kind::Str(self.string()?),
            b'%' => self.value()?,
            b'#' => {
                self.at += 1;
                Kind::Hash(self.take_while(|b| b.is_ascii_hexdigit()))
            }
            b'-' if self.peek(1) == b'>' => {
                self.at += 2;
                Kind::Arrow
            }
            mark if b"()[]{}=:,.*+-@&!?".contains(&mark) => {
                self.at += 1;
                Kind::Punct(char::from(mark))
            }
            _ => {
                let found = self.text[start..].chars().next().unwrap_or_default();
                let span = start..start + found.len_utf8();
                return Err(self.error(span, ParseErrorKind::Character { found }));
            }
        };
        Ok(Token { kind, span: start..self.at })
    }

    fn number(&mut self) -> Kind<'t> {
        let start = self.at;
        if self.peek(0) == b'0' && self.peek(1) == b'x' {
            self.at += 2;
            return Kind::Hex(self.take_while(|b| b.is_ascii_hexdigit()));
        }
        self.take_while(|b| b.is_ascii_digit());
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            self.at += 1;
            self.take_while(|b| b.is_ascii_digit());
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if matches!(self.peek(0), b'e' | b'E') && self.peek(1 + sign).is_ascii_digit() {
            self.at += 1 + sign;
            self.take_while(|b| b.is_ascii_digit());
        }
        Kind::Number(&self.text[start..self.at])
    }

    fn value(&mut self) -> Result<Kind<'t>, ParseError> {
        let start = self.at;
        self.at += 1;
        let digits = self.take_while(|b| b.is_ascii_digit());
        match digits.parse() {
            Ok(number) => Ok(Kind::Value(number)),
            Err(_) => Err(self.error(start..self.at, ParseErrorKind::ValueNumber)),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let run = &self.text[self.at..];
            let Some(stop) = run.find(['"', '\\']) else {
                return Err(self.error(start..start + 1, ParseErrorKind::OpenString));
            };
            bytes.extend_from_slice(&run.as_bytes()[..stop]);
            self.at += stop + 1;
            if run.as_bytes()[stop] == b'"' {
                return Ok(bytes);
            }
            self.escape(&mut bytes)?;
        }
    }

    /// What follows a backslash: `n t r 0 " \ '`, `xNN` for a byte, `u{…}` for a character.
    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), ParseError> {
        let start = self.at - 1;
        let letter = self.peek(0);
        self.at += usize::from(letter.is_ascii() && self.at < self.text.len());
        let plain = match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'0' => 0,
            b'"' | b'\\' | b'\'' => letter,
            b'x' => {
                let digits = self.text.get(self.at..self.at + 2).unwrap_or_default();
                let byte = u8::from_str_radix(digits, 16)
                    .ok()
                    .filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                self.at += if byte.is_some() { 2 } else { 0 };
                byte.ok_or_else(|| self.error(start..self.at, ParseErrorKind::Escape))?
            }
            b'u' if self.peek(0) == b'{' => {
                self.at += 1;
                let digits = self.take_while(|b| b.is_ascii_hexdigit());
                let found = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                let closed = self.peek(0) == b'}';
                let (Some(found), true) = (found, closed) else {
                    return Err(self.error(start..self.at, ParseErrorKind::Escape));
                };
                self.at += 1;
                bytes.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.error(start..self.at, ParseErrorKind::Escape)),
        };
        bytes.push(plain);
        Ok(())
    }
}
