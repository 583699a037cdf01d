//! GEMM throughput as a share of this machine's measured peak, per precision, shape and thread count.
//!
//! `cargo bench -p fusebox-benches --bench gemm [-- FILTER]`; `FUSEBOX_KERNEL` forces an instruction set. Prints the
//! best and the median of interleaved runs; decode shapes (few rows) also print the bandwidth of their weights, which
//! is what bounds them. Not criterion: its statistics know no peak to compare with.
#![allow(missing_docs, reason = "a bench target has no public items")]

use fusebox_kernels::gemm::{
    Epilogue, GemmSpec, PackedB, Precision, Prologue, Residual, ResidualOrder, Rhs, Source,
};
use fusebox_kernels::math::Activation;
use fusebox_kernels::probe::{measure_bandwidth, measure_peak};
use fusebox_kernels::{Arena, Program, Span, Step, Team};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// (M, K, N): encoders, a square, and decode steps of a small and a larger model.
const SHAPES: [(usize, usize, usize); 10] = [
    (1500, 384, 1536),
    (1500, 1536, 384),
    (1500, 384, 384),
    (128, 768, 3072),
    (128, 3072, 768),
    (50, 768, 2304),
    (512, 512, 512),
    (1, 768, 3072),
    (1, 4096, 4096),
    (4, 768, 3072),
];

const TAILS: [Tail; 3] = [Tail::None, Tail::Gelu, Tail::NormBiasResidual];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tail {
    None,
    Gelu,
    NormBiasResidual,
}

struct Product {
    name: String,
    work: f64,
    weights: usize,
    program: Program,
    arena: Arena,
    times: Vec<Duration>,
}

/// Reproducible values in ±1.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn product((m, k, n): (usize, usize, usize), precision: Precision, tail: Tail) -> Product {
    let packed = PackedB::pack(precision, k, n, Source::F32(&noise(k * n)), false).expect("the shape fits");
    let weights = packed.bytes();
    let span = |offset: usize, floats: usize| Span { offset: offset.next_multiple_of(64), len: floats * 4 };
    let a = span(0, m * k);
    let c = span(a.offset + a.len, m * n);
    let residual = span(c.offset + c.len, m * n);
    let mut spec = GemmSpec::new(m, n, k, a, Rhs::Packed(Arc::new(packed)), c);
    match tail {
        Tail::None => {}
        Tail::Gelu => {
            spec.epilogue = Epilogue {
                bias: Some(noise(n).into()),
                activation: Some(Activation::Gelu),
                ..Epilogue::default()
            }
        }
        Tail::NormBiasResidual => {
            spec.prologue = Prologue::LayerNorm { gamma: None, beta: None, epsilon: 1e-5 };
            let order = ResidualOrder::AfterActivation;
            spec.epilogue.residual = Some(Residual { span: residual, row_stride: n, order });
            spec.epilogue.bias = Some(noise(n).into());
        }
    }
    let scratch = span(residual.offset + residual.len, spec.scratch_bytes().div_ceil(4));
    spec.scratch = Some(scratch);
    let step = spec.build().expect("the spec is sound");
    let name = format!("{:<24} {m:>4}x{k:>4}x{n:>4} {tail:?}", step.name());
    let program =
        Program::new(vec![Box::new(step)], scratch.offset + scratch.len).expect("spans are disjoint");
    let mut arena = Arena::new(program.arena_len());
    for (value, bytes) in noise(m * k).iter().zip(arena.bytes_mut(a).chunks_exact_mut(4)) {
        bytes.copy_from_slice(&value.to_ne_bytes());
    }
    let work = 2.0 * m as f64 * k as f64 * n as f64;
    Product { name, work, weights, program, arena, times: Vec::new() }
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        println!("{threads} threads, memory {:.1} GB/s", measure_bandwidth(threads));
        for precision in Precision::ALL {
            let team = Team::new(threads);
            let mut peak = 0.0f64;
            for (shape, tail) in SHAPES.iter().flat_map(|shape| TAILS.map(|tail| (*shape, tail))) {
                let mut product = product(shape, precision, tail);
                let label = format!("{}/{threads}", product.name);
                if label.contains(&filter) {
                    // The clock moves: measured again before each shape, and the best so far counts.
                    peak = peak.max(measure_peak(precision, threads));
                    measure(&mut product, &team);
                    report(&product, peak);
                }
            }
        }
    }
}

fn measure(product: &mut Product, team: &Team) {
    let start = Instant::now();
    while product.times.len() < 5 || start.elapsed() < Duration::from_millis(120) {
        let start = Instant::now();
        team.run(&product.program, &mut product.arena, None).expect("kernels do not fail");
        product.times.push(start.elapsed());
    }
    product.times.sort_unstable();
}

fn report(product: &Product, peak: f64) {
    let rate = |time: Duration| product.work / time.as_secs_f64() / 1e9;
    let (best, median) = (product.times[0], product.times[product.times.len() / 2]);
    println!(
        "  {:<58} {:>8.1} us  best {:>6.1} % of peak  median {:>6.1} %  {:>7.1} of {peak:.0} Gop/s  weights {:>5.1} GB/s",
        product.name,
        median.as_secs_f64() * 1e6,
        rate(best) / peak * 100.0,
        rate(median) / peak * 100.0,
        rate(median),
        product.weights as f64 / median.as_secs_f64() / 1e9,
    );
}
