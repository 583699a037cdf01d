//! Evaluates both sides of a rule by the reference, on its examples with numbers in place of the symbols.
//!
//! A trial finds what is wrong, it does not prove what is right: random elements, and sizes that include 1, because
//! axes of size 1 vanish from shapes and broadcast.

use crate::instance::{self, Instance, random};
use crate::lang::ast::{Contract, Kind};
use crate::lang::diag::RuleError;
use crate::rule::Rule;
use crate::{Options, RuleSet, optimize};
use fusebox_ir::{Dim, Graph, Tensor, Type};
use fusebox_ops::{Datum, Interpreter};

/// Elements of an example's operands that are worth a trial. Examples are small; their sizes are read from a file.
pub(crate) const MAX_ELEMENTS: usize = 1 << 20;

/// Sizes for the symbols b, s and t of examples, and for all others.
const SIZES: [[i64; 4]; 4] = [[2, 3, 5, 4], [1, 3, 5, 4], [2, 1, 1, 4], [1, 1, 1, 1]];

fn size(symbol: &str, sizes: [i64; 4]) -> i64 {
    sizes[["b", "s", "t"].iter().position(|s| *s == symbol).unwrap_or(3)]
}

/// Evaluates both sides of a rule; gives the number of trials in which the rule left something new.
///
/// # Errors
/// An example on which the two sides differ by more than the rule's contract allows.
pub fn check(rule: &Rule) -> Result<usize, Box<RuleError>> {
    if matches!(rule.kind, Kind::Impl) || rule.contract == Contract::Lossy {
        return Ok(0);
    }
    let only = RuleSet::of(rule.clone());
    let mut fired = 0;
    for instance in instance::instances(rule)? {
        for sizes in SIZES {
            for write in [true, false] {
                if !is_small(&instance, sizes) {
                    return Err(wrong(rule, sizes, "the example is too large to be evaluated"));
                }
                let tried = trial(&only, rule, instance.clone(), sizes, write);
                fired += usize::from(tried.map_err(|reason| wrong(rule, sizes, &reason))?);
            }
        }
    }
    Ok(fired)
}

fn is_small(instance: &Instance, sizes: [i64; 4]) -> bool {
    let count = |ty: &Type| {
        let ty = ty.tensor()?.substitute(&|s| Some(Dim::known(size(s, sizes))));
        ty.sizes()?.iter().try_fold(1usize, |count, size| count.checked_mul(*size))
    };
    let inputs = instance.graph.inputs.iter().map(|id| count(&instance.graph.value(*id).ty));
    inputs.flatten().all(|count| count <= MAX_ELEMENTS)
}

fn wrong(rule: &Rule, [b, s, t, other]: [i64; 4], reason: &str) -> Box<RuleError> {
    let start = rule.source.text.find(&rule.text).unwrap_or(0);
    let span = start..start + rule.text.lines().next().map_or(1, str::len);
    let place = format!("at b={b}, s={s}, t={t}, others {other}");
    RuleError::new(&rule.source, span, format!("rule {}: its trial failed {place}: {reason}", rule.name))
        .help("add the guard under which they are equal, or state a weaker contract: `real` or `approx`")
}

/// Whether the rule fired, where the example can be evaluated at these sizes at all.
fn trial(
    only: &RuleSet,
    rule: &Rule,
    instance: Instance,
    sizes: [i64; 4],
    write: bool,
) -> Result<bool, String> {
    let Some((mut graph, inputs)) = concrete(instance, sizes, write) else { return Ok(false) };
    if fusebox_ops::infer_graph(&mut graph, &[]).is_err() {
        return Ok(false);
    }
    let Ok(expected) = run(&graph, &inputs) else { return Ok(false) };
    let options = Options { prefer_rewritten: true, threads: 1, ..Options::default() };
    let mut new = graph.clone();
    let report = optimize(&mut new, &[], only, &options).map_err(|e| e.to_string())?;
    let found = run(&new, &inputs).map_err(|e| format!("the right side cannot be evaluated: {e}"))?;
    for (expected, found) in expected.iter().zip(&found) {
        agree(rule.contract, expected, found)?;
    }
    Ok(!report.fired.is_empty())
}

/// The graph with the sizes written into its inputs, or left to the run, and inputs of these sizes.
fn concrete(mut instance: Instance, sizes: [i64; 4], write: bool) -> Option<(Graph, Vec<Tensor>)> {
    let mut inputs = Vec::new();
    for (position, id) in instance.graph.inputs.clone().into_iter().enumerate() {
        let value = instance.graph.value_mut(id);
        let Type::Tensor(ty) = &value.ty else { return None };
        let ty = ty.substitute(&|s| Some(Dim::known(size(s, sizes))));
        let (dims, dtype) = (ty.sizes()?, ty.dtype);
        if write {
            value.ty = ty.into();
        }
        inputs.push(random(dtype, &dims, instance.positive[position], 77 + position as u64)?);
    }
    Some((instance.graph, inputs))
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let data: Vec<Option<Datum>> = inputs.iter().cloned().map(|t| Some(Datum::Tensor(t))).collect();
    let outputs = Interpreter::new(&[]).run(graph, &data, &[]).map_err(|e| e.to_string())?;
    outputs.into_iter().map(|d| d.into_tensor().map_err(|e| e.to_string())).collect()
}

/// Largest difference that a contract allows, relative to the largest element.
fn bound(contract: Contract) -> f64 {
    match contract {
        Contract::Exact => 0.0,
        Contract::Real => 1e-4,
        _ => 1e-2,
    }
}

fn agree(contract: Contract, left: &Tensor, right: &Tensor) -> Result<(), String> {
    if left.ty() != right.ty() {
        return Err(format!("its two sides differ: {} on the left, {} on the right", left.ty(), right.ty()));
    }
    let (Some(a), Some(b)) = (left.floats(), right.floats()) else {
        return if left == right { Ok(()) } else { Err("its two sides differ in integers".into()) };
    };
    let scale = a.iter().filter(|x| x.is_finite()).fold(1e-3f64, |m, x| m.max(x.abs()));
    let same =
        |x: f64, y: f64| x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= bound(contract) * scale;
    match a.iter().zip(&b).position(|(x, y)| !same(*x, *y)) {
        Some(at) => Err(format!(
            "its two sides differ: element {at} is {:e} on the left and {:e} on the right",
            a[at], b[at]
        )),
        None => Ok(()),
    }
}
