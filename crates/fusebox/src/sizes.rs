//! Chooses a size for every symbolic dim of a model's inputs: the caller's, else one that the model accepts.
//!
//! A default is only a first guess: it is typed through the graph, and where that finds a contradiction (a position
//! table that is shorter, a patch grid that is fixed) the next candidate is tried.

use crate::Error;
use fusebox_ir::{Dim, Function, Graph, Model, TensorType, Type, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sizes of symbolic dims by name.
pub type Sizes = BTreeMap<Arc<str>, i64>;

/// Sizes to try for dims that were not given, after the preferred one. The last are for sounds, whose convolutions take
/// in hundreds of samples.
const CANDIDATES: &[i64] = &[128, 64, 32, 16, 8, 4, 2, 1, 224, 256, 512, 1024, 4096, 16384];

/// Preferred sizes for dims that were not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferred {
    /// Of dims that count samples.
    pub batch: i64,
    /// Of all others.
    pub other: i64,
    /// Height and width of images.
    pub image: [i64; 2],
}

impl Default for Preferred {
    /// One sample, images of 224 by 224, 128 of everything else.
    fn default() -> Self {
        Self { batch: 1, other: 128, image: [224, 224] }
    }
}

/// Symbols of the inputs' types in order of appearance.
pub fn symbols(graph: &Graph) -> Vec<Arc<str>> {
    let mut found: Vec<Arc<str>> = Vec::new();
    for id in &graph.inputs {
        let shape = graph.value(*id).ty.tensor().and_then(|ty| ty.shape.as_ref());
        for symbol in shape.into_iter().flatten().flat_map(Dim::symbols) {
            if !found.contains(&symbol) {
                found.push(symbol);
            }
        }
    }
    found
}

/// Sizes of symbols that follow from the types of inputs that are given, in the order of the graph's inputs.
///
/// # Errors
/// A type that contradicts its declaration or another input.
pub fn of_types(model: &Model, types: &[Option<TensorType>]) -> Result<Sizes, Error> {
    Ok(fusebox_exec::bind::bind(&model.graph, types)?)
}

/// Sizes that another model has fixed where `model` has symbols: those of inputs with the same name.
pub fn fixed_by(model: &Model, other: &Model) -> Sizes {
    let shape =
        |model: &Model, id: &ValueId| model.graph.value(*id).ty.tensor().and_then(|ty| ty.shape.clone());
    let mut sizes = Sizes::new();
    for id in &model.graph.inputs {
        let name = &model.graph.value(*id).name;
        let twin = other.graph.inputs.iter().find(|id| other.graph.value(**id).name == *name);
        let (Some(ours), Some(theirs)) = (shape(model, id), twin.and_then(|id| shape(other, id))) else {
            continue;
        };
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if let (Some(symbol), Some(size)) = (ours.as_symbol(), theirs.value()) {
                sizes.insert(symbol.into(), size);
            }
        }
    }
    sizes
}

/// A size for every symbol of the inputs.
///
/// # Errors
/// A given name that no input has, or a negative size.
pub fn choose(model: &Model, given: &Sizes, preferred: Preferred) -> Result<Sizes, Error> {
    let symbols = symbols(&model.graph);
    check(&symbols, given)?;
    let mut tried = None;
    for other in std::iter::once(preferred.other).chain(CANDIDATES.iter().copied()) {
        let sizes = guess(&model.graph, &symbols, given, Preferred { other, ..preferred });
        if is_well_typed(&model.graph, &model.functions, &sizes) {
            return Ok(sizes);
        }
        tried.get_or_insert(sizes);
    }
    // None fits: the first guess, so that running it says what contradicts what.
    Ok(tried.unwrap_or_default())
}

/// Refuses sizes for symbols that do not exist, and sizes below zero.
pub(crate) fn check(symbols: &[Arc<str>], given: &Sizes) -> Result<(), Error> {
    for (name, size) in given {
        if !symbols.contains(name) {
            let known = symbols.iter().map(ToString::to_string).collect();
            return Err(Error::UnknownDim { name: name.to_string(), known });
        }
        if *size < 0 {
            return Err(Error::BadDim { name: name.to_string(), size: *size });
        }
    }
    Ok(())
}

fn guess(graph: &Graph, symbols: &[Arc<str>], given: &Sizes, preferred: Preferred) -> Sizes {
    let mut sizes = given.clone();
    for symbol in symbols {
        if !sizes.contains_key(symbol) {
            sizes.insert(symbol.clone(), guess_one(graph, symbol, preferred));
        }
    }
    for Sum { total, past, now } in sums(graph) {
        if !given.contains_key(&total) {
            let sum = sizes[&past].saturating_add(now.map_or(1, |now| sizes[&now]));
            sizes.insert(total, sum);
        }
    }
    sizes
}

/// A symbol that is the sum of others.
pub(crate) struct Sum {
    /// The sum.
    pub(crate) total: Arc<str>,
    /// Positions in a decoder's cache.
    past: Arc<str>,
    /// Positions of this step; one where they have no symbol.
    now: Option<Arc<str>>,
}

/// Symbols that are the sum of two others, as decoders with a cache have them: positions in all, in the cache, and of
/// this step. A total is called so, or is the last axis of a mask that no other input has.
pub(crate) fn sums(graph: &Graph) -> Vec<Sum> {
    let name = |id: &ValueId| graph.value(*id).name.to_lowercase();
    let shape = |id: &ValueId| graph.value(*id).ty.tensor().and_then(|ty| ty.shape.as_deref()).unwrap_or(&[]);
    let is_other = |id: &ValueId| name(id).contains("encoder") || name(id).contains("cross");
    let own = || graph.inputs.iter().filter(|id| !is_other(id));
    let named = |part: &str| symbols(graph).into_iter().find(|s| s.to_lowercase().contains(part));
    let whole = |dim: Option<&Dim>| dim.and_then(Dim::as_symbol).map(Arc::<str>::from);
    let ids = own().find(|id| name(id).contains("ids") && shape(id).len() == 2);
    let now = ids.and_then(|id| whole(shape(id).last()));
    let cache = own().find(|id| name(id).contains("past") && shape(id).len() > 2);
    let grows = |dim: &&Dim| dim.as_symbol().is_some_and(|s| now.as_deref() != Some(s));
    let past = cache.and_then(|id| whole(shape(id).iter().skip(1).rfind(grows)));
    let Some(past) = past.or_else(|| named("past")) else { return Vec::new() };
    let now = now.or_else(|| {
        symbols(graph)
            .into_iter()
            .find(|s| s.to_lowercase().contains("seq") && !s.contains("total") && *s != past)
    });
    let only_here = |symbol: &str, here: &ValueId| {
        let elsewhere = graph.inputs.iter().filter(|id| *id != here);
        !elsewhere.flat_map(shape).any(|dim| dim.symbols().iter().any(|s| **s == *symbol))
    };
    let masks = own().filter(|id| name(id).contains("mask") && shape(id).len() > 1);
    let mut totals: Vec<Arc<str>> = masks
        .filter_map(|id| whole(shape(id).last()).filter(|symbol| only_here(symbol, id)))
        .chain(named("total"))
        .filter(|symbol| *symbol != past && Some(symbol) != now.as_ref())
        .collect();
    totals.dedup();
    totals.into_iter().map(|total| Sum { total, past: past.clone(), now: now.clone() }).collect()
}

fn guess_one(graph: &Graph, symbol: &str, preferred: Preferred) -> i64 {
    let lower = symbol.to_lowercase();
    // Names that also stand for a length.
    let may_be_batch = matches!(&*lower, "n" | "b" | "bs" | "num_samples") && leads(graph, symbol);
    let leads = may_be_batch || only_leads(graph, symbol) || counts_states(graph, symbol);
    if lower.contains("batch") || leads {
        return preferred.batch;
    }
    image_side(graph, symbol).map_or(preferred.other, |side| preferred.image[side])
}

/// Shapes of inputs that are no cache of a decoder: heads are not channels.
fn image_shapes(graph: &Graph) -> impl Iterator<Item = &[Dim]> {
    let images = graph.inputs.iter().filter(|id| !graph.value(**id).name.to_lowercase().contains("past"));
    images.filter_map(|id| graph.value(*id).ty.tensor()?.shape.as_deref())
}

fn shapes(graph: &Graph) -> impl Iterator<Item = &[Dim]> {
    graph.inputs.iter().filter_map(|id| graph.value(*id).ty.tensor()?.shape.as_deref())
}

/// Whether the symbol is the first axis of some input.
fn leads(graph: &Graph, symbol: &str) -> bool {
    shapes(graph).any(|shape| shape.first().is_some_and(|dim| dim.as_symbol() == Some(symbol)))
}

/// Names of what LSTM and GRU carry on, `[layers, batch, hidden]`.
const STATES: &[&str] =
    &["state", "h", "c", "h0", "c0", "h_0", "c_0", "hx", "cx", "hidden", "cell", "initial_h", "initial_c"];

/// Whether the symbol counts the samples of a recurrent layer's state.
fn counts_states(graph: &Graph, symbol: &str) -> bool {
    let states = graph.inputs.iter().filter(|id| STATES.contains(&&*graph.value(**id).name.to_lowercase()));
    states.filter_map(|id| graph.value(*id).ty.tensor()?.shape.as_deref()).any(|shape| match shape {
        [layers, batch, hidden] => {
            layers.value().is_some() && batch.as_symbol() == Some(symbol) && hidden.value().is_some()
        }
        _ => false,
    })
}

/// Whether the symbol is the first axis of every input that has it, and another axis follows.
fn only_leads(graph: &Graph, symbol: &str) -> bool {
    let has = |dim: &Dim| dim.symbols().iter().any(|s| **s == *symbol);
    shapes(graph)
        .filter(|shape| shape.iter().any(has))
        .all(|shape| shape.len() > 1 && shape[0].as_symbol() == Some(symbol) && !shape[1..].iter().any(has))
}

/// Which side of an image the symbol is: 0 the height, also where both are called so, 1 the width.
fn image_side(graph: &Graph, symbol: &str) -> Option<usize> {
    image_shapes(graph).find_map(|shape| match shape {
        [_, channels, sides @ ..] if sides.len() == 2 && matches!(channels.value(), Some(1 | 3 | 4)) => {
            sides.iter().position(|dim| dim.as_symbol() == Some(symbol))
        }
        _ => None,
    })
}

/// The graph with symbols replaced by sizes everywhere, types inferred anew.
///
/// # Errors
/// Sizes that contradict each other somewhere in the graph.
pub fn specialize(
    graph: &Graph,
    functions: &[Function],
    sizes: &Sizes,
) -> Result<Graph, fusebox_ops::typing::TypeError> {
    let mut graph = graph.clone();
    substitute(&mut graph, sizes);
    fusebox_ops::infer_graph(&mut graph, functions)?;
    Ok(graph)
}

/// Replaces symbols in the types of a graph: everywhere in its inputs, elsewhere where a dim is nothing but the symbol.
pub fn substitute(graph: &mut Graph, sizes: &Sizes) {
    let size = |name: &str| sizes.get(name).copied().map(Dim::known);
    for index in 0..graph.value_count() {
        let id = ValueId(u32::try_from(index).expect("ids are u32"));
        if let Type::Tensor(ty) = &graph.value(id).ty {
            let is_input = graph.inputs.contains(&id);
            let ty = if is_input { ty.substitute(&size) } else { ty.substitute_symbols(&size) };
            graph.value_mut(id).ty = ty.into();
        }
    }
}

/// As [`substitute`], in a graph whose types were inferred: expressions are right everywhere.
pub fn substitute_typed(graph: &mut Graph, sizes: &Sizes) {
    let size = |name: &str| sizes.get(name).copied().map(Dim::known);
    for index in 0..graph.value_count() {
        let id = ValueId(u32::try_from(index).expect("ids are u32"));
        if let Type::Tensor(ty) = &graph.value(id).ty {
            graph.value_mut(id).ty = ty.substitute(&size).into();
        }
    }
}

fn is_well_typed(graph: &Graph, functions: &[Function], sizes: &Sizes) -> bool {
    specialize(graph, functions, sizes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Builder, DType, Tensor};

    fn model(shape: [Dim; 3], table: Option<usize>) -> Model {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::new(DType::F32, shape));
        let y = match table {
            Some(rows) => {
                let table = b.constant(Tensor::from_vec(vec![1, rows, 4], vec![0f32; rows * 4]).unwrap());
                b.op("Add", &[x, table])
            }
            None => b.op("Erf", &[x]),
        };
        Model { graph: b.finish(&[y]), ..Model::default() }
    }

    fn dims() -> [Dim; 3] {
        [Dim::symbol("batch"), Dim::symbol("seq"), Dim::known(4)]
    }

    #[test]
    fn batch_is_one_and_the_rest_128() {
        let sizes = choose(&model(dims(), None), &Sizes::new(), Preferred::default()).unwrap();
        assert_eq!(sizes, Sizes::from([("batch".into(), 1), ("seq".into(), 128)]));
    }

    #[test]
    fn n_is_a_batch_only_where_it_leads() {
        let sized = |dims| choose(&model(dims, None), &Sizes::new(), Preferred::default()).unwrap()["n"];
        assert_eq!(sized([Dim::symbol("n"), Dim::known(1), Dim::known(4)]), 1);
        assert_eq!(sized([Dim::symbol("batch"), Dim::known(1), Dim::symbol("n")]), 128);
    }

    #[test]
    fn states_of_recurrent_layers_are_as_many_as_samples() {
        let mut b = Builder::new();
        let x = b.input("input", TensorType::new(DType::F32, [Dim::symbol("_0"), Dim::symbol("_1")]));
        b.input("state", TensorType::new(DType::F32, [Dim::known(2), Dim::symbol("_2"), Dim::known(128)]));
        let features = [Dim::known(1), Dim::symbol("_3"), Dim::known(80)];
        b.input("features", TensorType::new(DType::F32, features));
        let y = b.op("Identity", &[x]);
        let model = Model { graph: b.finish(&[y]), ..Model::default() };
        let sizes = choose(&model, &Sizes::new(), Preferred { batch: 2, ..Preferred::default() }).unwrap();
        assert_eq!(["_0", "_1", "_2", "_3"].map(|name| sizes[name]), [2, 128, 2, 128]);
    }

    #[test]
    fn a_size_that_the_model_contradicts_gives_way_to_one_that_fits() {
        let sizes = choose(&model(dims(), Some(32)), &Sizes::new(), Preferred::default()).unwrap();
        assert_eq!(sizes["seq"], 32);
    }

    #[test]
    fn masks_over_past_and_present_are_as_long_as_both() {
        let mut b = Builder::new();
        let of = |names: &[&str]| {
            let dim = |name: &&str| name.parse::<i64>().map_or_else(|_| Dim::symbol(*name), Dim::known);
            names.iter().map(dim).collect::<Vec<Dim>>()
        };
        // torch.export names every dim anew.
        let ids = b.input("input_ids", TensorType::new(DType::I64, of(&["s27", "s63"])));
        b.input("attention_mask", TensorType::new(DType::I64, of(&["s5", "s41"])));
        b.input("past_key_values.0.key", TensorType::new(DType::F32, of(&["s27", "4", "s18", "16"])));
        b.input("encoder_attention_mask", TensorType::new(DType::I64, of(&["s27", "s9"])));
        let y = b.op("Identity", &[ids]);
        let model = Model { graph: b.finish(&[y]), ..Model::default() };
        let sizes =
            choose(&model, &Sizes::new(), Preferred { batch: 2, other: 16, ..Preferred::default() }).unwrap();
        let found = |name: &str| sizes[name];
        assert_eq!(["s27", "s5", "s63", "s18", "s41", "s9"].map(found), [2, 2, 16, 16, 32, 16]);
    }

    #[test]
    fn sizes_fixed_in_another_model_are_taken_over() {
        let fixed = model([Dim::known(2), Dim::symbol("length"), Dim::known(4)], None);
        assert_eq!(fixed_by(&model(dims(), None), &fixed), Sizes::from([("batch".into(), 2)]));
    }

    #[test]
    fn unknown_and_negative_dims_are_refused_by_name() {
        let refuse = |name: &str, size| {
            let given = Sizes::from([(name.into(), size)]);
            choose(&model(dims(), None), &given, Preferred::default()).unwrap_err()
        };
        assert!(matches!(refuse("length", 3), Error::UnknownDim { known, .. } if known == ["batch", "seq"]));
        assert!(matches!(refuse("seq", -1), Error::BadDim { size: -1, .. }));
    }
}
