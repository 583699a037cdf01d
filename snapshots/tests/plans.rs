//! Snapshots of the executor's plans: which kernel carries out which nodes, and where in the arena it reads and writes.
//!
//! Made for the portable kernels, so that they are the same on every machine.

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Dim, TensorType, Type};
use fusebox_kernels::Isa;
use fusebox_snapshots::corpus;
use std::fmt::Write;

/// Size of every symbolic dim.
const SIZE: usize = 4;

/// One of each family: products, convolutions, depthwise with squeeze-excitation, attention, tokens to logits.
const MODELS: [&str; 5] = ["medium_mlp", "small_cnn", "efficientnet_block", "digits_vit", "smallmind_small"];

fn place(spans: &[fusebox_kernels::Span]) -> String {
    let each: Vec<String> = spans.iter().map(|s| format!("{}+{}", s.offset, s.len)).collect();
    if each.is_empty() { "-".to_owned() } else { each.join(" ") }
}

fn shown(name: &str) -> String {
    let model = corpus::load(name);
    let (optimized, _) = corpus::optimized(name, &model, 2);
    let options = SessionOptions { threads: 1, isa: Some(Isa::Portable) };
    let session = Session::new(&optimized, options).expect("the portable kernels run everywhere");
    let graph = session.graph();
    let fixed = |ty: &Type| -> Option<TensorType> {
        let ty = ty.tensor()?;
        let size = |dim: &Dim| dim.value().map_or(Some(SIZE), |size| usize::try_from(size).ok());
        let sizes: Vec<usize> = ty.shape.as_ref()?.iter().map(size).collect::<Option<_>>()?;
        Some(TensorType::known(ty.dtype, &sizes))
    };
    let types: Vec<_> = graph.inputs.iter().map(|id| fixed(&graph.value(*id).ty)).collect();
    let print = |plan: Result<&fusebox_exec::Plan, Option<&fusebox_exec::Plan>>| {
        let Ok(plan) = plan else { panic!("every model of the list runs by one plan") };
        let mut text = format!("{name}: arena {} bytes, {} steps\n", plan.arena_bytes(), plan.steps.len());
        for (index, step) in plan.steps.iter().enumerate() {
            let nodes = step.nodes.join(" ");
            let why = step.fallback.as_ref().map_or_else(String::new, |why| format!("; reference: {why}"));
            let (reads, writes) = (place(&step.reads), place(&step.writes));
            writeln!(text, "{index:>3} {} [{nodes}] {reads} -> {writes}{why}", step.kernel)
                .expect("a String takes everything");
        }
        text
    };
    session.with_plan(&types, print).expect("the sizes fit")
}

#[test]
fn plans_of_the_corpus() {
    fusebox_testing::snapshot::settings("plans").bind(|| {
        for name in MODELS {
            insta::assert_snapshot!(name, shown(name));
        }
    });
}
