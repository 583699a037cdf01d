//! Whole models of the corpus: load, optimize, prepare and run times, by precision and number of threads.
//!
//! `cargo bench -p fusebox-benches --bench models -- [NAME…] [--profile]`; without names, the four models of the README's
//! table. Times are of this machine at this moment: for comparisons use `benches/peers`, which interleaves both sides.

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{DType, Dim, Graph, Tensor};
use fusebox_quant::{Precision, PrecisionOptions};
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const MODELS: &[&str] = &["whisper_tiny_encoder", "clip_vit_b32", "bert_base", "production_resnet"];
/// Size of every symbolic dim but the batch.
const SEQUENCE: i64 = 128;
const RUNS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let profile = args.iter().any(|a| a == "--profile");
    let named: Vec<&str> = args.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    for name in if named.is_empty() { MODELS } else { &named } {
        for precision in [None, Some(Precision::Int8), Some(Precision::Bf16), Some(Precision::Fp16)] {
            measure(name, precision, profile)?;
        }
    }
    Ok(())
}

fn measure(name: &str, precision: Option<Precision>, profile: bool) -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(format!("{name}.onnx"));
    let mut model = fusebox_onnx::load(&path, &fusebox_onnx::LoadOptions::default())?;
    let start = Instant::now();
    let rules = fusebox_rewrite::RuleSet::builtin();
    fusebox_rewrite::optimize(
        &mut model.graph,
        &model.functions,
        &rules,
        &fusebox_rewrite::Options::default(),
    )?;
    let optimize = start.elapsed();
    if let Some(precision) = precision {
        fusebox_quant::apply(&mut model.graph, &PrecisionOptions::new(precision));
        fusebox_ops::infer_graph(&mut model.graph, &model.functions)?;
    }
    let label = precision.map_or("f32", Precision::name);
    println!("{name} {label}: optimize {optimize:.0?}");
    for threads in [1, 4] {
        let start = Instant::now();
        let session = Session::new(&model, SessionOptions { threads, isa: None })?;
        let inputs = inputs(&model.graph);
        let given: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        session.run(&given)?;
        let first = start.elapsed();
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..RUNS {
            let start = Instant::now();
            session.run(&given)?;
            times.push(start.elapsed());
        }
        times.sort();
        let (least, median) = (times[0], times[RUNS / 2]);
        println!(
            "  {threads} threads: median {median:.2?}, least {least:.2?}; ready after first run {first:.0?}"
        );
        if profile {
            print_profile(&session, &given)?;
        }
    }
    Ok(())
}

fn print_profile(session: &Session, given: &[(&str, Tensor)]) -> Result<(), Box<dyn Error>> {
    let (_, profile) = session.profile(given)?;
    let mut by_kernel: Vec<(String, Duration, usize, f64)> = Vec::new();
    for step in &profile.steps {
        match by_kernel.iter_mut().find(|row| row.0 == step.kernel) {
            Some(row) => {
                row.1 += step.time;
                row.2 += 1;
                row.3 += step.flops;
            }
            None => by_kernel.push((step.kernel.clone(), step.time, 1, step.flops)),
        }
    }
    by_kernel.sort_by_key(|row| std::cmp::Reverse(row.1));
    for (kernel, time, count, flops) in by_kernel {
        let rate = flops / time.as_secs_f64().max(1e-9) / 1e9;
        println!("    {time:>10.1?} {count:>4} x {kernel:<48} {rate:>7.1} Gop/s");
    }
    for step in profile.steps.iter().filter(|s| s.fallback.is_some()) {
        println!("    reference: {:?} {:?}: {:?}", step.nodes, step.time, step.fallback);
    }
    Ok(())
}

/// Token ids, masks of ones and noise: what the corpus models take.
fn inputs(graph: &Graph) -> Vec<(String, Tensor)> {
    let size = |name: &str| Some(Dim::known(if name.contains("batch") { 1 } else { SEQUENCE }));
    let make = |id: &fusebox_ir::ValueId| {
        let value = graph.value(*id);
        let ty = value.ty.tensor().expect("corpus inputs are tensors").substitute(&size);
        let sizes = ty.sizes().expect("every symbol has a size");
        let count: usize = sizes.iter().product();
        let noise = |i: usize| {
            ((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mask = value.name.contains("mask");
        let tensor = match ty.dtype {
            DType::I64 if mask => Tensor::from_vec(sizes, vec![1i64; count]),
            DType::I64 => Tensor::from_vec(sizes, (0..count as i64).map(|i| i % 2).collect()),
            DType::Bool => Tensor::from_bools(sizes, vec![true; count]),
            _ if mask => Tensor::from_vec(sizes, vec![1f32; count]),
            _ => Tensor::from_vec(sizes, (0..count).map(noise).collect()),
        };
        (value.name.clone(), tensor.expect("as many elements as the shape says"))
    };
    graph.inputs.iter().map(make).collect()
}
