//! GEMM throughput as a share of this machine's measured peak, per precision, shape, fusion and thread count.
//!
//! `cargo bench -p fusebox-benches --bench gemm [-- FILTER]`, FILTER a part of a row such as `int8.avx512` or `/1`;
//! `FUSEBOX_KERNEL` forces an instruction set. Shapes of few rows are bound by the bandwidth of their weights.
#![allow(missing_docs, reason = "a bench target has no public items")]

use fusebox_benches::throughput::{Row, Spans, noise, run};
use fusebox_kernels::gemm::{
    Epilogue, GemmSpec, PackedB, Precision, Prologue, Residual, ResidualOrder, Rhs, Source,
};
use fusebox_kernels::math::Activation;
use std::sync::Arc;

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

fn row((m, k, n): (usize, usize, usize), precision: Precision, tail: Tail) -> Row {
    let packed = PackedB::pack(precision, k, n, Source::F32(&noise(k * n)), false).expect("the shape fits");
    let weight_bytes = packed.bytes();
    let mut spans = Spans::default();
    let (a, c, residual) = (spans.next(m * k * 4), spans.next(m * n * 4), spans.next(m * n * 4));
    let mut spec = GemmSpec::new(m, n, k, a, Rhs::Packed(Arc::new(packed)), c);
    match tail {
        Tail::None => {}
        Tail::Gelu => {
            let (bias, activation) = (Some(noise(n).into()), Some(Activation::Gelu));
            spec.epilogue = Epilogue { bias, activation, ..Epilogue::default() };
        }
        Tail::NormBiasResidual => {
            spec.prologue = Prologue::LayerNorm { gamma: None, beta: None, epsilon: 1e-5 };
            let order = ResidualOrder::AfterActivation;
            spec.epilogue.residual = Some(Residual { span: residual, row_stride: n, order });
            spec.epilogue.bias = Some(noise(n).into());
        }
    }
    spec.scratch = Some(spans.next(spec.scratch_bytes()));
    Row {
        label: format!("{m}x{k}x{n} {tail:?}"),
        precision,
        operations: 2.0 * m as f64 * k as f64 * n as f64,
        weight_bytes,
        step: Box::new(spec.build().expect("the spec is sound")),
        arena_len: spans.end,
        input: a,
    }
}

fn main() {
    run(|| {
        let mut rows: Vec<Box<dyn Fn() -> Row>> = Vec::new();
        for precision in Precision::ALL {
            for shape in SHAPES {
                for tail in TAILS {
                    rows.push(Box::new(move || row(shape, precision, tail)));
                }
            }
        }
        rows
    });
}
