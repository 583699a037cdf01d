//! The text form of graphs and models: deterministic, independent of names and of insertion order, and readable back.
//!
//! ```text
//! graph (%0: f32[batch, 3, 8, 8]) -> (%3) {
//!   %1 = Conv[kernel_shape=[3, 3]](%0, f32[4, 3, 3, 3]{#9f86d081884c7d65}) : f32[batch, 4, 6, 6]
//!   %2, _ = MaxPool[kernel_shape=[2, 2]](%1) : f32[batch, 4, 5, 5]
//!   %3 = ai.fusebox.Linear[activation="gelu"](%2, f32[5, 1]{1, 2.5, -0, inf, nan}, _)
//! }
//! ```
//! Values are numbered in canonical order; `_` is an absent input or output; a constant stands where it is read, with
//! its elements or, beyond [`PrintOptions::inline_limit`], the hash of its content. Regions are nested graphs, their
//! captures written `captures (%0: f32[] = %7)`. Not in the text: doc strings, metadata of values, carried bytes,
//! constants that nothing reads; names only as comments.

mod error;
mod lex;
mod literal;
mod order;
mod parse;
pub(crate) mod print;

pub use error::{ParseError, ParseErrorKind};
pub use order::canonical_order;

use crate::{Attr, Graph, Model, Tensor, TensorType};
use std::collections::BTreeMap;
use std::fmt;

/// How deep regions, types and dims may nest in a text.
pub const MAX_DEPTH: usize = 64;
/// Longest text that is read, in bytes.
pub const MAX_TEXT: usize = 1 << 31;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintOptions {
    /// Constants of more elements than this are written as a hash of their content. `usize::MAX` writes everything.
    pub inline_limit: usize,
    /// Names of nodes and values as trailing comments.
    pub names: bool,
    /// Metadata of nodes, graphs, functions and the model.
    pub metadata: bool,
}

impl Default for PrintOptions {
    fn default() -> Self {
        Self { inline_limit: 8, names: false, metadata: false }
    }
}

impl PrintOptions {
    /// Everything that reading back needs to give an equal graph.
    pub fn complete() -> Self {
        Self { inline_limit: usize::MAX, names: false, metadata: true }
    }
}

/// Writes a graph.
pub fn print(graph: &Graph, options: &PrintOptions) -> String {
    let mut out = String::new();
    print::Writer::new(*options).graph(&mut out, graph, None, 0);
    out.push('\n');
    out
}

/// Writes a model with its opsets and functions.
pub fn print_model(model: &Model, options: &PrintOptions) -> String {
    print::Writer::new(*options).model(model)
}

/// The hash that stands for a large constant.
pub fn short_hash(tensor: &Tensor) -> u64 {
    (tensor.content_hash() >> 64) as u64
}

/// Gives the constants that a text only names by hash. `None`: not known.
pub type ConstantSource<'s> = dyn Fn(&TensorType, u64) -> Option<Tensor> + 's;

/// Constants by [`short_hash`]: a ready source for reading a text back.
#[derive(Clone, Debug, Default)]
pub struct Constants(BTreeMap<u64, Tensor>);

impl Constants {
    /// All constants of a graph: initializers and tensor attributes, also in its regions.
    pub fn of(graph: &Graph) -> Self {
        let mut constants = Self::default();
        constants.collect(graph);
        constants
    }

    fn collect(&mut self, graph: &Graph) {
        graph.values().filter_map(|(_, v)| v.constant.as_ref()).for_each(|tensor| self.add(tensor));
        for (_, node) in graph.nodes() {
            for (_, attr) in node.attrs.iter() {
                match attr {
                    Attr::Tensor(tensor) => self.add(tensor),
                    Attr::Tensors(tensors) => tensors.iter().for_each(|tensor| self.add(tensor)),
                    _ => {}
                }
            }
            node.regions.iter().for_each(|region| self.collect(&region.graph));
        }
    }

    /// Adds one.
    pub fn add(&mut self, tensor: &Tensor) {
        self.0.insert(short_hash(tensor), tensor.clone());
    }

    /// One by its hash.
    pub fn get(&self, hash: u64) -> Option<&Tensor> {
        self.0.get(&hash)
    }
}

/// Reads a graph whose constants are all in the text.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_with(text, &|_, _| None)
}

/// Reads a graph; constants that the text only names by hash come from `source`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse_with(text: &str, source: &ConstantSource<'_>) -> Result<Graph, ParseError> {
    parse::graph(text, source)
}

/// Reads a model; constants that the text only names by hash come from `source`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse_model(text: &str, source: &ConstantSource<'_>) -> Result<Model, ParseError> {
    parse::model(text, source)
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, &PrintOptions::default()))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_model(self, &PrintOptions::default()))
    }
}

impl std::str::FromStr for Graph {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text)
    }
}

#[cfg(test)]
pub(crate) mod tests;
