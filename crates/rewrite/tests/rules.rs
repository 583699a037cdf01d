//! Every built-in rule fires on its examples with equal types on both sides, and both sides compute the same.

use fusebox_ir::{DType, Dim, Graph, Tensor, Type};
use fusebox_ops::{Datum, Interpreter};
use fusebox_rewrite::instance::{Instance, instances, random};
use fusebox_rewrite::{Contract, Kind, Options, RuleSet, optimize};

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

/// Sizes for the symbols of examples.
fn size(symbol: &str) -> i64 {
    match symbol {
        "b" => 2,
        "s" => 3,
        "t" => 5,
        _ => 4,
    }
}

fn concrete(mut instance: Instance) -> (Graph, Vec<Tensor>) {
    let mut inputs = Vec::new();
    for (position, id) in instance.graph.inputs.clone().into_iter().enumerate() {
        let value = instance.graph.value_mut(id);
        let Type::Tensor(ty) = &value.ty else { panic!("examples give tensors") };
        let ty = ty.substitute(&|s| Some(Dim::known(size(s))));
        let sizes = ty.sizes().expect("all symbols have sizes");
        let dtype = ty.dtype;
        value.ty = ty.into();
        inputs.push(
            random(dtype, &sizes, instance.positive[position], 77 + position as u64).expect("generated"),
        );
    }
    (instance.graph, inputs)
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let data: Vec<Option<Datum>> = inputs.iter().cloned().map(|t| Some(Datum::Tensor(t))).collect();
    let outputs = Interpreter::new(&[]).run(graph, &data, &[]).unwrap_or_else(|e| panic!("{e}\n{graph:#?}"));
    outputs.into_iter().map(|d| d.into_tensor().expect("tensor")).collect()
}

#[test]
fn both_sides_compute_the_same() {
    let all = RuleSet::builtin();
    let mut fired = 0;
    for rule in all.iter().filter(|r| r.kind != Kind::Impl) {
        for instance in instances(rule).expect("checked by the test above") {
            let (mut graph, inputs) = concrete(instance);
            fusebox_ops::infer_graph(&mut graph, &[]).unwrap_or_else(|e| panic!("{}: {e}", rule.name));
            let expected = run(&graph, &inputs);
            let mut only = all.clone();
            only.retain(|r| r.name == rule.name);
            let options = Options { prefer_rewritten: true, threads: 1, ..Options::default() };
            let mut new = graph.clone();
            let report =
                optimize(&mut new, &[], &only, &options).unwrap_or_else(|e| panic!("{}: {e}", rule.name));
            fired += usize::from(!report.fired.is_empty());
            let found = run(&new, &inputs);
            for (expected, found) in expected.iter().zip(&found) {
                if expected.dtype() == DType::F32 {
                    assert_eq!(expected.shape(), found.shape(), "{}", rule.name);
                    let worst = difference(expected, found);
                    let bound = if rule.contract == Contract::Exact { 1e-6 } else { 1e-4 };
                    assert!(worst <= bound, "{}: {worst}\n{}", rule.name, text(&new));
                } else {
                    assert_eq!(expected, found, "{}", rule.name);
                }
            }
        }
    }
    assert!(fired > 200, "only {fired} instances show a new node");
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
