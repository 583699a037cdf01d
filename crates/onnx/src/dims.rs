//! Sizes as text: `dim_param` of a file ⇄ symbolic dims.
//!
//! Exporters write names (`batch`) and expressions (`2*s0 + 1`, `s//2`); text that is no expression is a name. Sizes
//! without a name get symbols `_0`, `_1`, …, and symbols of that form are written as unnamed again; a file's own
//! `_0` is held as `__0`. Knows nothing of tensors.

use fusebox_ir::Dim;

/// Longest text that is read as an expression.
const MAX_TEXT: usize = 256;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 24;

/// Reads a `dim_param`.
pub(crate) fn read(text: &str) -> Dim {
    expression(text).unwrap_or_else(|| symbol(text))
}

/// A symbol for an unnamed size.
pub(crate) fn unnamed(number: usize) -> Dim {
    Dim::symbol(format!("_{number}"))
}

/// Text for a dim that is not a known size; `None` is an unnamed size.
pub(crate) fn write(dim: &Dim) -> Option<String> {
    if dim.symbols().iter().any(|name| is_unnamed(name)) {
        return None;
    }
    match dim.as_symbol() {
        Some(name) => Some(unescape(name).to_owned()),
        None => Some(spell(&dim.to_string())),
    }
}

/// Spells functions as exporters do, outside of quoted names.
fn spell(text: &str) -> String {
    let part = |(index, part): (usize, &str)| match index % 2 {
        0 => part.replace("max(", "Max(").replace("min(", "Min("),
        _ => part.to_owned(),
    };
    text.split('"').enumerate().map(part).collect::<Vec<_>>().join("\"")
}

fn is_unnamed(name: &str) -> bool {
    name.strip_prefix('_').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn looks_unnamed(name: &str) -> bool {
    name.starts_with('_') && name.trim_start_matches('_').starts_with(|c: char| c.is_ascii_digit())
}

fn symbol(name: &str) -> Dim {
    if looks_unnamed(name) { Dim::symbol(format!("_{name}")) } else { Dim::symbol(name) }
}

fn unescape(name: &str) -> &str {
    if looks_unnamed(name) && !is_unnamed(name) { &name[1..] } else { name }
}

/// Reads text that has at least one operator and one symbol and is an expression to its end.
fn expression(text: &str) -> Option<Dim> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain || text.len() > MAX_TEXT {
        return None;
    }
    let mut parser = Parser { text, rest: text, depth: 0 };
    let dim = parser.sum()?;
    parser.blank();
    // What resolves to a number or a bare name loses what the file said: keep the text as a name.
    (parser.rest.is_empty() && dim.value().is_none() && dim.as_symbol().is_none()).then_some(dim)
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Whether a blank was just passed.
    fn is_after_blank(&self) -> bool {
        self.text[..self.text.len() - self.rest.len()].ends_with(char::is_whitespace)
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blank();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// `term (('+' | '-') term)*`. A minus between names needs blanks: `seq-len` is a name.
    fn sum(&mut self) -> Option<Dim> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let negative = self.eat("-");
        let mut sum = self.product()?;
        if negative {
            sum = Dim::known(0).sub(&sum);
        }
        loop {
            self.blank();
            let spaced = self.is_after_blank();
            if self.eat("+") {
                sum = sum.add(&self.product()?);
            } else if self.rest.starts_with('-') {
                self.rest = &self.rest[1..];
                let digit = self.rest.starts_with(|c: char| c.is_ascii_digit());
                if !spaced && !digit {
                    return None;
                }
                sum = sum.sub(&self.product()?);
            } else {
                self.depth -= 1;
                return Some(sum);
            }
        }
    }

    /// `power (('*' | '//' | '/' | '%') power)*`, where `/` must divide exactly.
    fn product(&mut self) -> Option<Dim> {
        let mut product = self.power()?;
        loop {
            if self.eat("//") {
                product = self.divisor().map(|by| product.floor_div(&by))?;
            } else if self.eat("/") {
                product = self.divisor().and_then(|by| product.exact_div(&by))?;
            } else if self.eat("%") {
                product = self.divisor().map(|by| product.modulo(&by))?;
            } else if self.eat("*") {
                product = product.mul(&self.power()?);
            } else {
                return Some(product);
            }
        }
    }

    fn divisor(&mut self) -> Option<Dim> {
        self.power().filter(|by| by.value() != Some(0))
    }

    /// `atom ('**' small number)?`
    fn power(&mut self) -> Option<Dim> {
        let base = self.atom()?;
        if !self.eat("**") {
            return Some(base);
        }
        let exponent = self.atom()?.value().filter(|n| (1..=8).contains(n))?;
        Some((1..exponent).fold(base.clone(), |product, _| product.mul(&base)))
    }

    fn atom(&mut self) -> Option<Dim> {
        self.blank();
        if self.eat("(") {
            let inner = self.sum()?;
            return self.eat(")").then_some(inner);
        }
        if self.rest.starts_with('"') {
            return self.quoted().map(|name| Dim::symbol(name.as_str()));
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.parse().ok().map(Dim::known);
        }
        if word.is_empty() {
            return None;
        }
        if self.rest.starts_with('(') { self.call(word) } else { Some(symbol(word)) }
    }

    /// Functions as torch, sympy and our own text spell them.
    fn call(&mut self, name: &str) -> Option<Dim> {
        self.rest = &self.rest[1..];
        if name == "floor" {
            let left = self.power()?;
            let quotient = self.eat("/").then(|| self.divisor())??;
            return self.eat(")").then(|| left.floor_div(&quotient));
        }
        let left = self.sum()?;
        let right = self.eat(",").then(|| self.sum())??;
        if !self.eat(")") {
            return None;
        }
        let divides = right.value() != Some(0);
        match name {
            "floordiv" | "FloorDiv" if divides => Some(left.floor_div(&right)),
            "mod" | "Mod" | "PythonMod" if divides => Some(left.modulo(&right)),
            "max" | "Max" => Some(left.larger(&right)),
            "min" | "Min" => Some(left.smaller(&right)),
            "mul" => Some(left.mul(&right)),
            _ => None,
        }
    }

    /// A name in double quotes, as `Dim` prints names that are no identifiers.
    fn quoted(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut letters = self.rest[1..].char_indices();
        while let Some((index, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[index + 2..];
                    return Some(name);
                }
                '\\' => match letters.next()?.1 {
                    escaped @ ('"' | '\\' | '\'') => name.push(escaped),
                    _ => return None,
                },
                _ => name.push(letter),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        for name in
            ["batch", "batch size", "seq-len", "?", "0", "2*3", "a b*c", "N/2", "_x", "é*2", "s0*(", "\"q\""]
        {
            assert_eq!(read(name).as_symbol(), Some(name), "{name}");
            assert_eq!(write(&read(name)).as_deref(), Some(name));
        }
    }

    #[test]
    fn expressions_become_polynomials() {
        let (s, b) = (Dim::symbol("s0"), Dim::symbol("batch"));
        let two = Dim::known(2);
        assert_eq!(read("2*s0 + 1"), s.mul(&two).add(&Dim::known(1)));
        assert_eq!(read("batch*s0 - 1"), b.mul(&s).sub(&Dim::known(1)));
        assert_eq!(read("batch - s0"), b.sub(&s));
        assert_eq!(read("s0-1"), s.sub(&Dim::known(1)));
        assert_eq!(read("-s0 + batch"), b.sub(&s));
        assert_eq!(read("s0//2"), s.floor_div(&two));
        assert_eq!(read("floor(s0/2)"), s.floor_div(&two));
        assert_eq!(read("(s0 + 1)//2 * batch"), s.add(&Dim::known(1)).floor_div(&two).mul(&b));
        assert_eq!(read("batch*s0**2"), b.mul(&s).mul(&s));
        assert_eq!(read("Max(1, s0 + batch)"), Dim::known(1).larger(&s.add(&b)));
    }

    #[test]
    fn what_is_written_reads_back() {
        let odd = Dim::symbol("a \"b\"");
        let half = odd.mul(&Dim::symbol("s")).add(&Dim::known(3)).floor_div(&Dim::known(4));
        assert_eq!(write(&read("Min(512, seq)")).as_deref(), Some("Min(512, seq)"));
        for dim in [odd.clone(), half.clone(), half.larger(&Dim::symbol("t")).sub(&odd), half.mul(&odd)] {
            assert_eq!(read(&write(&dim).unwrap()), dim, "{dim}");
        }
    }

    #[test]
    fn unnamed_sizes_do_not_meet_the_files_own_names() {
        assert_eq!(write(&unnamed(3)), None);
        assert_eq!(write(&unnamed(3).mul(&Dim::symbol("b"))), None);
        for name in ["_3", "__3", "___3"] {
            assert_ne!(read(name), unnamed(3));
            assert_eq!(write(&read(name)).as_deref(), Some(name));
        }
    }

    #[test]
    fn hostile_text_ends() {
        let deep = "(".repeat(200) + "a" + &")".repeat(50);
        assert!(read(&deep).as_symbol().is_some());
        assert!(read("a // 0").as_symbol().is_some());
        assert!(read("max(a").as_symbol().is_some());
        assert!(read("99999999999999999999*a").as_symbol().is_some());
    }
}
