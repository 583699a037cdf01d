//! Steps a decoder: what it gives as present goes back in as past, one token at a time.
//!
//! Finds by name and shape which outputs feed which inputs, what counts positions and what masks them. The next token
//! is the most likely one, so a run depends on nothing but the model and the first tokens. Refuses to time anything.

use crate::inputs::{self, DrawOptions, Role};
use crate::sizes::Sizes;
use crate::{Error, Model, Session};
use fusebox_ir::{DType, Dim, Graph, Tensor, TensorType, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tokens of the first step when their number is not given.
const DEFAULT_PROMPT: i64 = 16;

/// How an input changes from step to step.
enum Feed {
    /// The tokens.
    Ids,
    /// What output `present` gave one step before.
    Past { present: usize },
    /// Keeps what the first step was given.
    Fixed,
    /// The number that hides nothing, at every position.
    Mask(i64),
    /// Positions of the tokens.
    Positions,
}

/// A decoder about to take its next step.
pub struct Decoder<'a> {
    session: &'a Session,
    names: Vec<String>,
    types: Vec<TensorType>,
    feeds: Vec<Feed>,
    logits: usize,
    sizes: Sizes,
    growing: Vec<Arc<str>>,
    tokens: Arc<str>,
    values: Vec<Tensor>,
    past: usize,
}

impl<'a> Decoder<'a> {
    /// Finds the cache of a model and draws the first tokens. Sizes that are not given are chosen: a batch of one, 16
    /// tokens, nothing in the past.
    ///
    /// # Errors
    /// A model without a cache that grows, or inputs that cannot be drawn.
    pub fn new(model: &Model, session: &'a Session, given: &Sizes, seed: u64) -> Result<Self, Error> {
        let graph = &model.graph;
        let inputs: Vec<ValueId> =
            graph.inputs.iter().copied().filter(|id| graph.value(*id).constant.is_none()).collect();
        let names: Vec<String> = inputs.iter().map(|id| graph.value(*id).name.clone()).collect();
        let no_cache = |reason: &str| Error::NoCache { reason: reason.into() };
        let ty = |id: &ValueId| graph.value(*id).ty.tensor().cloned();
        let types: Vec<TensorType> =
            inputs.iter().map(ty).collect::<Option<_>>().ok_or_else(|| no_cache("an input is no tensor"))?;
        let pairs = pairs(graph, &inputs);
        if pairs.is_empty() {
            return Err(no_cache("no output is the present of an input that is its past"));
        }
        let ids = tokens_input(graph, &inputs).ok_or_else(|| no_cache("no input takes tokens"))?;
        let tokens =
            symbol_of(&types[ids], 1).ok_or_else(|| no_cache("the number of tokens of a step is fixed"))?;
        let growing = growing(&types, &pairs, &types[ids]);
        if growing.is_empty() {
            return Err(no_cache("no dim of the past is free to grow"));
        }
        let mut sizes = given.clone();
        sizes.entry(tokens.clone()).or_insert(DEFAULT_PROMPT);
        growing.iter().for_each(|name| {
            sizes.entry(name.clone()).or_insert(0);
        });
        let drawn = inputs::generate(model, &DrawOptions { seed, sizes, ..DrawOptions::default() })?;
        let feeds = drawn.list.iter().enumerate().map(|(index, input)| {
            if index == ids {
                return Feed::Ids;
            }
            if let Some((_, present)) = pairs.iter().find(|(past, _)| *past == index) {
                return Feed::Past { present: *present };
            }
            let moves =
                types[index].shape.iter().flatten().any(|dim| {
                    dim.symbols().iter().any(|s| *s == tokens || growing.contains(s) || is_total(s))
                });
            match &input.role {
                _ if !moves => Feed::Fixed,
                Role::Positions { .. } => Feed::Positions,
                Role::Mask { keep, .. } => Feed::Mask(*keep),
                _ if input.name.contains("pos") => Feed::Positions,
                _ => Feed::Mask(1),
            }
        });
        let feeds = feeds.collect();
        let past = growing.first().map_or(0, |name| drawn.sizes[name]);
        let past = usize::try_from(past).unwrap_or(0);
        let logits = logits(graph, &pairs).ok_or_else(|| no_cache("no output gives logits"))?;
        let values = drawn.list.into_iter().map(|input| input.tensor).collect();
        Ok(Self { session, names, types, feeds, logits, sizes: drawn.sizes, growing, tokens, values, past })
    }

    /// Tokens that the next step takes, and positions before them.
    pub fn position(&self) -> (usize, usize) {
        (usize::try_from(self.sizes[&self.tokens]).unwrap_or(0), self.past)
    }

    /// The tokens that the next step takes.
    pub fn tokens(&self) -> Vec<i64> {
        let ids = self.feeds.iter().position(|feed| matches!(feed, Feed::Ids));
        ids.and_then(|index| self.values[index].integers()).unwrap_or_default()
    }

    /// What the next step will be fed, by name.
    pub fn feeds(&self) -> Vec<(&str, Tensor)> {
        self.names.iter().map(String::as_str).zip(self.values.iter().cloned()).collect()
    }

    /// Takes one step and returns the most likely next token of each sample.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn step(&mut self) -> Result<Vec<i64>, Error> {
        let outputs = self.session.run(&self.feeds())?;
        let next = most_likely(&outputs[self.logits].1)?;
        let (tokens, past) = self.position();
        self.past = past + tokens;
        let ahead = i64::try_from(self.past).unwrap_or(i64::MAX);
        self.sizes.insert(self.tokens.clone(), 1);
        for name in &self.growing {
            self.sizes.insert(name.clone(), ahead);
        }
        let totals: Vec<Arc<str>> = self.sizes.keys().filter(|name| is_total(name)).cloned().collect();
        for name in totals {
            self.sizes.insert(name, ahead + 1);
        }
        let mut values = Vec::with_capacity(self.values.len());
        for (index, feed) in self.feeds.iter().enumerate() {
            values.push(match feed {
                Feed::Ids => self.filled(index, &|sample| next.get(sample).copied().unwrap_or(0))?,
                Feed::Past { present } => outputs[*present].1.clone(),
                Feed::Fixed => self.values[index].clone(),
                Feed::Mask(keep) => self.filled(index, &|_| *keep)?,
                Feed::Positions => self.filled(index, &|_| ahead)?,
            });
        }
        self.values = values;
        Ok(next)
    }

    /// A tensor for input `index` at the current sizes; `value` sees the position in the first axis.
    fn filled(&self, index: usize, value: &dyn Fn(usize) -> i64) -> Result<Tensor, Error> {
        let ty = self.types[index].substitute(&|name| self.sizes.get(name).copied().map(Dim::known));
        let refused = || Error::NotDrawable { name: self.names[index].clone(), ty: ty.to_string() };
        let shape = ty.sizes().ok_or_else(refused)?;
        let count: usize = shape.iter().product();
        let inner = count / shape.first().copied().unwrap_or(1).max(1);
        let elements = (0..count).map(|i| value(i / inner.max(1)));
        let made = match ty.dtype {
            DType::I64 => Tensor::from_vec(shape, elements.collect::<Vec<i64>>()),
            DType::I32 => {
                let narrow = |x: i64| i32::try_from(x).unwrap_or(i32::MAX);
                Tensor::from_vec(shape, elements.map(narrow).collect::<Vec<i32>>())
            }
            DType::Bool => Tensor::from_bools(shape, elements.map(|x| x != 0)),
            DType::F32 => Tensor::from_vec(shape, elements.map(|x| x as f32).collect::<Vec<f32>>()),
            _ => return Err(refused()),
        };
        made.map_err(|_| refused())
    }
}

/// Dims that name past and present together.
fn is_total(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.contains("total") || (lower.contains("past") && lower.contains('+'))
}

fn symbol_of(ty: &TensorType, axis: usize) -> Option<Arc<str>> {
    ty.shape.as_ref()?.get(axis)?.as_symbol().map(Into::into)
}

/// The input that takes tokens: integers of rank 2 that index the largest table, else called so.
fn tokens_input(graph: &Graph, inputs: &[ValueId]) -> Option<usize> {
    let is_tokens = |id: &ValueId| {
        let ty = graph.value(*id).ty.tensor();
        ty.is_some_and(|ty| matches!(ty.dtype, DType::I64 | DType::I32) && ty.rank() == Some(2))
    };
    let named = |part: &str| {
        inputs.iter().position(|id| is_tokens(id) && graph.value(*id).name.to_lowercase().contains(part))
    };
    named("input_ids").or_else(|| named("ids")).or_else(|| named("token"))
}

/// Input and output positions that are one cache: equal names but for the words that say past and present.
fn pairs(graph: &Graph, inputs: &[ValueId]) -> Vec<(usize, usize)> {
    let names: BTreeMap<String, usize> = graph
        .outputs
        .iter()
        .enumerate()
        .filter(|(_, id)| graph.value(**id).name.to_lowercase().contains("present"))
        .map(|(position, id)| (stem(&graph.value(*id).name), position))
        .collect();
    let past = inputs.iter().enumerate().filter(|(_, id)| {
        let name = graph.value(**id).name.to_lowercase();
        name.contains("past") && graph.value(**id).ty.tensor().is_some_and(|ty| ty.dtype.is_float())
    });
    past.filter_map(|(index, id)| Some((index, *names.get(&stem(&graph.value(*id).name))?))).collect()
}

/// A cache's name without past, present and what exporters put beside them.
fn stem(name: &str) -> String {
    let mut name = name.to_lowercase();
    for word in ["past_key_values", "present_key_values", "past_key", "present_key", "past", "present"] {
        // `past_key_0` and `past_value_0` keep what tells them apart.
        let keep = if word.ends_with("_key") { "key" } else { "" };
        if let Some(at) = name.find(word) {
            name.replace_range(at..at + word.len(), keep);
            break;
        }
    }
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

/// Symbols of the past that the tokens do not share.
fn growing(types: &[TensorType], pairs: &[(usize, usize)], ids: &TensorType) -> Vec<Arc<str>> {
    let symbols = |ty: &TensorType| -> Vec<Arc<str>> {
        ty.shape.iter().flatten().filter_map(|dim| dim.as_symbol().map(Arc::from)).collect()
    };
    let shared = symbols(ids);
    let mut found: Vec<Arc<str>> = Vec::new();
    for symbol in pairs.iter().flat_map(|(past, _)| symbols(&types[*past])) {
        if !shared.contains(&symbol) && !found.contains(&symbol) {
            found.push(symbol);
        }
    }
    found
}

/// The output of logits: by name, else the first that is no cache.
fn logits(graph: &Graph, pairs: &[(usize, usize)]) -> Option<usize> {
    let named = graph.outputs.iter().position(|id| graph.value(*id).name.to_lowercase().contains("logits"));
    named.or_else(|| (0..graph.outputs.len()).find(|at| pairs.iter().all(|(_, present)| present != at)))
}

/// The index of the largest logit of the last position, per sample.
fn most_likely(logits: &Tensor) -> Result<Vec<i64>, Error> {
    let wrong = || Error::NoCache { reason: format!("{} are no logits", logits.ty()) };
    let shape = logits.shape();
    let (Some(classes), Some(samples)) = (shape.last().copied(), shape.first().copied()) else {
        return Err(wrong());
    };
    let per_sample: usize = shape[1..].iter().product();
    if classes == 0 || per_sample == 0 {
        return Err(wrong());
    }
    let best = |row: &[f32]| {
        let mut best = 0;
        for (index, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = index;
            }
        }
        best as i64
    };
    let values = logits.elements::<f32>().map_err(|_| wrong())?;
    let last = |sample: usize| {
        let end = (sample + 1) * per_sample;
        best(&values[end - classes..end])
    };
    Ok((0..samples).map(last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_and_present_find_each_other_however_they_are_called() {
        for (past, present) in [
            ("past_key_values.0.key", "present.0.key"),
            ("past_key_values.3.decoder.value", "present.3.decoder.value"),
            ("past_key_0", "present_key_0"),
            ("past_value_1", "present_value_1"),
            ("past_0", "present_0"),
        ] {
            assert_eq!(stem(past), stem(present), "{past}");
        }
        assert_ne!(stem("past_key_0"), stem("present_value_0"));
    }

    #[test]
    fn the_last_position_decides() {
        let logits = Tensor::from_vec(vec![2, 2, 3], vec![9f32, 0., 0., 0., 5., 1., 0., 0., 0., 0., 1., 7.]);
        assert_eq!(most_likely(&logits.unwrap()).unwrap(), [1, 2]);
    }
}
