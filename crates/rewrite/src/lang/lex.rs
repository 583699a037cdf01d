//! Splits a rule file into tokens. Comments run from `#` to the end of the line; a `#` directly before a digit or `$`
//! is the projection sign. Refuses to know any keyword.

use super::diag::{Result, RuleError, Source, Span};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok {
    /// `name` or `dotted.name`.
    Ident(String),
    /// `?x`.
    Var(String),
    /// `$c`.
    Scalar(String),
    /// `@a`.
    Record(String),
    /// A number; the flag says that it was written without point or exponent.
    Number(f64, bool),
    /// `"text"`.
    Str(String),
    /// Punctuation.
    Sign(&'static str),
    /// End of the file.
    End,
}

impl std::fmt::Display for Tok {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ident(name) => write!(f, "`{name}`"),
            Self::Var(name) => write!(f, "`?{name}`"),
            Self::Scalar(name) => write!(f, "`${name}`"),
            Self::Record(name) => write!(f, "`@{name}`"),
            Self::Number(value, _) => write!(f, "`{value}`"),
            Self::Str(text) => write!(f, "{text:?}"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
            Self::End => f.write_str("the end of the file"),
        }
    }
}

/// Longest first, so that `<=>` is not read as `<=`.
const SIGNS: &[&str] = &[
    "<=>", "=>", "~>", "==", "!=", "<=", ">=", "&&", "||", "++", "..", "(", ")", "[", "]", "{", "}", "|",
    ",", "=", "~", ":", "+", "-", "*", "/", "%", "<", ">", "!", "#",
];

/// Tokens with their places; the last is [`Tok::End`].
///
/// # Errors
/// A character that begins no token, an unfinished string, a number out of range.
pub(crate) fn lex(source: &Source) -> Result<Vec<(Tok, Span)>> {
    let text = &*source.text;
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let next = bytes.get(at + 1).copied().unwrap_or(b' ');
        if byte.is_ascii_whitespace() {
            at += 1;
        } else if byte == b'#' && !(next.is_ascii_digit() || next == b'$') {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else {
            let (token, end) = token(source, at)?;
            tokens.push((token, at..end));
            at = end;
        }
    }
    tokens.push((Tok::End, text.len().saturating_sub(1)..text.len()));
    Ok(tokens)
}

fn word(text: &str, from: usize) -> usize {
    let tail = text.as_bytes()[from..].iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'));
    tail.map_or(text.len(), |n| from + n)
}

fn token(source: &Source, at: usize) -> Result<(Tok, usize)> {
    let text = &*source.text;
    let bytes = text.as_bytes();
    let byte = bytes[at];
    if byte.is_ascii_alphabetic() || byte == b'_' {
        let mut end = word(text, at);
        while bytes.get(end) == Some(&b'.')
            && bytes.get(end + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        {
            end = word(text, end + 1);
        }
        return Ok((Tok::Ident(text[at..end].to_owned()), end));
    }
    if matches!(byte, b'?' | b'$' | b'@') {
        let end = word(text, at + 1);
        let name = text[at + 1..end].to_owned();
        if name.is_empty() {
            let reason = format!("`{}` must be followed by a name", char::from(byte));
            return Err(RuleError::new(source, at..at + 1, reason));
        }
        let token = match byte {
            b'?' => Tok::Var(name),
            b'$' => Tok::Scalar(name),
            _ => Tok::Record(name),
        };
        return Ok((token, end));
    }
    if byte.is_ascii_digit() {
        return number(source, at);
    }
    if byte == b'"' {
        return string(source, at);
    }
    if let Some(sign) = SIGNS.iter().find(|sign| text[at..].starts_with(**sign)) {
        return Ok((Tok::Sign(sign), at + sign.len()));
    }
    let wrong = text[at..].chars().next().unwrap_or(' ');
    let reason = format!("{wrong:?} begins no token");
    Err(RuleError::new(source, at..at + wrong.len_utf8(), reason)
        .help("rules are written in ASCII outside strings and comments"))
}

fn number(source: &Source, at: usize) -> Result<(Tok, usize)> {
    let text = &*source.text;
    let bytes = text.as_bytes();
    let digits = |mut i: usize| {
        while bytes.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        i
    };
    let mut end = digits(at);
    let mut whole = true;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        (whole, end) = (false, digits(end + 1));
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            (whole, end) = (false, digits(end + 1 + sign));
        }
    }
    let value: f64 = text[at..end].parse().unwrap_or(f64::INFINITY);
    if !value.is_finite() || (whole && value.abs() > 9e15) {
        return Err(RuleError::new(source, at..end, "this number is out of range"));
    }
    Ok((Tok::Number(value, whole), end))
}

fn string(source: &Source, at: usize) -> Result<(Tok, usize)> {
    let text = &*source.text;
    let Some(length) = text[at + 1..].find('"') else {
        return Err(RuleError::new(source, at..at + 1, "this string has no end").help("close it with `\"`"));
    };
    let body = text[at + 1..at + 1 + length].split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((Tok::Str(body), at + length + 2))
}
