//! Every micro-kernel, prologue and epilogue against an f64 oracle that reads plain matrices, on every instruction set
//! of the machine, around every tile edge, for 1 to 8 threads with equal bits.

use super::*;
use crate::math::Activation;
use crate::{Arena, Program, Team};
use proptest::prelude::*;
use std::sync::OnceLock;

/// What fills memory that nobody may touch.
const SENTINEL: f32 = 12_345.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Norm {
    None,
    Layer { gamma: bool, beta: bool },
    Rms { gamma: bool },
}

#[derive(Clone, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    /// Sizes of the batch dimensions, and whether B is shared along each.
    batch: Vec<(usize, bool)>,
    precision: Precision,
    /// B as activations, transposed or not.
    dynamic: Option<bool>,
    /// Columns between the rows of A, C and the residual.
    gap: usize,
    norm: Norm,
    alpha: f32,
    bias: bool,
    activation: Option<Activation>,
    residual: Option<ResidualOrder>,
}

impl Case {
    fn plain(m: usize, n: usize, k: usize, precision: Precision) -> Self {
        Self {
            m,
            n,
            k,
            batch: vec![],
            precision,
            dynamic: None,
            gap: 0,
            norm: Norm::None,
            alpha: 1.0,
            bias: false,
            activation: None,
            residual: None,
        }
    }

    fn entries(&self) -> usize {
        self.batch.iter().map(|dim| dim.0).product()
    }

    fn distinct_b(&self) -> usize {
        self.batch.iter().filter(|dim| !dim.1 && self.dynamic.is_some()).map(|dim| dim.0).product()
    }
}

/// Reproducible values in about ±1.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

struct Data {
    a: Vec<f32>,
    b: Vec<f32>,
    residual: Vec<f32>,
    gamma: Arc<[f32]>,
    beta: Arc<[f32]>,
    bias: Arc<[f32]>,
    packed: Option<Arc<PackedB>>,
}

impl Data {
    fn of(case: &Case) -> Self {
        let rows = case.entries() * case.m;
        let b = noise(2, case.distinct_b().max(1) * case.k * case.n);
        let packed = case.dynamic.is_none().then(|| {
            Arc::new(PackedB::pack(case.precision, case.k, case.n, Source::F32(&b), false).unwrap())
        });
        Self {
            a: noise(1, rows * (case.k + case.gap)).iter().map(|x| x * 2.0 + 0.3).collect(),
            residual: noise(3, rows * (case.n + case.gap)),
            gamma: noise(4, case.k).into(),
            beta: noise(5, case.k).into(),
            bias: noise(6, case.n).into(),
            b,
            packed,
        }
    }

    /// B of one distinct matrix as the kernels see it.
    fn weight(&self, case: &Case, matrix: usize, k: usize, n: usize) -> f64 {
        match (&self.packed, case.dynamic) {
            (Some(packed), _) => packed.value(k, n),
            (None, Some(true)) => f64::from(self.b[(matrix * case.n + n) * case.k + k]),
            (None, _) => f64::from(self.b[(matrix * case.k + k) * case.n + n]),
        }
    }
}

/// The row of A after its normalisation, in f64.
fn prepared(case: &Case, data: &Data, row: &[f32]) -> Vec<f64> {
    let x: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
    let count = x.len() as f64;
    let (centre, spread, gamma, beta) = match case.norm {
        Norm::None => return x,
        Norm::Layer { gamma, beta } => {
            let mean = x.iter().sum::<f64>() / count;
            (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count, gamma, beta)
        }
        Norm::Rms { gamma } => (0.0, x.iter().map(|x| x * x).sum::<f64>() / count, gamma, false),
    };
    let factor = 1.0 / (spread + 1e-5).sqrt();
    let at =
        |on: bool, vector: &[f32], i: usize, default: f64| if on { f64::from(vector[i]) } else { default };
    let value = |(i, x): (usize, &f64)| {
        (x - centre) * factor * at(gamma, &data.gamma, i, 1.0) + at(beta, &data.beta, i, 0.0)
    };
    x.iter().enumerate().map(value).collect()
}

/// ONNX DynamicQuantizeLinear in f32, dequantized.
fn quantized(row: &[f64]) -> Vec<f64> {
    let row: Vec<f32> = row.iter().map(|&x| x as f32).collect();
    let (low, high) = row.iter().fold((0.0f32, 0.0f32), |(low, high), &x| (low.min(x), high.max(x)));
    let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let level = |x: f32| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero;
    row.iter().map(|&x| f64::from(level(x)) * f64::from(scale)).collect()
}

/// Exact result and the error that f32 arithmetic (and a flipped rounding of quantization) may make, per element.
fn oracle(case: &Case, data: &Data) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for entry in 0..case.entries() {
        let (mut matrix, mut rest, mut scale) = (0, entry, 1);
        for &(size, shared) in case.batch.iter().rev() {
            if !shared && case.dynamic.is_some() {
                matrix += rest % size * scale;
                scale *= size;
            }
            rest /= size;
        }
        for row in 0..case.m {
            let at = (entry * case.m + row) * (case.k + case.gap);
            let exact = prepared(case, data, &data.a[at..at + case.k]);
            let peak = exact.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
            let (x, flip) = match case.precision {
                Precision::Int8 => {
                    (quantized(&exact), if case.norm == Norm::None { 0.0 } else { peak / 100.0 })
                }
                Precision::Bf16Dot => {
                    let round = |x: &f64| half::bf16::from_f32(*x as f32).to_f64();
                    (
                        exact.iter().map(round).collect(),
                        if case.norm == Norm::None { 0.0 } else { peak / 100.0 },
                    )
                }
                _ => (exact, 0.0),
            };
            for n in 0..case.n {
                out.push(element(case, data, (entry * case.m + row, n), matrix, &x, flip));
            }
        }
    }
    out
}

fn element(case: &Case, data: &Data, at: (usize, usize), matrix: usize, x: &[f64], flip: f64) -> (f64, f64) {
    let (row, n) = at;
    let scale = data.packed.as_ref().and_then(|p| p.scales().get(n)).map_or(1.0, |&s| f64::from(s));
    let products = (0..case.k).map(|k| x[k] * data.weight(case, matrix, k, n) * scale);
    let (sum, magnitude) = products.fold((0.0, 0.0), |(sum, all), p: f64| (sum + p, all + p.abs()));
    // A flipped level moves one product; more than a few at once do not happen.
    let largest = (0..case.k).map(|k| data.weight(case, matrix, k, n).abs() * scale).fold(0.0, f64::max);
    let alpha = f64::from(case.alpha);
    let residual = f64::from(data.residual[row * (case.n + case.gap) + n]);
    let before = alpha * sum
        + if case.bias { f64::from(data.bias[n]) } else { 0.0 }
        + if case.residual == Some(ResidualOrder::BeforeActivation) { residual } else { 0.0 };
    let after = case.activation.map_or(before, |activation| activation.apply_exact(before))
        + if case.residual == Some(ResidualOrder::AfterActivation) { residual } else { 0.0 };
    let slope = 2.0;
    (
        after,
        slope * (alpha.abs() * magnitude * 1e-6 + alpha.abs() * flip * largest * 4.0)
            + 1e-5 * after.abs()
            + 2e-6,
    )
}

fn team(threads: usize) -> &'static Team {
    static TEAMS: OnceLock<Vec<Team>> = OnceLock::new();
    &TEAMS.get_or_init(|| (1..=8).map(|threads| Team::new(threads).unwrap()).collect())[threads - 1]
}

/// Runs a case and returns all of C's memory, gaps included.
fn run(case: &Case, data: &Data, isa: Isa, threads: usize) -> Vec<f32> {
    let mut end = 0;
    let mut span = |len: usize| {
        let span = Span { offset: end, len: len * 4 };
        end = (end + len * 4).next_multiple_of(64);
        span
    };
    let rows = case.entries() * case.m;
    let (a, b) = (span(data.a.len()), span(data.b.len()));
    let (residual, c) = (span(data.residual.len()), span(rows * (case.n + case.gap)));
    let mut spec = GemmSpec::new(
        case.m,
        case.n,
        case.k,
        a,
        match (&data.packed, case.dynamic) {
            (Some(packed), _) => Rhs::Packed(packed.clone()),
            (None, Some(true)) => Rhs::Dynamic { span: b, row_stride: 1, column_stride: case.k },
            (None, _) => Rhs::Dynamic { span: b, row_stride: case.n, column_stride: 1 },
        },
        c,
    );
    spec.a.row_stride = case.k + case.gap;
    spec.c.row_stride = case.n + case.gap;
    let (mut a_stride, mut c_stride, mut b_stride) =
        (case.m * spec.a.row_stride, case.m * spec.c.row_stride, case.k * case.n);
    for &(size, shared) in case.batch.iter().rev() {
        let b = if shared || case.dynamic.is_none() { 0 } else { b_stride };
        spec.batch.insert(0, BatchDim { size, a: a_stride, b, c: c_stride, residual: c_stride });
        (a_stride, c_stride) = (a_stride * size, c_stride * size);
        b_stride *= if b > 0 { size } else { 1 };
    }
    let epsilon = 1e-5;
    spec.prologue = match case.norm {
        Norm::None => Prologue::None,
        Norm::Layer { gamma, beta } => Prologue::LayerNorm {
            gamma: gamma.then(|| data.gamma.clone()),
            beta: beta.then(|| data.beta.clone()),
            epsilon,
        },
        Norm::Rms { gamma } => Prologue::RmsNorm { gamma: gamma.then(|| data.gamma.clone()), epsilon },
    };
    spec.epilogue = Epilogue {
        alpha: case.alpha,
        bias: case.bias.then(|| data.bias.clone()),
        activation: case.activation,
        residual: case.residual.map(|order| Residual {
            span: residual,
            row_stride: case.n + case.gap,
            order,
        }),
    };
    let scratch = Span { offset: end, len: spec.scratch_bytes() };
    spec.scratch = Some(scratch);
    spec.force = Some(isa);
    let step = spec.build().unwrap();
    assert_eq!(
        crate::Step::name(&step).split('.').nth(2),
        Some(isa.name()).filter(|_| covers(case, isa)).or(Some("portable"))
    );
    let program = Program::new(vec![Box::new(step)], scratch.offset + scratch.len).unwrap();
    let mut arena = Arena::new(program.arena_len());
    for (span, values) in [(a, &data.a), (b, &data.b), (residual, &data.residual)] {
        arena.bytes_mut(span).copy_from_slice(bytemuck::cast_slice(values));
    }
    bytemuck::cast_slice_mut::<u8, f32>(arena.bytes_mut(c)).fill(SENTINEL);
    team(threads).run(&program, &mut arena, None).unwrap();
    bytemuck::cast_slice(arena.bytes(c)).to_vec()
}

/// Whether the tables hold a row for the instruction set itself.
fn covers(case: &Case, isa: Isa) -> bool {
    micro::kernels(case.precision).iter().any(|row| row.isa == isa)
}

fn check(case: &Case, threads: usize) {
    let data = Data::of(case);
    let exact = oracle(case, &data);
    let stride = case.n + case.gap;
    for isa in Isa::available() {
        let c = run(case, &data, isa, 1);
        for (at, &got) in c.iter().enumerate() {
            let (row, n) = (at / stride, at % stride);
            if n >= case.n {
                assert_eq!(got, SENTINEL, "{isa} wrote between the rows of {case:?}");
                continue;
            }
            let (expected, tolerance) = exact[row * case.n + n];
            assert!(
                (f64::from(got) - expected).abs() <= tolerance,
                "{isa}: C[{row}, {n}] = {got}, expected {expected} ± {tolerance:e} in {case:?}"
            );
        }
        if threads > 1 {
            let again = run(case, &data, isa, threads);
            assert!(again == c, "{isa}: {threads} threads change the bits of {case:?}");
        }
    }
}

#[test]
fn every_tile_edge_of_every_precision() {
    for precision in Precision::ALL {
        for m in (1..=14).chain([16, 17, 24, 25]) {
            for n in [1, 15, 16, 17, 33, 47, 48, 49, 64, 65, 97, 129] {
                for k in [1, 3, 4, 37] {
                    check(&Case::plain(m, n, k, precision), 1);
                }
            }
        }
    }
}

#[test]
fn deep_products_cross_blocks_of_k() {
    for precision in Precision::ALL {
        for (m, n, k) in [(5, 20, 2311), (1, 130, 3072), (13, 49, 4097)] {
            check(&Case { gap: 3, bias: true, ..Case::plain(m, n, k, precision) }, 3);
        }
    }
}

#[test]
fn large_products_split_into_tiles() {
    for precision in Precision::ALL {
        for (m, n, k) in [(397, 200, 96), (2, 1030, 128), (64, 513, 65)] {
            check(&Case { bias: true, ..Case::plain(m, n, k, precision) }, 4);
        }
    }
}

#[test]
fn every_activation_with_every_operand() {
    for activation in Activation::EXAMPLES {
        for residual in [None, Some(ResidualOrder::BeforeActivation), Some(ResidualOrder::AfterActivation)] {
            let case = Case {
                bias: true,
                alpha: 0.5,
                activation: Some(activation),
                residual,
                gap: 5,
                ..Case::plain(7, 37, 19, Precision::F32)
            };
            check(&case, 2);
        }
    }
}

#[test]
fn empty_operands_are_fine() {
    for (m, n, k) in [(0, 5, 5), (5, 0, 5), (0, 0, 0)] {
        check(&Case::plain(m, n, k, Precision::F32), 2);
    }
    // No k at all: the epilogue of zero.
    check(&Case { bias: true, ..Case::plain(3, 18, 0, Precision::F32) }, 2);
}

fn cases() -> impl Strategy<Value = Case> {
    let norm = prop_oneof![
        2 => Just(Norm::None),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(gamma, beta)| Norm::Layer { gamma, beta }),
        1 => any::<bool>().prop_map(|gamma| Norm::Rms { gamma }),
    ];
    let residual = prop_oneof![
        Just(None),
        Just(Some(ResidualOrder::BeforeActivation)),
        Just(Some(ResidualOrder::AfterActivation))
    ];
    let right = prop_oneof![
        3 => (0usize..5).prop_map(|p| (Precision::ALL[p], None)),
        2 => any::<bool>().prop_map(|transposed| (Precision::F32, Some(transposed))),
    ];
    let shape = (1usize..70, 1usize..150, 2usize..200, 0usize..4);
    let batch = prop::collection::vec((1usize..4, any::<bool>()), 0..3);
    let tail = (0usize..13, prop_oneof![Just(1.0f32), Just(0.125)], any::<bool>(), residual);
    (shape, batch, right, norm, tail).prop_map(|((m, n, k, gap), batch, (precision, dynamic), norm, tail)| {
        let (activation, alpha, bias, residual) = tail;
        let activation = Activation::EXAMPLES.get(activation).copied();
        Case { m, n, k, batch, precision, dynamic, gap, norm, alpha, bias, activation, residual }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn any_product_matches_the_oracle_on_any_team(case in cases(), threads in 2usize..=8) {
        check(&case, threads);
    }
}

#[test]
fn heads_are_views_of_a_merged_projection() {
    // A: [2 tokens, 3 heads × 4], B: [3 heads, 4, 5], C: [2 tokens, 3 heads × 5].
    let (a, b) = (noise(1, 24), noise(2, 60));
    let spans = [(0, 96), (128, 240), (384, 120)].map(|(offset, len)| Span { offset, len });
    let rhs = Rhs::Dynamic { span: spans[1], row_stride: 5, column_stride: 1 };
    let mut spec = GemmSpec::new(2, 5, 4, spans[0], rhs, spans[2]);
    (spec.a.row_stride, spec.c.row_stride) = (12, 15);
    spec.batch = vec![BatchDim { size: 3, a: 4, b: 20, c: 5, residual: 0 }];
    spec.scratch = Some(Span { offset: 512, len: spec.scratch_bytes() });
    let arena_len = 512 + spec.scratch_bytes();
    let program = Program::new(vec![Box::new(spec.build().unwrap())], arena_len).unwrap();
    let mut arena = Arena::new(arena_len);
    arena.bytes_mut(spans[0]).copy_from_slice(bytemuck::cast_slice(&a));
    arena.bytes_mut(spans[1]).copy_from_slice(bytemuck::cast_slice(&b));
    team(2).run(&program, &mut arena, None).unwrap();
    let c: &[f32] = bytemuck::cast_slice(arena.bytes(spans[2]));
    for (token, head, j) in (0..30).map(|i| (i / 15, i / 5 % 3, i % 5)) {
        let expected: f32 = (0..4).map(|k| a[token * 12 + head * 4 + k] * b[head * 20 + k * 5 + j]).sum();
        assert!((c[token * 15 + head * 5 + j] - expected).abs() < 1e-5);
    }
}

#[test]
fn bad_operands_are_refused_with_the_reason() {
    let weights =
        Rhs::Packed(Arc::new(PackedB::pack(Precision::F32, 4, 3, Source::F32(&[0.0; 12]), false).unwrap()));
    let span = |offset, len| Span { offset, len };
    let spec = || GemmSpec::new(2, 3, 4, span(0, 32), weights.clone(), span(64, 24));
    assert!(spec().build().is_ok());
    type Spoil = fn(&mut GemmSpec);
    let cases: [(&str, Spoil); 7] = [
        ("A needs 32 bytes, its span has 31", |s| s.a.span.len = 31),
        ("C needs 28 bytes, its span has 24", |s| s.c.row_stride = 4),
        ("strides of C let two of its elements share a place", |s| s.c.row_stride = 2),
        ("the product needs 5x3 weights, the packed ones are 4x3", |s| s.k = 5),
        ("bias needs 3 elements, got 2", |s| s.epilogue.bias = Some([0.0; 2].into())),
        ("A at Span { offset: 2, len: 32 } is not aligned", |s| s.a.span.offset = 2),
        ("scratch needs 128 bytes, its span has 0", |s| {
            s.prologue = Prologue::RmsNorm { gamma: None, epsilon: 0.0 }
        }),
    ];
    for (message, spoil) in cases {
        let mut spec = spec();
        spoil(&mut spec);
        assert_eq!(spec.build().err().map(|e| e.to_string()), Some(message.to_owned()));
    }
    let deep =
        PackedB::pack(Precision::Int8, INT8_MAX_K + 1, 1, Source::F32(&vec![0.0; INT8_MAX_K + 1]), false);
    assert_eq!(deep.err(), Some(GemmError::DeepInt8 { k: INT8_MAX_K + 1 }));
}

#[test]
fn int8_sums_are_exact_at_the_largest_k() {
    let k = INT8_MAX_K;
    let weights = vec![-128i8; k * 2];
    let source = Source::Int8 { values: &weights, scales: &[1.0, 0.5] };
    let packed = Arc::new(PackedB::pack(Precision::Int8, k, 2, source, true).unwrap());
    let (a, c) = (Span { offset: 0, len: k * 4 }, Span { offset: k * 4, len: 8 });
    for isa in Isa::available() {
        let mut spec = GemmSpec::new(1, 2, k, a, Rhs::Packed(packed.clone()), c);
        let scratch = Span { offset: k * 4 + 64, len: spec.scratch_bytes() };
        (spec.scratch, spec.force) = (Some(scratch), Some(isa));
        let program =
            Program::new(vec![Box::new(spec.build().unwrap())], scratch.offset + scratch.len).unwrap();
        let mut arena = Arena::new(program.arena_len());
        bytemuck::cast_slice_mut::<u8, f32>(arena.bytes_mut(a)).fill(255.0);
        team(1).run(&program, &mut arena, None).unwrap();
        let exact = -255.0 * 128.0 * k as f32;
        assert_eq!(bytemuck::cast_slice::<u8, f32>(arena.bytes(c)), [exact, exact / 2.0], "{isa}");
    }
}

#[test]
fn int8_rows_may_share_one_range() {
    // More elements than one tile prepares, so that ranges of several tiles meet.
    let (m, k, n) = (300, 100, 3);
    let weights: Vec<i8> = (0..k * n).map(|i| ((i * 37) % 255) as u8 as i8).collect();
    let source = Source::Int8 { values: &weights, scales: &[0.5, 1.0, 0.25] };
    let packed = Arc::new(PackedB::pack(Precision::Int8, k, n, source, false).unwrap());
    let values: Vec<f32> = (0..m * k)
        .map(|i| ((i * 7919) % 1000) as f32 / 100.0 * if i / k == 299 { -9.0 } else { 1.0 })
        .collect();
    let exact: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
    let x = quantized(&exact);
    let (a, c) = (Span { offset: 0, len: m * k * 4 }, Span { offset: m * k * 4, len: m * n * 4 });
    for isa in Isa::available() {
        let mut spec = GemmSpec::new(m, n, k, a, Rhs::Packed(packed.clone()), c);
        spec.shared_range = true;
        let scratch = Span { offset: (c.offset + c.len).next_multiple_of(64), len: spec.scratch_bytes() };
        (spec.scratch, spec.force) = (Some(scratch), Some(isa));
        let program =
            Program::new(vec![Box::new(spec.build().unwrap())], scratch.offset + scratch.len).unwrap();
        let mut arena = Arena::new(program.arena_len());
        bytemuck::cast_slice_mut::<u8, f32>(arena.bytes_mut(a)).copy_from_slice(&values);
        team(2).run(&program, &mut arena, None).unwrap();
        let found = bytemuck::cast_slice::<u8, f32>(arena.bytes(c));
        for (at, found) in found.iter().enumerate() {
            let (row, column) = (at / n, at % n);
            let sum: f64 = (0..k).map(|i| x[row * k + i] * f64::from(weights[i * n + column])).sum();
            let expected = sum * f64::from(packed.scales()[column]);
            assert!(
                (f64::from(*found) - expected).abs() <= 1e-5 * expected.abs().max(100.0),
                "{isa}: {found} {expected}"
            );
        }
    }
    let mut spec = GemmSpec::new(m, n, k, a, Rhs::Packed(packed), c);
    spec.shared_range = true;
    spec.prologue = Prologue::RmsNorm { gamma: None, epsilon: 1e-5 };
    assert!(matches!(spec.build().err(), Some(GemmError::Unsupported { .. })));
}

#[test]
fn int8_rows_may_have_given_levels() {
    let (m, k, n) = (5, 70, 3);
    let weights: Vec<i8> = (0..k * n).map(|i| ((i * 37) % 255) as u8 as i8).collect();
    let source = Source::Int8 { values: &weights, scales: &[0.5, 1.0, 0.25] };
    let packed = Arc::new(PackedB::pack(Precision::Int8, k, n, source, false).unwrap());
    // Ties, and values that saturate.
    let values: Vec<f32> = (0..m * k).map(|i| (i as f32 - 150.0) * 0.125).collect();
    let levels = Levels::new(0.0625, 100.0, (0.0, 255.0)).unwrap();
    let (a, c) = (Span { offset: 0, len: m * k * 4 }, Span { offset: 1408, len: m * n * 4 });
    for isa in Isa::available() {
        let mut spec = GemmSpec::new(m, n, k, a, Rhs::Packed(packed.clone()), c);
        spec.levels = Some(levels);
        let scratch = Span { offset: (c.offset + c.len).next_multiple_of(64), len: spec.scratch_bytes() };
        (spec.scratch, spec.force) = (Some(scratch), Some(isa));
        let program =
            Program::new(vec![Box::new(spec.build().unwrap())], scratch.offset + scratch.len).unwrap();
        let mut arena = Arena::new(program.arena_len());
        bytemuck::cast_slice_mut::<u8, f32>(arena.bytes_mut(a)).copy_from_slice(&values);
        team(2).run(&program, &mut arena, None).unwrap();
        let found = bytemuck::cast_slice::<u8, f32>(arena.bytes(c));
        for (at, found) in found.iter().enumerate() {
            let (row, column) = (at / n, at % n);
            let term = |i: usize| {
                let level = (values[row * k + i] / 0.0625).round_ties_even() + 100.0;
                (level.clamp(0.0, 255.0) - 100.0) * f32::from(weights[i * n + column])
            };
            let sum: f32 = (0..k).map(term).sum();
            assert_eq!(*found, sum * 0.0625 * packed.scales()[column], "{isa}");
        }
    }
    let mut spec = GemmSpec::new(m, n, k, a, Rhs::Packed(packed), c);
    (spec.shared_range, spec.levels) = (true, Some(levels));
    assert!(matches!(spec.build().err(), Some(GemmError::Unsupported { .. })));
}

/// Runs `A · 1` for an A of given rows: one column of weights 1, whatever the precision rounds them to.
fn row_products(
    rows: &[Vec<f32>],
    precision: Precision,
    isa: Isa,
    change: impl Fn(&mut GemmSpec),
) -> Vec<f32> {
    let (m, k) = (rows.len(), rows[0].len());
    let weights = PackedB::pack(precision, k, 1, Source::F32(&vec![1.0; k]), false).unwrap();
    let (a, c) =
        (Span { offset: 0, len: m * k * 4 }, Span { offset: (m * k * 4).next_multiple_of(64), len: m * 4 });
    let mut spec = GemmSpec::new(m, 1, k, a, Rhs::Packed(Arc::new(weights)), c);
    change(&mut spec);
    let scratch = Span { offset: (c.offset + c.len).next_multiple_of(64), len: spec.scratch_bytes() };
    (spec.scratch, spec.force) = (Some(scratch), Some(isa));
    let program = Program::new(vec![Box::new(spec.build().unwrap())], scratch.offset + scratch.len).unwrap();
    let mut arena = Arena::new(program.arena_len());
    bytemuck::cast_slice_mut::<u8, f32>(arena.bytes_mut(a)).copy_from_slice(&rows.concat());
    team(1).run(&program, &mut arena, None).unwrap();
    bytemuck::cast_slice::<u8, f32>(arena.bytes(c)).to_vec()
}

#[test]
fn int8_rows_that_are_not_finite_become_nan_and_no_others() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for k in [1, 3, 16, 37, 130] {
        for at in [0, k / 2, k - 1] {
            let with = |value: f32| {
                let mut row: Vec<f32> = (0..k).map(|i| 1.0 + i as f32 / 64.0).collect();
                row[at] = value;
                row
            };
            let mut rows: Vec<Vec<f32>> = [nan, -nan, inf, -inf, 2.0].map(with).into();
            // A range that f32 cannot hold is infinite in the operator's body, too.
            rows.extend((k > 1).then(|| {
                let mut row = vec![f32::MAX; k];
                row[at] = f32::MIN;
                row
            }));
            // Scales without a finite inverse.
            rows.push(vec![1e-39; k]);
            for isa in Isa::available() {
                let got = row_products(&rows, Precision::Int8, isa, |_| {});
                for (i, (row, y)) in rows.iter().zip(got).enumerate() {
                    let exact: f64 = row.iter().map(|x| f64::from(*x)).sum();
                    let is_nan = i != 4 && i + 1 != rows.len();
                    assert_eq!(y.is_nan(), is_nan, "{isa}, {k} columns, row {i}: {y}");
                    let error = (f64::from(y) - exact).abs();
                    assert!(is_nan || error <= 0.01 * exact, "{isa}, {k} columns, row {i}: {y}, not {exact}");
                }
            }
        }
    }
}

#[test]
fn a_value_that_is_not_finite_spoils_a_shared_range() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut rows = vec![vec![1.0; 100]; 300];
        rows[150][7] = value;
        for isa in Isa::available() {
            let got = row_products(&rows, Precision::Int8, isa, |spec| spec.shared_range = true);
            assert!(got.iter().all(|y| y.is_nan()), "{isa} {value}");
        }
    }
}

#[test]
fn rows_far_from_zero_are_normalised_as_exactly_as_near_it() {
    let k = 768;
    let noise = noise(7, k);
    let rows: Vec<Vec<f32>> =
        [0.0, 1e3, -1e5, 1e6].map(|offset| noise.iter().map(|x| x * 4.0 + offset).collect()).into();
    // The weighted sum of a normalised row: weights 1 would cancel.
    let gamma: Arc<[f32]> = (0..k).map(|i| (i % 7) as f32 / 7.0).collect();
    for isa in Isa::available() {
        let got = row_products(&rows, Precision::F32, isa, |spec| {
            spec.prologue = Prologue::LayerNorm { gamma: Some(gamma.clone()), beta: None, epsilon: 1e-5 };
        });
        for (row, y) in rows.iter().zip(got) {
            let x: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let mean = x.iter().sum::<f64>() / k as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / k as f64;
            let factor = 1.0 / (variance + 1e-5).sqrt();
            let exact: f64 = x.iter().zip(&*gamma).map(|(x, g)| (x - mean) * factor * f64::from(*g)).sum();
            assert!((f64::from(y) - exact).abs() <= 2e-4, "{isa}, row at {}: {y}, not {exact}", row[0]);
        }
    }
}

#[test]
fn epilogues_saturate_and_pass_on_what_is_not_finite() {
    let values = [-6.0, -8.0, -1e4, -1e8, -1e30, 6.0, 8.0, 1e4, 1e8, 1e30, 0.0];
    let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let rows: Vec<Vec<f32>> = values.into_iter().chain(special).map(|x| vec![x]).collect();
    for activation in Activation::EXAMPLES {
        for isa in Isa::available() {
            let got =
                row_products(&rows, Precision::F32, isa, |spec| spec.epilogue.activation = Some(activation));
            for (row, y) in rows.iter().zip(got) {
                let exact = activation.apply_exact(f64::from(row[0]));
                let same = y.is_nan() && exact.is_nan() || f64::from(y) == exact;
                let error = (f64::from(y) - exact).abs();
                assert!(
                    same || error <= 1e-6 * exact.abs() + 1e-7,
                    "{isa} {activation:?}({}) = {y}, expected {exact}",
                    row[0]
                );
            }
        }
    }
}
