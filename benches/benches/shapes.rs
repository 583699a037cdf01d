//! Figure of dynamic shapes: one session, several shapes, what a new one costs on top of its run, and memory.
//!
//! `cargo bench -p fusebox-benches --bench shapes -- [NAME…]`; without names, `bert_base` and the decoder with a cache.
//! The cost of a new shape is the time of compiling its plan, weights being packed; memory is that of the process,
//! read after every shape was seen once and again after all have been run many times.

use fusebox::inputs::{self, DrawOptions, Inputs};
use fusebox::{Model, OptimizeOptions, Session, SessionOptions, Sizes};
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const MODELS: &[&str] = &["bert_base", "gpt2_base"];
/// Batch and sequence.
const SHAPES: &[(i64, i64)] = &[(1, 16), (4, 128), (2, 511)];
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let named: Vec<&str> = args.iter().map(String::as_str).collect();
    for name in if named.is_empty() { MODELS } else { &named } {
        measure(name)?;
    }
    Ok(())
}

fn measure(name: &str) -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(format!("{name}.onnx"));
    let path = if path.exists() { path } else { PathBuf::from(name) };
    let original = Model::open(&path)?;
    let (model, _) = fusebox::optimize(&original, &OptimizeOptions::default())?;
    drop(original);
    let session = Session::new(&model, SessionOptions::default())?;
    println!("{name}, {} threads", session.threads());
    let feeds: Vec<Inputs> = SHAPES.iter().map(|shape| draw(&model, *shape)).collect::<Result<_, _>>()?;
    // Weights are packed by whatever shape comes first: that is loading, not the cost of a shape.
    session.run(&draw(&model, (1, 8))?.feeds())?;
    for (shape, inputs) in SHAPES.iter().zip(&feeds) {
        let sizes: Vec<Vec<usize>> = inputs.list.iter().map(|i| i.tensor.shape().to_vec()).collect();
        let start = Instant::now();
        session.prepare(&sizes)?;
        let new = start.elapsed();
        session.run(&inputs.feeds())?;
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            session.run(&inputs.feeds())?;
            times.push(start.elapsed());
        }
        times.sort();
        println!("  {shape:?}: new shape {new:.2?}, run {:.2?}", times[ROUNDS / 2]);
    }
    let seen = resident();
    for _ in 0..ROUNDS {
        for inputs in &feeds {
            session.run(&inputs.feeds())?;
        }
    }
    let (plans, arena) = session.footprint();
    println!(
        "  memory {seen} KiB once all were seen, {} KiB later; {plans} plans, arena {arena} bytes",
        resident()
    );
    Ok(())
}

fn draw(model: &Model, (batch, seq): (i64, i64)) -> Result<Inputs, Box<dyn Error>> {
    let mut sizes = Sizes::from([("batch".into(), batch), ("seq".into(), seq)]);
    if fusebox::sizes::symbols(&model.graph).iter().any(|name| &**name == "past_seq") {
        sizes.insert("past_seq".into(), 32);
    }
    Ok(inputs::generate(model, &DrawOptions { sizes, ..DrawOptions::default() })?)
}

/// Physical memory of the process in KiB; 0 where the system does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}
