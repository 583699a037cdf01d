//! Symbolic dimensions: canonical integer polynomials over symbols.
//!
//! Two dims that are equal as polynomials compare equal, hash equal and print alike, so `batch*12*64/12` style chains
//! resolve by construction. Division, min and max that do not resolve become atoms of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// An indivisible factor of a term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Arc<str>),
    FloorDiv(Dim, Dim),
    Mod(Dim, Dim),
    Max(Dim, Dim),
    Min(Dim, Dim),
    /// A product left unexpanded because it would have too many terms.
    Product(Dim, Dim),
}

impl Atom {
    fn is_size(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            Self::Mod(_, b) => b.is_size(),
            Self::Max(a, b) => a.is_size() || b.is_size(),
            Self::FloorDiv(a, b) | Self::Min(a, b) | Self::Product(a, b) => a.is_size() && b.is_size(),
        }
    }
}

/// Terms that a product may have before it is left unexpanded: real models stay under ten.
const MAX_TERMS: usize = 256;

/// Sorted factors; a repeated factor is a power.
type Monomial = Vec<Atom>;

/// An integer expression over symbols, in canonical form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Known(i64),
    /// Non-zero coefficients; never only the constant term.
    Sum(Arc<BTreeMap<Monomial, i64>>),
}

impl Dim {
    /// A known size.
    pub fn known(value: i64) -> Self {
        Self(Repr::Known(value))
    }

    /// A named unknown.
    pub fn symbol(name: impl Into<Arc<str>>) -> Self {
        Self::atom(Atom::Symbol(name.into()))
    }

    fn atom(atom: Atom) -> Self {
        Self(Repr::Sum(Arc::new(BTreeMap::from([(vec![atom], 1)]))))
    }

    /// The size, when it is known.
    pub fn value(&self) -> Option<i64> {
        if let Repr::Known(value) = self.0 { Some(value) } else { None }
    }

    /// The name, when the dim is a bare symbol.
    pub fn as_symbol(&self) -> Option<&str> {
        let Repr::Sum(terms) = &self.0 else { return None };
        match terms.iter().next() {
            Some((factors, 1)) if terms.len() == 1 => match factors.as_slice() {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    fn terms(&self) -> BTreeMap<Monomial, i64> {
        match &self.0 {
            Repr::Known(0) => BTreeMap::new(),
            Repr::Known(value) => BTreeMap::from([(Vec::new(), *value)]),
            Repr::Sum(terms) => (**terms).clone(),
        }
    }

    fn from_terms(mut terms: BTreeMap<Monomial, i64>) -> Self {
        terms.retain(|_, c| *c != 0);
        match terms.len() {
            0 => Self::known(0),
            1 if terms.contains_key(&Vec::new()) => Self::known(terms[&Vec::new()]),
            _ => Self(Repr::Sum(Arc::new(terms))),
        }
    }

    /// Sum. Saturates on overflow, which only absurd files reach.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return Self::known(a.saturating_add(b));
        }
        let mut terms = self.terms();
        for (factors, c) in other.terms() {
            let slot = terms.entry(factors).or_insert(0);
            *slot = slot.saturating_add(c);
        }
        Self::from_terms(terms)
    }

    /// Difference.
    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.mul(&Self::known(-1)))
    }

    /// Product.
    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return Self::known(a.saturating_mul(b));
        }
        let (left, right) = (self.terms(), other.terms());
        if left.len().saturating_mul(right.len()) > MAX_TERMS {
            return Self::atom(Atom::Product(self.clone(), other.clone()));
        }
        let mut terms: BTreeMap<Monomial, i64> = BTreeMap::new();
        for (a, x) in &left {
            for (b, y) in &right {
                let mut factors: Monomial = a.iter().chain(b).cloned().collect();
                factors.sort();
                let slot = terms.entry(factors).or_insert(0);
                *slot = slot.saturating_add(x.saturating_mul(*y));
            }
        }
        Self::from_terms(terms)
    }

    /// Quotient when the division is exact for all values of the symbols.
    pub fn exact_div(&self, other: &Self) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return (a.checked_rem(b) == Some(0)).then(|| Self::known(a / b));
        }
        if self == other {
            return Some(Self::known(1));
        }
        let divisor = other.terms();
        if divisor.len() != 1 {
            return None;
        }
        let (factors, coefficient) = divisor.iter().next()?;
        let mut terms = BTreeMap::new();
        for (monomial, c) in self.terms() {
            let mut rest = monomial;
            for factor in factors {
                rest.remove(rest.iter().position(|x| x == factor)?);
            }
            if c.checked_rem(*coefficient) != Some(0) {
                return None;
            }
            terms.insert(rest, c / coefficient);
        }
        Some(Self::from_terms(terms))
    }

    /// Quotient rounded towards minus infinity. Division by a known zero gives zero.
    #[must_use]
    pub fn floor_div(&self, other: &Self) -> Self {
        match (self.value(), other.value()) {
            (_, Some(0)) => Self::known(0),
            (_, Some(1)) => self.clone(),
            (Some(a), Some(b)) => {
                let quotient = a.checked_div_euclid(b).unwrap_or(i64::MAX);
                Self::known(quotient - i64::from(b < 0 && a.checked_rem_euclid(b).unwrap_or(0) != 0))
            }
            _ => self
                .exact_div(other)
                .unwrap_or_else(|| Self::atom(Atom::FloorDiv(self.clone(), other.clone()))),
        }
    }

    /// Quotient rounded towards plus infinity.
    #[must_use]
    pub fn ceil_div(&self, other: &Self) -> Self {
        if let Some(exact) = self.exact_div(other) {
            return exact;
        }
        self.add(&other.sub(&Self::known(1))).floor_div(other)
    }

    /// Remainder, non-negative for positive divisors.
    #[must_use]
    pub fn modulo(&self, other: &Self) -> Self {
        match (self.value(), other.value()) {
            (Some(a), Some(b)) if b != 0 => Self::known(a.checked_rem_euclid(b).unwrap_or(0)),
            _ if self.exact_div(other).is_some() => Self::known(0),
            _ => Self::atom(Atom::Mod(self.clone(), other.clone())),
        }
    }

    /// Larger of two.
    #[must_use]
    pub fn larger(&self, other: &Self) -> Self {
        match self.compare(other) {
            Some(true) => self.clone(),
            Some(false) => other.clone(),
            None => Self::atom(if self <= other {
                Atom::Max(self.clone(), other.clone())
            } else {
                Atom::Max(other.clone(), self.clone())
            }),
        }
    }

    /// Smaller of two.
    #[must_use]
    pub fn smaller(&self, other: &Self) -> Self {
        match self.compare(other) {
            Some(true) => other.clone(),
            Some(false) => self.clone(),
            None => Self::atom(if self <= other {
                Atom::Min(self.clone(), other.clone())
            } else {
                Atom::Min(other.clone(), self.clone())
            }),
        }
    }

    /// `Some(true)` where `self >= other` for all sizes of the symbols, `Some(false)` where `self <= other`.
    fn compare(&self, other: &Self) -> Option<bool> {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return Some(a >= b);
        }
        // Slices up to min(n, m) meet slices up to n: one bounds the other whatever m is.
        if self.bounds(|atom| matches!(atom, Atom::Max(a, b) if a == other || b == other))
            || other.bounds(|atom| matches!(atom, Atom::Min(a, b) if a == self || b == self))
            || self.sub(other).is_size()
        {
            return Some(true);
        }
        let is_less = self.bounds(|atom| matches!(atom, Atom::Min(a, b) if a == other || b == other))
            || other.bounds(|atom| matches!(atom, Atom::Max(a, b) if a == self || b == self))
            || other.sub(self).is_size();
        is_less.then_some(false)
    }

    /// Whether the expression is a single atom that satisfies `test`.
    fn bounds(&self, test: impl Fn(&Atom) -> bool) -> bool {
        let Repr::Sum(terms) = &self.0 else { return false };
        match terms.iter().next() {
            Some((factors, 1)) if terms.len() == 1 => matches!(factors.as_slice(), [atom] if test(atom)),
            _ => false,
        }
    }

    /// Whether the expression cannot be negative, whatever the sizes that its symbols stand for.
    pub fn is_size(&self) -> bool {
        match &self.0 {
            Repr::Known(value) => *value >= 0,
            Repr::Sum(terms) => terms.iter().all(|(atoms, c)| *c > 0 && atoms.iter().all(Atom::is_size)),
        }
    }

    /// Whether the expression has more than `limit` terms and factors, those inside divisions and bounds included.
    pub fn is_longer_than(&self, limit: usize) -> bool {
        self.shorten(limit).is_none()
    }

    /// What is left of `limit` after the parts of the expression are taken off.
    fn shorten(&self, limit: usize) -> Option<usize> {
        let Repr::Sum(terms) = &self.0 else { return limit.checked_sub(1) };
        let mut left = limit;
        for atom in terms.keys().flatten() {
            left = match atom {
                Atom::Symbol(_) => left.checked_sub(1)?,
                Atom::FloorDiv(a, b)
                | Atom::Mod(a, b)
                | Atom::Max(a, b)
                | Atom::Min(a, b)
                | Atom::Product(a, b) => b.shorten(a.shorten(left)?)?,
            };
        }
        Some(left)
    }

    /// Names of all symbols, in first-use order of the canonical form.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        self.collect(&mut names);
        names
    }

    fn collect(&self, names: &mut Vec<Arc<str>>) {
        let Repr::Sum(terms) = &self.0 else { return };
        for atom in terms.keys().flatten() {
            match atom {
                Atom::Symbol(name) if !names.contains(name) => names.push(name.clone()),
                Atom::Symbol(_) => {}
                Atom::FloorDiv(a, b)
                | Atom::Mod(a, b)
                | Atom::Max(a, b)
                | Atom::Min(a, b)
                | Atom::Product(a, b) => {
                    a.collect(names);
                    b.collect(names);
                }
            }
        }
    }

    /// Replaces symbols by what `binding` gives for them and canonicalises again.
    #[must_use]
    pub fn substitute(&self, binding: &dyn Fn(&str) -> Option<Dim>) -> Self {
        let Repr::Sum(terms) = &self.0 else { return self.clone() };
        let mut sum = Self::known(0);
        for (factors, c) in terms.iter() {
            let product = factors.iter().fold(Self::known(*c), |product, atom| {
                product.mul(&match atom {
                    Atom::Symbol(name) => binding(name).unwrap_or_else(|| Self::symbol(name.clone())),
                    Atom::FloorDiv(a, b) => a.substitute(binding).floor_div(&b.substitute(binding)),
                    Atom::Mod(a, b) => a.substitute(binding).modulo(&b.substitute(binding)),
                    Atom::Max(a, b) => a.substitute(binding).larger(&b.substitute(binding)),
                    Atom::Min(a, b) => a.substitute(binding).smaller(&b.substitute(binding)),
                    Atom::Product(a, b) => a.substitute(binding).mul(&b.substitute(binding)),
                })
            });
            sum = sum.add(&product);
        }
        sum
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Self::known(value)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(name) if is_plain(name) => f.write_str(name),
            Self::Symbol(name) => write!(f, "{name:?}"),
            Self::FloorDiv(a, b) => write!(f, "floordiv({a}, {b})"),
            Self::Mod(a, b) => write!(f, "mod({a}, {b})"),
            Self::Max(a, b) => write!(f, "max({a}, {b})"),
            Self::Min(a, b) => write!(f, "min({a}, {b})"),
            Self::Product(a, b) => write!(f, "mul({a}, {b})"),
        }
    }
}

fn is_plain(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["floordiv", "mod", "max", "min", "mul"].contains(&name)
}

impl fmt::Display for Dim {
    /// `12*batch + seq - 1`: symbols sorted, constant last; names that are not identifiers are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = match &self.0 {
            Repr::Known(value) => return write!(f, "{value}"),
            Repr::Sum(terms) => terms,
        };
        let constant_last =
            terms.iter().filter(|t| !t.0.is_empty()).chain(terms.iter().filter(|t| t.0.is_empty()));
        for (position, (factors, c)) in constant_last.enumerate() {
            let magnitude = c.unsigned_abs();
            f.write_str(match (position, *c < 0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            })?;
            if magnitude != 1 || factors.is_empty() {
                write!(f, "{magnitude}{}", if factors.is_empty() { "" } else { "*" })?;
            }
            for (index, factor) in factors.iter().enumerate() {
                write!(f, "{}{factor}", if index == 0 { "" } else { "*" })?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_polynomials_are_equal() {
        let (b, s) = (Dim::symbol("b"), Dim::symbol("s"));
        let twelve = Dim::known(12);
        assert_eq!(b.mul(&s).mul(&twelve), s.mul(&twelve).mul(&b));
        assert_eq!(b.add(&s).sub(&b), s);
        assert_eq!(b.mul(&twelve).exact_div(&twelve), Some(b.clone()));
        assert_eq!(b.mul(&s).exact_div(&s), Some(b.clone()));
        assert_eq!(b.add(&Dim::known(1)).exact_div(&b), None);
        assert_eq!(b.sub(&b).value(), Some(0));
        assert_eq!(b.mul(&s).mul(&twelve).add(&Dim::known(-1)).to_string(), "12*b*s - 1");
    }

    #[test]
    fn bounds_resolve_where_one_side_is_never_smaller() {
        let (n, m, zero) = (Dim::symbol("n"), Dim::symbol("m"), Dim::known(0));
        let less = n.sub(&Dim::known(1));
        assert_eq!(n.smaller(&less), less);
        assert_eq!(n.larger(&zero), n);
        assert_eq!(zero.smaller(&n), zero);
        assert_eq!(less.larger(&zero).to_string(), "max(0, n - 1)");
        assert_eq!(n.smaller(&m).larger(&n), n);
        assert_eq!(n.smaller(&n.larger(&m)), n);
        assert!(less.larger(&zero).is_size() && !less.is_size());
        assert_eq!(n.smaller(&m).to_string(), "min(m, n)");
    }

    #[test]
    fn the_length_counts_what_is_inside() {
        let n = Dim::symbol("n");
        let mut nested = n.clone();
        for by in [3, 5, 7, 11] {
            nested = nested.floor_div(&Dim::known(by)).add(&nested);
        }
        assert!(nested.is_longer_than(16) && !nested.is_longer_than(200));
        assert!(!n.is_longer_than(1) && n.mul(&n).is_longer_than(1));
    }

    #[test]
    fn division_rounds_and_substitution_resolves() {
        assert_eq!(Dim::known(-7).floor_div(&Dim::known(2)).value(), Some(-4));
        assert_eq!(Dim::known(7).ceil_div(&Dim::known(2)).value(), Some(4));
        let half = Dim::symbol("n").add(&Dim::known(1)).floor_div(&Dim::known(2));
        assert_eq!(half.to_string(), "floordiv(n + 1, 2)");
        assert_eq!(half.substitute(&|_| Some(Dim::known(5))).value(), Some(3));
        assert_eq!(half.symbols(), vec!["n".into()]);
        let lowest = Dim::known(i64::MIN);
        assert_eq!(lowest.floor_div(&Dim::known(-1)).value(), Some(i64::MAX));
        assert_eq!(lowest.mul(&Dim::symbol("n")).exact_div(&Dim::known(-1)), None);
    }
}
