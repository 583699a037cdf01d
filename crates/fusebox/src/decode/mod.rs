//! Steps a decoder: what it gives as present goes back in as past, one token at a time.
//!
//! `pair` finds which outputs feed which inputs, `feed` what counts positions and what masks them. The next token is
//! the most likely one, so a run depends on nothing but the model and the first tokens. Refuses to time anything.

mod feed;
mod pair;

use crate::inputs::{self, DrawOptions};
use crate::sizes::{self, Sizes};
use crate::{Error, Model, Session};
use feed::{At, Feed, integers, most_likely, symbol_of, symbols_of};
use fusebox_ir::{DType, Dim, Graph, Tensor, TensorType, ValueId};
use fusebox_ops::Datum;
use pair::{Pair, Pairing};
use std::sync::Arc;

/// Tokens of the first step when their number is not given.
const DEFAULT_PROMPT: i64 = 16;

/// A decoder about to take its next step.
pub struct Decoder<'a> {
    session: &'a Session,
    names: Vec<String>,
    types: Vec<TensorType>,
    feeds: Vec<Feed>,
    logits: usize,
    sizes: Sizes,
    /// Symbols that are positions in the cache, and those that are these and the step's tokens together.
    growing: Vec<Arc<str>>,
    totals: Vec<Arc<str>>,
    tokens: Option<Arc<str>>,
    values: Vec<Tensor>,
    at: At,
}

impl<'a> Decoder<'a> {
    /// Finds the cache of a model and draws the first tokens. Sizes that are not given are chosen: a batch of one, 16
    /// tokens, nothing in the past. Caches of fixed size (recurrent states among them) start as zeros.
    ///
    /// # Errors
    /// A model without a cache, parts of one that do not find each other, or inputs that cannot be drawn.
    pub fn new(model: &Model, session: &'a Session, given: &Sizes, seed: u64) -> Result<Self, Error> {
        let graph = &model.graph;
        let inputs: Vec<ValueId> =
            graph.inputs.iter().copied().filter(|id| graph.value(*id).constant.is_none()).collect();
        let names: Vec<String> = inputs.iter().map(|id| graph.value(*id).name.clone()).collect();
        let ty = |id: &ValueId| graph.value(*id).ty.tensor().cloned();
        let types: Vec<TensorType> =
            inputs.iter().map(ty).collect::<Option<_>>().ok_or_else(|| no_cache("an input is no tensor"))?;
        let pairs = paired(pair::pair(graph, &inputs))?;
        let ids = tokens_input(graph, &inputs)?;
        let tokens = symbol_of(&types[ids], 1);
        if tokens.is_none() && types[ids].shape.as_ref().is_none_or(|s| s[1].value() != Some(1)) {
            return Err(no_cache("the number of tokens of a step is fixed"));
        }
        let growing = growing(&types, &pairs, &types[ids]);
        let totals = totals(graph, &growing);
        let mut sizes = same_batch(&names, &types, &pairs, given);
        let prompt = match &tokens {
            Some(tokens) => *sizes.entry(tokens.clone()).or_insert(DEFAULT_PROMPT),
            None => 1,
        };
        let first = growing.iter().find_map(|name| sizes.get(name).copied()).unwrap_or(0);
        growing.iter().for_each(|name| {
            sizes.entry(name.clone()).or_insert(first);
        });
        totals.iter().for_each(|name| {
            sizes.entry(name.clone()).or_insert(first.saturating_add(prompt));
        });
        let drawn = inputs::generate(model, &DrawOptions { seed, sizes, ..DrawOptions::default() })?;
        let moving = |ty: &TensorType| {
            let dims = || ty.shape.iter().flatten();
            let fixed_cache = growing.is_empty() && !ty.dtype.is_float();
            fixed_cache
                || dims().any(|dim| {
                    let is = |s: &Arc<str>| {
                        Some(s) == tokens.as_ref() || growing.contains(s) || totals.contains(s)
                    };
                    dim.symbols().iter().any(is)
                })
        };
        let feeds = drawn.list.iter().enumerate().map(|(index, input)| {
            if index == ids {
                return Feed::Ids;
            }
            match pairs.iter().find(|pair| pair.input == index) {
                Some(pair) => Feed::Past { output: pair.output, is_cross: pair.is_cross },
                None => Feed::of(&input.name, &types[index], &input.role, moving(&types[index])),
            }
        });
        let feeds: Vec<Feed> = feeds.collect();
        let logits = logits(graph, &pairs).ok_or_else(|| no_cache("no output gives logits"))?;
        let values = drawn.list.into_iter().map(|input| input.tensor).collect();
        let at = At { past: first, tokens: prompt };
        let sizes = drawn.sizes;
        let mut decoder =
            Self { session, names, types, feeds, logits, sizes, growing, totals, tokens, values, at };
        decoder.begin()?;
        Ok(decoder)
    }

    /// Replaces what was drawn at random by what a first step is given.
    fn begin(&mut self) -> Result<(), Error> {
        for index in 0..self.feeds.len() {
            match &self.feeds[index] {
                Feed::Ids | Feed::Fixed => {}
                // A cache of fixed size has nothing in it yet.
                Feed::Past { is_cross: false, .. } if self.growing.is_empty() => {
                    let drawn = &self.values[index];
                    let bytes = vec![0u8; drawn.data().len()];
                    let zeros = Tensor::from_bytes(drawn.dtype(), drawn.shape().to_vec(), bytes.into());
                    self.values[index] = zeros.map_err(|_| self.refused(index))?;
                }
                Feed::Past { .. } => {}
                feed => {
                    let drawn = &self.values[index];
                    let made = feed.tensor(drawn.dtype(), drawn.shape(), self.at);
                    self.values[index] = made.ok_or_else(|| self.refused(index))?;
                }
            }
        }
        Ok(())
    }

    /// Tokens that the next step takes, and positions before them.
    pub fn position(&self) -> (usize, usize) {
        (usize::try_from(self.at.tokens).unwrap_or(0), usize::try_from(self.at.past).unwrap_or(0))
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
        let feeds: Vec<(&str, Datum)> =
            self.feeds().into_iter().map(|(name, tensor)| (name, Datum::Tensor(tensor))).collect();
        // One tensor for each output: a sequence has no place in a cache.
        let tensor = |(name, datum): (String, Datum)| Ok((name, datum.into_tensor()?));
        let outputs: Vec<(String, Tensor)> =
            self.session.run_data(&feeds)?.into_iter().map(tensor).collect::<Result<_, Error>>()?;
        let next = most_likely(&outputs[self.logits].1)?;
        self.at = At { past: self.at.past + self.at.tokens, tokens: 1 };
        if let Some(tokens) = &self.tokens {
            self.sizes.insert(tokens.clone(), 1);
        }
        for name in &self.growing {
            self.sizes.insert(name.clone(), self.at.past);
        }
        for name in &self.totals {
            self.sizes.insert(name.clone(), self.at.past + 1);
        }
        let mut values = Vec::with_capacity(self.values.len());
        for (index, feed) in self.feeds.iter().enumerate() {
            let before = &self.values[index];
            let refused = || self.refused(index);
            values.push(match feed {
                Feed::Ids => {
                    let shape = self.shape(index)?;
                    let inner = shape.iter().skip(1).product::<usize>().max(1);
                    let count = shape.iter().product();
                    let token = |i: usize| next.get(i / inner).copied().unwrap_or(0);
                    integers(self.types[index].dtype, &shape, (0..count).map(token)).ok_or_else(refused)?
                }
                // A branch that reuses what the encoder gave has nothing new of it to give: the first stays.
                Feed::Past { output, is_cross: true } if outputs[*output].1.is_empty() => before.clone(),
                Feed::Past { output, .. } => outputs[*output].1.clone(),
                Feed::Fixed => before.clone(),
                other => {
                    let made = other.tensor(self.types[index].dtype, &self.shape(index)?, self.at);
                    made.ok_or_else(refused)?
                }
            });
        }
        self.values = values;
        Ok(next)
    }

    /// Shape of an input at the current sizes.
    fn shape(&self, index: usize) -> Result<Vec<usize>, Error> {
        let ty = self.types[index].substitute(&|name| self.sizes.get(name).copied().map(Dim::known));
        ty.sizes().ok_or_else(|| self.refused(index))
    }

    fn refused(&self, index: usize) -> Error {
        Error::NotDrawable { name: self.names[index].clone(), ty: self.types[index].to_string() }
    }
}

fn no_cache(reason: &str) -> Error {
    Error::NoCache { reason: reason.into() }
}

/// The pairs, or what keeps the model from decoding.
fn paired(found: Pairing) -> Result<Vec<Pair>, Error> {
    let listed = |names: &[String]| {
        let shown: Vec<String> = names.iter().take(3).map(|name| format!("{name:?}")).collect();
        let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
        format!("{}{more}", shown.join(", "))
    };
    if found.pairs.is_empty() && found.lonely.is_empty() && !found.unread.is_empty() {
        let reason = format!(
            "it gives a cache ({}) and takes none: it is the first step alone, its twin with past inputs does the others",
            listed(&found.unread)
        );
        return Err(Error::NoCache { reason });
    }
    if !found.lonely.is_empty() {
        let reason = format!("no output is the present of {}", listed(&found.lonely));
        return Err(Error::NoCache { reason });
    }
    if found.pairs.is_empty() {
        return Err(no_cache("no output is the present of an input that is its past"));
    }
    Ok(found.pairs)
}

/// The input that takes tokens: integers of rank 2, by name.
fn tokens_input(graph: &Graph, inputs: &[ValueId]) -> Result<usize, Error> {
    let name = |id: &ValueId| graph.value(*id).name.to_lowercase();
    let is_tokens = |id: &ValueId| {
        let ty = graph.value(*id).ty.tensor();
        ty.is_some_and(|ty| matches!(ty.dtype, DType::I64 | DType::I32) && ty.rank() == Some(2))
    };
    let is_other =
        |id: &ValueId| ["pos", "mask", "type", "encoder_input"].iter().any(|part| name(id).contains(part));
    let named =
        |part: &str| inputs.iter().position(|id| is_tokens(id) && !is_other(id) && name(id).contains(part));
    let found = named("decoder_input_ids").or_else(|| named("input_ids")).or_else(|| named("ids"));
    found.or_else(|| named("token")).or_else(|| named("input")).ok_or_else(|| {
        match inputs.iter().find(|id| name(id).contains("embeds")) {
            Some(id) => no_cache(&format!(
                "{:?} takes vectors, and what makes them of tokens is another model",
                name(id)
            )),
            None => no_cache("no input takes tokens"),
        }
    })
}

/// Symbols of the decoder's own past that the tokens do not share.
fn growing(types: &[TensorType], pairs: &[Pair], ids: &TensorType) -> Vec<Arc<str>> {
    let shared = symbols_of(ids);
    let mut found: Vec<Arc<str>> = Vec::new();
    for pair in pairs.iter().filter(|pair| !pair.is_cross) {
        // The first axis is the batch, under whatever name, where another one is free.
        let symbols = symbols_of(&types[pair.input]);
        let leads = symbol_of(&types[pair.input], 0).filter(|_| symbols.len() > 1);
        for symbol in symbols {
            if !shared.contains(&symbol) && !found.contains(&symbol) && Some(&symbol) != leads.as_ref() {
                found.push(symbol);
            }
        }
    }
    found
}

/// Symbols that count past and present together.
fn totals(graph: &Graph, growing: &[Arc<str>]) -> Vec<Arc<str>> {
    let is_free = |name: &Arc<str>| !growing.contains(name);
    sizes::sums(graph).into_iter().map(|sum| sum.total).filter(is_free).collect()
}

/// The given sizes, with one size for all symbols that lead tokens, masks and caches, and one for those of the encoder:
/// torch.export names a dim anew for every input.
fn same_batch(names: &[String], types: &[TensorType], pairs: &[Pair], given: &Sizes) -> Sizes {
    let mut sizes = given.clone();
    let is_past = |index: usize| pairs.iter().any(|pair| pair.input == index);
    let leads = |index: usize| {
        let name = names[index].to_lowercase();
        let known = ["ids", "mask", "encoder", "embeds"].iter().any(|part| name.contains(part));
        (known || is_past(index)) && types[index].rank().is_some_and(|rank| rank > 1)
    };
    let batch: Vec<Arc<str>> = (0..names.len())
        .filter(|index| leads(*index))
        .filter_map(|index| symbol_of(&types[index], 0))
        .collect();
    let crossed = (0..names.len()).filter(|index| pair::is_cross(&names[*index].to_lowercase()));
    let lengths: Vec<Arc<str>> = crossed
        .flat_map(|index| symbols_of(&types[index]))
        .filter(|symbol| !batch.contains(symbol))
        .collect();
    for same in [batch, lengths] {
        if let Some(size) = same.iter().find_map(|symbol| given.get(symbol).copied()) {
            same.into_iter().for_each(|symbol| {
                sizes.entry(symbol).or_insert(size);
            });
        }
    }
    sizes
}

/// The output of logits: by name, else the first that is no cache.
fn logits(graph: &Graph, pairs: &[Pair]) -> Option<usize> {
    let named = graph.outputs.iter().position(|id| graph.value(*id).name.to_lowercase().contains("logits"));
    named.or_else(|| (0..graph.outputs.len()).find(|at| pairs.iter().all(|pair| pair.output != *at)))
}
