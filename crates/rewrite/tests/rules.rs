//! Every built-in rule fires on its examples with equal types on both sides, and both sides compute the same.

use fusebox_ir::{DType, Dim, Graph, Tensor, Type};
use fusebox_ops::{Datum, Interpreter};
use fusebox_rewrite::instance::{Instance, instances, random};
use fusebox_rewrite::{Contract, Kind, Options, Rule, RuleSet, optimize};

#[test]
fn examples_fire_and_type() {
    let rules = RuleSet::builtin();
    let failures: Vec<String> = rules
        .iter()
        .filter_map(|r| fusebox_rewrite::instance::check(r).err())
        .map(|e| {
            format!("{e}\n   {}", miette::Diagnostic::help(&*e).map(|h| h.to_string()).unwrap_or_default())
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(rules.len() > 50);
}

/// Sizes for the symbols b, s and t of examples, and for all others. Sizes of 1 vanish from shapes and broadcast:
/// a rule may be right for all others and wrong for them.
const SIZES: [[i64; 4]; 4] = [[2, 3, 5, 4], [1, 3, 5, 4], [2, 1, 1, 4], [1, 1, 1, 1]];

fn size(symbol: &str, sizes: [i64; 4]) -> i64 {
    sizes[["b", "s", "t"].iter().position(|s| *s == symbol).unwrap_or(3)]
}

/// The graph with the sizes written into its inputs, or left to the run, and inputs of these sizes.
fn concrete(mut instance: Instance, sizes: [i64; 4], write: bool) -> (Graph, Vec<Tensor>) {
    let mut inputs = Vec::new();
    for (position, id) in instance.graph.inputs.clone().into_iter().enumerate() {
        let value = instance.graph.value_mut(id);
        let Type::Tensor(ty) = &value.ty else { panic!("examples give tensors") };
        let ty = ty.substitute(&|s| Some(Dim::known(size(s, sizes))));
        let sizes = ty.sizes().expect("all symbols have sizes");
        let dtype = ty.dtype;
        if write {
            value.ty = ty.into();
        }
        inputs.push(
            random(dtype, &sizes, instance.positive[position], 77 + position as u64).expect("generated"),
        );
    }
    (instance.graph, inputs)
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let data: Vec<Option<Datum>> = inputs.iter().cloned().map(|t| Some(Datum::Tensor(t))).collect();
    let outputs = Interpreter::new(&[]).run(graph, &data, &[]).ok()?;
    Some(outputs.into_iter().map(|d| d.into_tensor().expect("tensor")).collect())
}

/// Optimizes by one rule and compares; whether it fired. An example that its own sizes make invalid tells nothing.
fn agrees(all: &RuleSet, rule: &Rule, instance: &Instance, sizes: [i64; 4], write: bool) -> bool {
    let place = || format!("{} at {sizes:?}{}", rule.name, if write { "" } else { ", symbolic" });
    let (mut graph, inputs) = concrete(instance.clone(), sizes, write);
    if fusebox_ops::infer_graph(&mut graph, &[]).is_err() {
        assert!(sizes != SIZES[0], "{}: the example has no types", place());
        return false;
    }
    let Some(expected) = run(&graph, &inputs) else {
        assert!(sizes != SIZES[0], "{}: the example cannot be evaluated", place());
        return false;
    };
    let mut only = all.clone();
    only.retain(|r| r.name == rule.name);
    let options = Options { prefer_rewritten: true, threads: 1, ..Options::default() };
    let mut new = graph.clone();
    let report = optimize(&mut new, &[], &only, &options).unwrap_or_else(|e| panic!("{}: {e}", place()));
    let found = run(&new, &inputs).unwrap_or_else(|| panic!("{}: {}", place(), text(&new)));
    for (expected, found) in expected.iter().zip(&found) {
        if expected.dtype() == DType::F32 {
            assert_eq!(expected.shape(), found.shape(), "{}\n{}", place(), text(&new));
            let worst = difference(expected, found);
            let bound = if rule.contract == Contract::Exact { 1e-6 } else { 1e-4 };
            assert!(worst <= bound, "{}: {worst}\n{}", place(), text(&new));
        } else {
            assert_eq!(expected, found, "{}", place());
        }
    }
    !report.fired.is_empty()
}

#[test]
fn both_sides_compute_the_same() {
    let all = RuleSet::builtin();
    let mut fired = [0; SIZES.len()];
    for rule in all.iter().filter(|r| r.kind != Kind::Impl) {
        for instance in instances(rule).expect("checked by the test above") {
            for (count, sizes) in fired.iter_mut().zip(SIZES) {
                for write in [true, false] {
                    *count += usize::from(agrees(&all, rule, &instance, sizes, write));
                }
            }
        }
    }
    assert!(fired.iter().all(|count| *count > 250), "{fired:?} instances show a new node");
}

fn text(graph: &Graph) -> String {
    fusebox_ir::text::print(graph, &fusebox_ir::text::PrintOptions::default())
}

/// Largest difference relative to the largest element.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.floats().expect("f32"), b.floats().expect("f32"));
    let scale = a.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    a.iter()
        .zip(&b)
        .map(|(x, y)| if x.is_nan() && y.is_nan() { 0.0 } else { (x - y).abs() / scale })
        .fold(0.0, f64::max)
}
