//! Verification: runs two models on the same inputs and says how far their outputs are apart, and where it began.
//!
//! The first model is always evaluated by the reference, operator by operator; the second by the executor or by the
//! reference. When outputs differ past the tolerance, values inside are compared too: by name, and through the
//! provenance that fused nodes carry.

use crate::inputs::Inputs;
use crate::metrics::{self, Metrics, Tolerance};
use crate::{Error, Model, work};
use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Graph, Tensor, ValueId, diff::SOURCES};
use fusebox_ops::{Datum, Interpreter};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Bytes of intermediate values that the search for the first difference may hold.
const MAX_HELD: usize = 1 << 30;

/// Evaluations that hold fewer bytes are not worth a question to the system.
const WORTH_ASKING: u64 = 256 << 20;

/// What evaluates the second model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The executor with its kernels.
    #[default]
    Executor,
    /// The reference, operator by operator.
    Reference,
}

/// How two models are compared.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions {
    /// Limits.
    pub tolerance: Tolerance,
    /// What evaluates the second model.
    pub engine: Engine,
    /// Worker threads of the executor; 0 means one per core.
    pub threads: usize,
    /// Whether to look for the first intermediate that differs when an output does.
    pub locate: bool,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { tolerance: Tolerance::F32, engine: Engine::Executor, threads: 0, locate: true }
    }
}

/// One output of both models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputComparison {
    /// Name in the first model.
    pub name: String,
    /// Figures; absent when type or shape differ.
    pub metrics: Option<Metrics>,
    /// The limit that is broken, or why there are no figures.
    pub failure: Option<String>,
}

/// An intermediate value of the second model that differs from the first model's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The node of the second model that computes it, as messages name it.
    pub node: String,
    /// The value of the first model that it stands for.
    pub value: String,
    /// The nodes of the first model that the node was made from.
    pub sources: Vec<String>,
    /// What is broken.
    pub failure: String,
    /// Whether the reference of the second model agrees, so that a kernel is at fault and not a rewrite.
    pub only_in_executor: bool,
}

/// How far two models are apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Every output, in the first model's order.
    pub outputs: Vec<OutputComparison>,
    /// The limits.
    pub tolerance: Tolerance,
    /// Where the difference begins, when an output is past the tolerance and the place was found.
    pub first_difference: Option<Difference>,
}

impl Comparison {
    /// Whether every output keeps its limits.
    pub fn passed(&self) -> bool {
        self.outputs.iter().all(|output| output.failure.is_none())
    }

    /// Outputs that hold nothing finite: their agreement says next to nothing.
    pub fn hollow(&self) -> Vec<&str> {
        let hollow = |m: &Metrics| m.elements > 0 && m.finite == 0;
        let outputs = self.outputs.iter().filter(|o| o.metrics.as_ref().is_some_and(hollow));
        outputs.map(|o| o.name.as_str()).collect()
    }

    /// The worst figures over all outputs.
    pub fn worst(&self) -> Option<Metrics> {
        let join = |a: Metrics, b: Metrics| Metrics {
            elements: a.elements + b.elements,
            max_abs: a.max_abs.max(b.max_abs),
            max_rel: a.max_rel.max(b.max_rel),
            cosine: a.cosine.min(b.cosine),
            sqnr_db: a.sqnr_db.min(b.sqnr_db),
            different: a.different + b.different,
            finite: a.finite + b.finite,
            discrete: a.discrete && b.discrete,
        };
        self.outputs.iter().filter_map(|output| output.metrics).reduce(join)
    }
}

/// Evaluates a model by the reference.
///
/// # Errors
/// The node that failed, or an input that does not fit.
pub fn reference(model: &Model, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>, Error> {
    evaluate(model, inputs, None)
}

/// Refuses what would not fit into memory before the first value is computed, not halfway. A single node is asked about
/// when its turn comes.
fn check_memory(model: &Model, inputs: &[Option<Tensor>]) -> Result<(), Error> {
    let needed = work::held_by_reference(model, inputs) as u64;
    if needed < WORTH_ASKING {
        return Ok(());
    }
    let available = fusebox_ops::memory::available();
    if needed <= available { Ok(()) } else { Err(Error::TooLarge { needed, available }) }
}

fn evaluate(
    model: &Model,
    inputs: &[(&str, Tensor)],
    observer: Option<fusebox_ops::interpret::Observer<'_>>,
) -> Result<Vec<Tensor>, Error> {
    let tensors = fusebox_exec::bind::arrange(&model.graph, inputs)?;
    check_memory(model, &tensors)?;
    let data: Vec<Option<Datum>> = tensors.into_iter().map(|t| t.map(Datum::Tensor)).collect();
    let mut interpreter = Interpreter::new(&model.functions);
    if let Some(observer) = observer {
        interpreter = interpreter.observed(observer);
    }
    let outputs = interpreter.run(&model.graph, &data, &[])?;
    Ok(outputs.into_iter().map(joined).collect())
}

/// A tensor as it is; of a sequence all its elements in a row with the sizes of its tensors, so that it compares as one.
fn joined(datum: Datum) -> Tensor {
    if let Datum::Tensor(tensor) = datum {
        return tensor;
    }
    let mut numbers = Vec::new();
    for (_, tensor) in datum.into_tensors("") {
        numbers.extend(tensor.shape().iter().map(|size| *size as f64));
        numbers.extend(metrics::numbers(&tensor).unwrap_or_default());
    }
    Tensor::vector(numbers)
}

/// Compares two models on the same inputs, which are given under the first one's names.
///
/// # Errors
/// Models with other inputs or outputs, or one that cannot be run.
pub fn verify(a: &Model, b: &Model, inputs: &Inputs, options: &CompareOptions) -> Result<Comparison, Error> {
    let feeds = inputs.feeds();
    let expected = reference(a, &feeds)?;
    verify_against(&expected, a, b, inputs, options)
}

/// As [`verify`], with the first model's outputs already at hand.
///
/// # Errors
/// As [`verify`].
pub fn verify_against(
    expected: &[Tensor],
    a: &Model,
    b: &Model,
    inputs: &Inputs,
    options: &CompareOptions,
) -> Result<Comparison, Error> {
    let feeds = inputs.feeds();
    let renamed = inputs_of(a, b, &feeds)?;
    let found = match options.engine {
        Engine::Reference => reference(b, &renamed)?,
        Engine::Executor => {
            let session = Session::new(b, SessionOptions { threads: options.threads, isa: None })?;
            let data: Vec<(&str, Datum)> =
                renamed.iter().map(|(name, tensor)| (*name, Datum::Tensor(tensor.clone()))).collect();
            session.run_data(&data)?.into_iter().map(|(_, datum)| joined(datum)).collect()
        }
    };
    let order = pair_outputs(a, b)?;
    let outputs = order.iter().zip(&a.graph.outputs).zip(expected).map(|((index, id), expected)| {
        let name = a.graph.value(*id).name.clone();
        let found = &found[*index];
        match metrics::compare(expected, found) {
            Ok(metrics) => {
                let failure = options.tolerance.broken_by(&metrics);
                OutputComparison { name, metrics: Some(metrics), failure }
            }
            Err(failure) => OutputComparison { name, metrics: None, failure: Some(failure) },
        }
    });
    let outputs: Vec<OutputComparison> = outputs.collect();
    let mut comparison = Comparison { outputs, tolerance: options.tolerance, first_difference: None };
    if !comparison.passed() && options.locate {
        comparison.first_difference = locate(a, b, &feeds, &renamed, options);
    }
    Ok(comparison)
}

/// The feeds under the second model's names.
fn inputs_of<'b>(
    a: &Model,
    b: &'b Model,
    feeds: &[(&'b str, Tensor)],
) -> Result<Vec<(&'b str, Tensor)>, Error> {
    let names = |model: &'b Model| -> Vec<&'b str> {
        model.graph.inputs.iter().map(|id| model.graph.value(*id).name.as_str()).collect()
    };
    let theirs = names(b);
    if feeds.iter().all(|(name, _)| theirs.contains(name)) {
        return Ok(feeds.to_vec());
    }
    let ours: Vec<&str> = a.graph.inputs.iter().map(|id| a.graph.value(*id).name.as_str()).collect();
    if ours.len() != theirs.len() {
        let reason =
            format!("the inputs are {} in one and {} in the other", ours.join(", "), theirs.join(", "));
        return Err(Error::Incomparable { reason });
    }
    let position = |name: &str| ours.iter().position(|other| *other == name);
    let renamed: Vec<(&str, Tensor)> =
        feeds.iter().filter_map(|(name, tensor)| Some((theirs[position(name)?], tensor.clone()))).collect();
    check_ranks(b, &renamed)?;
    Ok(renamed)
}

/// Inputs that were paired by position must at least be of the same kind.
fn check_ranks(b: &Model, renamed: &[(&str, Tensor)]) -> Result<(), Error> {
    for id in &b.graph.inputs {
        let value = b.graph.value(*id);
        let Some((_, tensor)) = renamed.iter().find(|(name, _)| *name == value.name) else { continue };
        let alike = value.ty.tensor().is_none_or(|ty| {
            ty.dtype == tensor.dtype() && ty.rank().is_none_or(|rank| rank == tensor.shape().len())
        });
        if !alike {
            let reason = format!(
                "an input is {} in one and {:?}, {}, in the other",
                tensor.ty(),
                value.name,
                value.ty
            );
            return Err(Error::Incomparable { reason });
        }
    }
    Ok(())
}

/// For each output of `a`, the position of its counterpart in `b`: by name, else by position.
fn pair_outputs(a: &Model, b: &Model) -> Result<Vec<usize>, Error> {
    let names = |model: &Model| -> Vec<String> {
        model.graph.outputs.iter().map(|id| model.graph.value(*id).name.clone()).collect()
    };
    let (ours, theirs) = (names(a), names(b));
    let by_name: Option<Vec<usize>> =
        ours.iter().map(|name| theirs.iter().position(|other| other == name)).collect();
    match by_name {
        Some(order) if ours.len() == theirs.len() => Ok(order),
        None if ours.len() == theirs.len() => Ok((0..ours.len()).collect()),
        _ => {
            let reason =
                format!("the outputs are {} in one and {} in the other", ours.join(", "), theirs.join(", "));
            Err(Error::Incomparable { reason })
        }
    }
}

/// Values of a run by name, and by the node that computes them.
struct Held {
    by_name: BTreeMap<String, Tensor>,
    by_node: BTreeMap<String, String>,
}

fn hold(model: &Model, feeds: &[(&str, Tensor)]) -> Result<Held, Error> {
    let held = RefCell::new((BTreeMap::new(), 0usize));
    let keep = |graph: &Graph, id: ValueId, datum: &Datum| {
        let (name, Datum::Tensor(tensor)) = (&graph.value(id).name, datum) else { return };
        let mut held = held.borrow_mut();
        if !name.is_empty() && held.1 + tensor.data().len() <= MAX_HELD {
            held.1 += tensor.data().len();
            held.0.insert(name.clone(), tensor.clone());
        }
    };
    evaluate(model, feeds, Some(&keep))?;
    let mut by_node = BTreeMap::new();
    for (_, node) in model.graph.nodes() {
        if let Some(value) = node.output(0) {
            by_node.insert(node.name.clone(), model.graph.value(value).name.clone());
        }
    }
    Ok(Held { by_name: held.into_inner().0, by_node })
}

/// The first node of `b`, in the order of evaluation, whose value differs from the one it stands for in `a`.
fn locate(
    a: &Model,
    b: &Model,
    feeds: &[(&str, Tensor)],
    renamed: &[(&str, Tensor)],
    options: &CompareOptions,
) -> Option<Difference> {
    let before = hold(a, feeds).ok()?;
    let after = hold(b, renamed).ok()?;
    if let Some(found) = first_difference(&before, &after.by_name, b, options, false) {
        return Some(found);
    }
    if options.engine == Engine::Reference {
        return None;
    }
    // The rewrite is right, so a kernel is wrong: every value becomes an output, to see them all.
    let mut open = b.clone();
    let values: Vec<ValueId> =
        open.graph.nodes().flat_map(|(_, n)| n.outputs.iter().flatten().copied()).collect();
    let known: Vec<ValueId> = open.graph.outputs.clone();
    let named = |id: &ValueId| !b.graph.value(*id).name.is_empty() && !known.contains(id);
    open.graph.outputs.extend(values.into_iter().filter(named));
    let session = Session::new(&open, SessionOptions { threads: options.threads, isa: None }).ok()?;
    let values: BTreeMap<String, Tensor> = session.run(renamed).ok()?.into_iter().collect();
    first_difference(&before, &values, b, options, true)
}

fn first_difference(
    before: &Held,
    after: &BTreeMap<String, Tensor>,
    b: &Model,
    options: &CompareOptions,
    only_in_executor: bool,
) -> Option<Difference> {
    for id in b.graph.topological().ok()? {
        let node = b.graph.node(id);
        let sources: Vec<String> = node
            .metadata(SOURCES)
            .map(|list| list.split(';').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect())
            .unwrap_or_default();
        for value in node.outputs.iter().flatten() {
            let name = &b.graph.value(*value).name;
            let stands_for = match before.by_name.contains_key(name) {
                true => Some(name),
                false => sources.last().and_then(|source| before.by_node.get(source)),
            };
            let Some(stands_for) = stands_for else { continue };
            let (Some(expected), Some(found)) = (before.by_name.get(stands_for), after.get(name)) else {
                continue;
            };
            // Another shape is another value: provenance was only a guess there.
            let Ok(metrics) = metrics::compare(expected, found) else { continue };
            if let Some(failure) = options.tolerance.broken_by(&metrics) {
                let (node, value) = (b.graph.describe(id), stands_for.clone());
                return Some(Difference { node, value, sources, failure, only_in_executor });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{DrawOptions, generate};
    use fusebox_ir::{Builder, DType, TensorType};

    /// `|x + 1| * scale`, names as an exporter gives them.
    fn model(scale: f32, one: f32) -> Model {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::known(DType::F32, &[2, 8]));
        let (one, scale) = (b.f32(one), b.f32(scale));
        let sum = b.op("Add", &[x, one]);
        let abs = b.op("Abs", &[sum]);
        let y = b.op("Mul", &[abs, scale]);
        let mut graph = b.finish(&[y]);
        for (value, name) in [(sum, "sum"), (abs, "abs"), (y, "y")] {
            graph.value_mut(value).name = name.into();
        }
        fusebox_ir::Model { graph, ..fusebox_ir::Model::default() }.into()
    }

    fn compare(b: &Model, engine: Engine) -> Comparison {
        let a = model(2.0, 1.0);
        let inputs = generate(&a, &DrawOptions::default()).unwrap();
        verify(&a, b, &inputs, &CompareOptions { engine, ..CompareOptions::default() }).unwrap()
    }

    #[test]
    fn a_model_agrees_with_itself_by_either_engine() {
        for engine in [Engine::Reference, Engine::Executor] {
            let comparison = compare(&model(2.0, 1.0), engine);
            assert!(comparison.passed() && comparison.first_difference.is_none());
        }
    }

    #[test]
    fn the_first_value_that_differs_is_named() {
        let comparison = compare(&model(2.0, 1.5), Engine::Executor);
        assert!(!comparison.passed());
        let first = comparison.first_difference.unwrap();
        assert_eq!((first.value.as_str(), first.only_in_executor), ("sum", false));
    }

    #[test]
    fn models_with_other_interfaces_are_not_compared() {
        let mut other = model(2.0, 1.0);
        other.graph.outputs.clear();
        let a = model(2.0, 1.0);
        let inputs = generate(&a, &DrawOptions::default()).unwrap();
        let error = verify(&a, &other, &inputs, &CompareOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Incomparable { .. }));
    }
}
