//! Attention throughput as a share of this machine's measured f32 peak, per shape, instruction set and thread count.
//!
//! `cargo bench -p fusebox-benches --bench attention [-- FILTER]`. Counts the two products only (4·B·H·S·T·D
//! operations), so exponentials, packing and masks show as what is missing. Not criterion: its statistics know no peak.
#![allow(missing_docs, reason = "a bench target has no public items")]

use fusebox_benches::step::{Operands, filter, thread_counts};
use fusebox_kernels::Isa;
use fusebox_kernels::attention::{AttentionShape, AttentionSpec, AttentionStep, HeadView, HeadViewMut};
use fusebox_kernels::gemm::Precision;
use fusebox_kernels::probe::measure_peak;

/// (heads, key heads, queries, keys, depth): speech encoder, text encoder, image patches, decoders.
const SHAPES: [(usize, usize, usize, usize, usize); 7] = [
    (6, 6, 1500, 1500, 64),
    (12, 12, 128, 128, 64),
    (12, 12, 50, 50, 64),
    (12, 12, 512, 512, 64),
    (8, 2, 256, 256, 128),
    (8, 8, 1, 512, 32),
    (4, 4, 64, 64, 32),
];

fn main() {
    let filter = filter();
    for threads in thread_counts() {
        let mut peak = 0.0f64;
        for isa in Isa::available().filter(|isa| *isa != Isa::Reference) {
            for (heads, kv_heads, queries, keys, depth) in SHAPES {
                let name = format!("{isa}/H{heads}.{kv_heads} {queries}x{keys}x{depth}/{threads}");
                if !name.contains(&filter) {
                    continue;
                }
                peak = peak.max(measure_peak(Precision::F32, threads));
                let value_depth = depth;
                let shape = AttentionShape { batch: 1, heads, kv_heads, queries, keys, depth, value_depth };
                let (best, median) = time(shape, isa, threads);
                let work = 4.0 * (heads * queries * keys * depth) as f64 / 1e9;
                println!(
                    "{name:<36} {:>9.1} us  best {:>5.1} % of {peak:.0} Gop/s  median {:>5.1} %",
                    median.as_secs_f64() * 1e6,
                    work / best.as_secs_f64() / peak * 100.0,
                    work / median.as_secs_f64() / peak * 100.0,
                );
            }
        }
    }
}

/// Merged `[S, H·D]` operands, as models have them after fusion.
fn time(shape: AttentionShape, isa: Isa, threads: usize) -> (std::time::Duration, std::time::Duration) {
    let AttentionShape { heads, kv_heads, queries, keys, depth, .. } = shape;
    let mut operands = Operands::default();
    let mut view = |heads: usize, rows: usize| {
        let operand = operands.input(rows * heads * depth).into();
        HeadView { operand, offset: 0, batch: rows * heads * depth, head: depth, row: heads * depth }
    };
    let (q, k, v) = (view(heads, queries), view(kv_heads, keys), view(kv_heads, keys));
    let span = operands.output(queries * heads * depth);
    let output =
        HeadViewMut { span, offset: 0, batch: queries * heads * depth, head: depth, row: heads * depth };
    let scratch = operands.output(shape.scratch_bytes().expect("the shape fits").div_ceil(4));
    let spec = AttentionSpec {
        shape,
        scale: (depth as f32).sqrt().recip(),
        softcap: 0.0,
        causal: None,
        nan_to_zero: false,
        mask: None,
        q,
        k,
        v,
        output,
        scratch,
    };
    let step = AttentionStep::new(spec, Some(isa)).expect("the spec is sound");
    operands.time(Box::new(step), threads)
}
