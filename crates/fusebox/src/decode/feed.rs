//! What every input of a decoder is given, step after step.
//!
//! An input is known by its role in the graph where that tells, else by its name; a dim by the symbol it shares with the
//! tokens or with the cache. Refuses to know how outputs and inputs are paired.

use super::pair::is_cross;
use crate::Error;
use crate::inputs::Role;
use fusebox_ir::{DType, Dim, Tensor, TensorType};
use std::sync::Arc;

/// How an input changes from step to step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Feed {
    /// The tokens.
    Ids,
    /// What an output gave one step before.
    Past { output: usize, is_cross: bool },
    /// Keeps what the first step was given.
    Fixed,
    /// What a position is given that is seen, and one that is not.
    Mask { keep: i64, hide: i64 },
    /// Positions of the tokens.
    Positions,
    /// False as long as there is no cache.
    UsesCache,
    /// A number that follows from the position: tokens so far, those of this step included, and less by `less`.
    Count { of: Counted, less: i64 },
}

/// What a scalar input counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Past and present tokens.
    All,
    /// Tokens in the cache.
    Past,
    /// Tokens of this step.
    Step,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// Positions before this step.
    pub(super) past: i64,
    /// Tokens of this step.
    pub(super) tokens: i64,
}

impl Feed {
    /// The feed of an input that is neither tokens nor cache.
    pub(super) fn of(name: &str, ty: &TensorType, role: &Role, moves: bool) -> Self {
        let lower = name.to_lowercase();
        if lower.contains("use_cache") || lower.contains("use_past") {
            return Self::UsesCache;
        }
        if is_cross(&lower) {
            return Self::Fixed;
        }
        let small = ty.rank().is_some_and(|rank| rank <= 1)
            || ty.sizes().is_some_and(|s| s.iter().product::<usize>() == 1);
        if !ty.dtype.is_float() && (small || lower.contains("seqlens")) {
            let count = |of, less| Self::Count { of, less };
            match () {
                () if lower.contains("seqlens") => return count(Counted::All, 1),
                () if lower.contains("total") => return count(Counted::All, 0),
                () if lower.contains("past") || lower.contains("offset") || lower == "start_pos" => {
                    return count(Counted::Past, 0);
                }
                () if lower == "seq_len" || lower == "num_tokens" => return count(Counted::Step, 0),
                () => {}
            }
        }
        let is_position = lower.contains("pos") && !ty.dtype.is_float();
        match role {
            Role::Positions { .. } => Self::Positions,
            _ if is_position => Self::Positions,
            Role::Mask { keep, hide } if moves => Self::Mask { keep: *keep, hide: *hide },
            _ if moves && lower.contains("mask") => Self::Mask { keep: 1, hide: 0 },
            _ => Self::Fixed,
        }
    }

    /// The tensor of a shape for a step; `None` for what does not follow from the position alone, or a type that
    /// cannot hold it. `rows` and `columns` say whether the last two axes are tokens and positions.
    pub(super) fn tensor(&self, ty: DType, shape: &[usize], at: At) -> Option<Tensor> {
        let last = shape.last().copied().unwrap_or(1).max(1);
        let count: usize = shape.iter().product();
        let all = at.past + at.tokens;
        let column = |index: usize| i64::try_from(index % last).unwrap_or(i64::MAX);
        match self {
            Self::Positions => integers(ty, shape, (0..count).map(|i| at.past + column(i))),
            Self::UsesCache => integers(ty, shape, (0..count).map(|_| i64::from(at.past > 0))),
            Self::Count { of, less } => {
                let counted = match of {
                    Counted::All => all,
                    Counted::Past => at.past,
                    Counted::Step => at.tokens,
                };
                integers(ty, shape, (0..count).map(|_| counted - less))
            }
            Self::Mask { keep, hide } => {
                // A mask with a row for every token is causal; what lies beyond the last token of a cache of fixed size
                // is not there yet.
                let rows = if shape.len() >= 3 { shape[shape.len() - 2] } else { 1 };
                let by_token = shape.len() >= 3 && i64::try_from(rows) == Ok(at.tokens);
                let seen = |index: usize| {
                    let row = i64::try_from(index / last % rows.max(1)).unwrap_or(0);
                    let ahead = if by_token { row + 1 } else { at.tokens };
                    let of_tokens = i64::try_from(last) == Ok(at.tokens);
                    column(index) < if of_tokens { ahead } else { at.past + ahead }
                };
                integers(ty, shape, (0..count).map(|i| if seen(i) { *keep } else { *hide }))
            }
            Self::Ids | Self::Past { .. } | Self::Fixed => None,
        }
    }
}

/// Integers as a tensor of a type that holds them.
pub(super) fn integers(dtype: DType, shape: &[usize], elements: impl Iterator<Item = i64>) -> Option<Tensor> {
    let shape = shape.to_vec();
    match dtype {
        DType::I64 => Tensor::from_vec(shape, elements.collect::<Vec<i64>>()),
        DType::I32 => {
            let narrow = |x: i64| i32::try_from(x).unwrap_or(i32::MAX);
            Tensor::from_vec(shape, elements.map(narrow).collect::<Vec<i32>>())
        }
        DType::Bool => Tensor::from_bools(shape, elements.map(|x| x != 0)),
        DType::F32 => Tensor::from_vec(shape, elements.map(|x| x as f32).collect::<Vec<f32>>()),
        DType::F16 => {
            Tensor::from_vec(shape, elements.map(|x| half::f16::from_f32(x as f32)).collect::<Vec<_>>())
        }
        _ => return None,
    }
    .ok()
}

/// The index of the largest logit of the last position, per sample.
pub(super) fn most_likely(logits: &Tensor) -> Result<Vec<i64>, Error> {
    let wrong = || Error::NoCache { reason: format!("{} are no logits", logits.ty()) };
    let shape = logits.shape();
    let (Some(classes), Some(samples)) = (shape.last().copied(), shape.first().copied()) else {
        return Err(wrong());
    };
    let per_sample: usize = shape[1..].iter().product();
    if classes == 0 || per_sample == 0 {
        return Err(wrong());
    }
    let best = |row: &[f64]| {
        let mut best = 0;
        for (index, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = index;
            }
        }
        best as i64
    };
    let values = logits.floats().ok_or_else(wrong)?;
    let last = |sample: usize| {
        let end = (sample + 1) * per_sample;
        best(&values[end - classes..end])
    };
    Ok((0..samples).map(last).collect())
}

/// The symbol that is a whole dim.
pub(super) fn symbol_of(ty: &TensorType, axis: usize) -> Option<Arc<str>> {
    ty.shape.as_ref()?.get(axis)?.as_symbol().map(Into::into)
}

/// Symbols that are whole dims of a type.
pub(super) fn symbols_of(ty: &TensorType) -> Vec<Arc<str>> {
    ty.shape.iter().flatten().filter_map(|dim| Dim::as_symbol(dim).map(Arc::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, dtype: DType, shape: &[usize]) -> Feed {
        let ty = TensorType::known(dtype, shape);
        Feed::of(name, &ty, &Role::Ids { below: 2 }, true)
    }

    #[test]
    fn inputs_are_known_by_what_they_are_called() {
        assert_eq!(of("use_cache_branch", DType::Bool, &[1]), Feed::UsesCache);
        assert_eq!(of("encoder_attention_mask", DType::I64, &[1, 7]), Feed::Fixed);
        assert_eq!(of("attention_mask", DType::I64, &[1, 7]), Feed::Mask { keep: 1, hide: 0 });
        assert_eq!(of("cache_position", DType::I64, &[3]), Feed::Positions);
        assert_eq!(of("position_ids", DType::I64, &[1, 3]), Feed::Positions);
        assert_eq!(of("seqlens_k", DType::I32, &[1]), Feed::Count { of: Counted::All, less: 1 });
        assert_eq!(of("total_sequence_length", DType::I32, &[]), Feed::Count { of: Counted::All, less: 0 });
        assert_eq!(of("past_sequence_length", DType::I64, &[1]), Feed::Count { of: Counted::Past, less: 0 });
    }

    #[test]
    fn feeds_follow_the_position() {
        let at = At { past: 4, tokens: 2 };
        let made =
            |feed: &Feed, shape: &[usize]| feed.tensor(DType::I64, shape, at).unwrap().integers().unwrap();
        assert_eq!(made(&Feed::Positions, &[2, 2]), [4, 5, 4, 5]);
        let mask = Feed::Mask { keep: 1, hide: 0 };
        assert_eq!(made(&mask, &[1, 6]), [1; 6]);
        assert_eq!(made(&mask, &[1, 8]), [1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(made(&mask, &[1, 1, 2, 6]), [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(made(&mask, &[1, 2]), [1, 1]);
        assert_eq!(made(&Feed::UsesCache, &[1]), [1]);
        assert_eq!(made(&Feed::Count { of: Counted::All, less: 1 }, &[1]), [5]);
    }

    #[test]
    fn the_last_position_decides() {
        let logits = Tensor::from_vec(vec![2, 2, 3], vec![9f32, 0., 0., 0., 5., 1., 0., 0., 0., 0., 1., 7.]);
        assert_eq!(most_likely(&logits.unwrap()).unwrap(), [1, 2]);
    }
}
