//! The equation of Einsum: labels of the axes of every operand and of the result.
//!
//! An ellipsis stands for as many labels of its own as the operand has axes left; they align from the back. Parsing
//! gives messages, never panics.

use crate::InferError;

/// A label: a letter's code, or beyond `ELLIPSIS` an axis of the ellipsis counted from the back.
pub type Label = u32;

const ELLIPSIS: Label = 1 << 16;

/// Labels per axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equation {
    /// Of each operand.
    pub operands: Vec<Vec<Label>>,
    /// Of the result.
    pub result: Vec<Label>,
}

fn wrong(equation: &str, reason: &str) -> InferError {
    InferError::shape(format!("equation {equation:?}: {reason}"))
}

/// Letters before and after an ellipsis; `None` after when there is none.
fn term(equation: &str, text: &str) -> Result<(Vec<Label>, Option<Vec<Label>>), InferError> {
    let (before, after) = match text.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    };
    let letters = |part: &str| -> Result<Vec<Label>, InferError> {
        let letter = |c: char| {
            let label = c.is_ascii_alphabetic().then_some(c as Label);
            label.ok_or_else(|| wrong(equation, &format!("{c:?} is not a letter")))
        };
        part.chars().map(letter).collect()
    };
    Ok((letters(before)?, after.map(letters).transpose()?))
}

impl Equation {
    /// Parses an equation for operands of the given ranks.
    ///
    /// # Errors
    /// What does not fit, with the equation.
    pub fn parse(equation: &str, ranks: &[usize]) -> Result<Self, InferError> {
        let plain: String = equation.chars().filter(|c| *c != ' ').collect();
        let (left, right) = match plain.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (plain.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            let reason = format!("it has {} terms for {} inputs", terms.len(), ranks.len());
            return Err(wrong(equation, &reason));
        }
        let mut operands = Vec::new();
        let mut widest = 0;
        for (text, rank) in terms.iter().zip(ranks) {
            let (mut labels, after) = term(equation, text)?;
            let named = labels.len() + after.as_ref().map_or(0, Vec::len);
            if named > *rank || (after.is_none() && named != *rank) {
                let reason = format!("term {text:?} does not fit an input of rank {rank}");
                return Err(wrong(equation, &reason));
            }
            if let Some(after) = after {
                let axes = rank - named;
                widest = widest.max(axes);
                labels.extend((0..axes).rev().map(|from_back| ELLIPSIS + from_back as Label));
                labels.extend(after);
            }
            operands.push(labels);
        }
        let ellipsis = (0..widest).rev().map(|from_back| ELLIPSIS + from_back as Label);
        let result = match right {
            None => ellipsis.chain(once(&operands)).collect(),
            Some(text) => {
                let (mut labels, after) = term(equation, text)?;
                if let Some(after) = after {
                    labels.extend(ellipsis);
                    labels.extend(after);
                }
                labels
            }
        };
        let parsed = Self { operands, result };
        parsed.check(equation)?;
        Ok(parsed)
    }

    fn check(&self, equation: &str) -> Result<(), InferError> {
        for (index, label) in self.result.iter().enumerate() {
            if self.result[..index].contains(label) {
                return Err(wrong(equation, "a letter of the result repeats"));
            }
            if !self.operands.iter().any(|labels| labels.contains(label)) {
                return Err(wrong(equation, "a letter of the result is in no term"));
            }
        }
        Ok(())
    }
}

/// Letters that occur once in all terms, in ASCII order: the result of an equation without an arrow.
fn once(operands: &[Vec<Label>]) -> Vec<Label> {
    let mut all: Vec<Label> = operands.iter().flatten().copied().filter(|label| *label < ELLIPSIS).collect();
    all.sort_unstable();
    let single = |label: &&Label| all.iter().filter(|other| other == label).count() == 1;
    all.iter().filter(single).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<Label> {
        text.chars().map(|c| c as Label).collect()
    }

    #[test]
    fn results_are_given_or_implied() {
        let parsed = Equation::parse("bij, bjk -> bik", &[3, 3]).unwrap();
        assert_eq!(parsed.result, letters("bik"));
        assert_eq!(Equation::parse("ij,jk", &[2, 2]).unwrap().result, letters("ik"));
        assert_eq!(Equation::parse("ii", &[2]).unwrap().result, letters(""));
        let parsed = Equation::parse("...ij,...jk", &[4, 3]).unwrap();
        assert_eq!(parsed.result, [vec![ELLIPSIS + 1, ELLIPSIS], letters("ik")].concat());
        assert_eq!(parsed.operands[1][0], ELLIPSIS);
    }

    #[test]
    fn bad_equations_are_explained() {
        let message =
            |equation: &str, ranks: &[usize]| Equation::parse(equation, ranks).unwrap_err().to_string();
        assert!(message("ij,jk", &[2]).contains("2 terms for 1 inputs"));
        assert!(message("i1", &[2]).contains("'1' is not a letter"));
        assert!(message("ij", &[3]).contains("term \"ij\" does not fit an input of rank 3"));
        assert!(message("ij->ijk", &[2]).contains("in no term"));
        assert!(message("ij->ii", &[2]).contains("repeats"));
    }
}
