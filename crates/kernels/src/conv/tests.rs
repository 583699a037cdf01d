//! Convolutions against a direct loop in f64: pads, strides, dilations, groups, layouts, precisions, epilogues, teams.

use super::*;
use crate::gemm::{Precision, Residual, ResidualOrder, Source};
use crate::math::Activation;
use crate::{Arena, Program, Team};
use proptest::prelude::*;
use std::sync::OnceLock;

const SENTINEL: f32 = 12_345.0;

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    geometry: Geometry,
    groups: usize,
    /// Input and output channels of a group.
    channels: [usize; 2],
    nchw: bool,
    /// Weights packed channels first (only with NCHW).
    first: bool,
    /// Elements between the pixels of input (NHWC), output and residual.
    gap: usize,
    precision: Precision,
    bias: bool,
    residual: Option<ResidualOrder>,
    activation: Option<Activation>,
}

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
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Arc<[f32]>,
    residual: Vec<f32>,
}

impl Case {
    fn input_stride(&self) -> usize {
        self.groups * self.channels[0] + if self.nchw { 0 } else { self.gap }
    }

    fn output_stride(&self) -> usize {
        self.groups * self.channels[1] + self.gap
    }

    fn pixels(&self) -> usize {
        self.batch * self.geometry.output().unwrap().iter().product::<usize>()
    }

    fn data(&self) -> Data {
        let [height, width] = self.geometry.input;
        let taps: usize = self.geometry.kernel.iter().product();
        let outputs = self.groups * self.channels[1];
        Data {
            input: noise(1, self.batch * height * width * self.input_stride()),
            weights: noise(2, outputs * self.channels[0] * taps),
            bias: noise(3, outputs).into(),
            residual: noise(4, self.pixels() * self.output_stride()),
        }
    }
}

/// The values that a row of the implicit matrix holds, in OIHW order of its weights.
fn patch(case: &Case, data: &Data, pixel: usize, group: usize) -> Vec<f32> {
    let g = &case.geometry;
    let [out_height, out_width] = g.output().unwrap();
    let [height, width] = g.input;
    let (image, y, x) = (pixel / (out_height * out_width), pixel / out_width % out_height, pixel % out_width);
    let all = case.groups * case.channels[0];
    let mut values = Vec::new();
    for channel in group * case.channels[0]..(group + 1) * case.channels[0] {
        for tap_y in 0..g.kernel[0] {
            for tap_x in 0..g.kernel[1] {
                let y = (y * g.strides[0] + tap_y * g.dilations[0]) as isize - g.pads_begin[0] as isize;
                let x = (x * g.strides[1] + tap_x * g.dilations[1]) as isize - g.pads_begin[1] as isize;
                let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                values.push(if inside {
                    let (y, x) = (y as usize, x as usize);
                    data.input[if case.nchw {
                        ((image * all + channel) * height + y) * width + x
                    } else {
                        ((image * height + y) * width + x) * case.input_stride() + channel
                    }]
                } else {
                    0.0
                });
            }
        }
    }
    values
}

/// Result and tolerance per output pixel and channel. Lower precisions are judged by the size of their rounding.
fn oracle(case: &Case, data: &Data) -> Vec<(f64, f64)> {
    let relative = match case.precision {
        Precision::F32 => 1e-6,
        Precision::F16 => 1e-3,
        Precision::Bf16 => 8e-3,
        Precision::Bf16Dot | Precision::Int8 => 2e-2,
    };
    let mut out = Vec::new();
    for pixel in 0..case.pixels() {
        for channel in 0..case.groups * case.channels[1] {
            let patch = patch(case, data, pixel, channel / case.channels[1]);
            let weights = &data.weights[channel * patch.len()..][..patch.len()];
            let products = patch.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
            let (sum, magnitude) = products.fold((0.0, 0.0), |(s, m), p: f64| (s + p, m + p.abs()));
            let residual = f64::from(data.residual[pixel * case.output_stride() + channel]);
            let before = sum
                + if case.bias { f64::from(data.bias[channel]) } else { 0.0 }
                + if case.residual == Some(ResidualOrder::BeforeActivation) { residual } else { 0.0 };
            let after = case.activation.map_or(before, |activation| activation.apply_exact(before))
                + if case.residual == Some(ResidualOrder::AfterActivation) { residual } else { 0.0 };
            // Int8 rounds to a step of the patch's range: small products err by more than their share.
            let step =
                if case.precision == Precision::Int8 { 0.02 * (patch.len() as f64).sqrt() } else { 0.0 };
            out.push((after, 1.5 * relative * magnitude + step + 2e-6));
        }
    }
    out
}

fn team(threads: usize) -> &'static Team {
    static TEAMS: OnceLock<Vec<Team>> = OnceLock::new();
    &TEAMS.get_or_init(|| (1..=8).map(|threads| Team::new(threads).unwrap()).collect())[threads - 1]
}

fn run(case: &Case, data: &Data, isa: Isa, threads: usize) -> Vec<f32> {
    let mut end = 0;
    let mut span = |len: usize| {
        let span = Span { offset: end, len: len * 4 };
        end = (end + len * 4).next_multiple_of(64);
        span
    };
    let (input, residual) = (span(data.input.len()), span(data.residual.len()));
    let output = span(data.residual.len());
    let [kernel_height, kernel_width] = case.geometry.kernel;
    let shape = [case.groups * case.channels[1], case.channels[0], kernel_height, kernel_width];
    let order = if case.first { DepthOrder::ChannelsFirst } else { DepthOrder::ChannelsLast };
    let source = Source::F32(&data.weights);
    let weights = PackedConv::pack_in_order(case.precision, shape, case.groups, source, order).unwrap();
    let mut spec = ConvSpec::new(case.batch, case.geometry, input, Arc::new(weights), output);
    spec.input_layout = match case.nchw {
        true => ImageLayout::Nchw,
        false => ImageLayout::Nhwc { pixel_stride: case.input_stride() },
    };
    spec.output_stride = case.output_stride();
    spec.epilogue.bias = case.bias.then(|| data.bias.clone());
    spec.epilogue.activation = case.activation;
    spec.epilogue.residual =
        case.residual.map(|order| Residual { span: residual, row_stride: case.output_stride(), order });
    let scratch = Span { offset: end, len: spec.scratch_bytes() };
    (spec.scratch, spec.force) = (Some(scratch), Some(isa));
    let program = Program::new(vec![Box::new(spec.build().unwrap())], scratch.offset + scratch.len).unwrap();
    let mut arena = Arena::new(program.arena_len());
    arena.bytes_mut(input).copy_from_slice(bytemuck::cast_slice(&data.input));
    arena.bytes_mut(residual).copy_from_slice(bytemuck::cast_slice(&data.residual));
    bytemuck::cast_slice_mut::<u8, f32>(arena.bytes_mut(output)).fill(SENTINEL);
    team(threads).run(&program, &mut arena, None).unwrap();
    bytemuck::cast_slice(arena.bytes(output)).to_vec()
}

fn check(case: &Case, threads: usize) {
    let data = case.data();
    let exact = oracle(case, &data);
    let (outputs, stride) = (case.groups * case.channels[1], case.output_stride());
    for isa in Isa::available() {
        let result = run(case, &data, isa, 1);
        for (at, &got) in result.iter().enumerate() {
            let (pixel, channel) = (at / stride, at % stride);
            if channel >= outputs {
                assert_eq!(got, SENTINEL, "{isa} wrote between the pixels of {case:?}");
                continue;
            }
            let (expected, tolerance) = exact[pixel * outputs + channel];
            assert!(
                (f64::from(got) - expected).abs() <= tolerance,
                "{isa}: output[{pixel}, {channel}] = {got}, expected {expected} ± {tolerance:e} in {case:?}"
            );
        }
        assert!(
            run(case, &data, isa, threads) == result,
            "{isa}: {threads} threads change the bits of {case:?}"
        );
    }
}

fn square(size: usize, kernel: usize, stride: usize, pad: usize) -> Geometry {
    Geometry {
        input: [size, size],
        kernel: [kernel, kernel],
        strides: [stride, stride],
        dilations: [1, 1],
        pads_begin: [pad, pad],
        pads_end: [pad, pad],
    }
}

fn plain(geometry: Geometry, channels: [usize; 2]) -> Case {
    Case {
        batch: 1,
        geometry,
        groups: 1,
        channels,
        nchw: false,
        first: false,
        gap: 0,
        precision: Precision::F32,
        bias: true,
        residual: None,
        activation: None,
    }
}

#[test]
fn shapes_of_real_models_in_every_precision() {
    for precision in Precision::ALL {
        let cases = [
            Case { nchw: true, first: true, ..plain(square(20, 7, 2, 3), [3, 20]) },
            Case { nchw: true, first: true, ..plain(square(32, 16, 16, 0), [3, 48]) },
            Case { nchw: true, ..plain(square(20, 3, 1, 1), [3, 20]) },
            Case { residual: Some(ResidualOrder::BeforeActivation), ..plain(square(9, 3, 1, 1), [96, 40]) },
            Case { batch: 2, ..plain(square(10, 1, 2, 0), [24, 33]) },
            Case { batch: 3, gap: 2, ..plain(square(7, 1, 1, 0), [17, 65]) },
            Case { groups: 4, ..plain(square(8, 3, 1, 1), [5, 7]) },
            plain(
                Geometry {
                    input: [1, 50],
                    kernel: [1, 3],
                    pads_begin: [0, 1],
                    pads_end: [0, 1],
                    ..square(1, 1, 1, 0)
                },
                [40, 64],
            ),
        ];
        for case in cases {
            check(&Case { precision, activation: Some(Activation::Relu), ..case }, 3);
        }
    }
}

fn geometries() -> impl Strategy<Value = Geometry> {
    let axis = (1usize..12, 1usize..5, 1usize..4, 1usize..4, 0usize..4, 0usize..4);
    [axis.clone(), axis].prop_map(|[y, x]| Geometry {
        input: [y.0, x.0],
        kernel: [y.1, x.1],
        strides: [y.2, x.2],
        dilations: [y.3, x.3],
        pads_begin: [y.4, x.4],
        pads_end: [y.5, x.5],
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let residual = prop_oneof![
        Just(None),
        Just(Some(ResidualOrder::BeforeActivation)),
        Just(Some(ResidualOrder::AfterActivation))
    ];
    let geometry = geometries().prop_filter("the kernel fits", |geometry| geometry.output().is_some());
    let shape = (1usize..3, 1usize..4, [1usize..20, 1usize..40], 0usize..3, 0usize..3);
    let tail = (0usize..5, any::<bool>(), residual, 0usize..3);
    (geometry, shape, tail).prop_map(|(geometry, (batch, groups, channels, nchw, gap), tail)| Case {
        batch,
        geometry,
        groups,
        channels,
        nchw: nchw > 0,
        first: nchw > 1,
        gap,
        precision: Precision::ALL[tail.0],
        bias: tail.1,
        residual: tail.2,
        activation: [None, Some(Activation::Relu), Some(Activation::Clip { lo: 0.0, hi: 6.0 })][tail.3],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn any_convolution_matches_the_direct_loop(case in cases(), threads in 2usize..=8) {
        check(&case, threads);
    }
}

#[test]
fn bad_geometry_is_refused_with_the_reason() {
    let weights =
        Arc::new(PackedConv::pack(Precision::F32, [2, 3, 3, 3], 1, Source::F32(&[0.0; 54])).unwrap());
    let build = |geometry: Geometry, input: usize, output: usize| {
        let span = |offset, len| Span { offset, len };
        let spec = ConvSpec::new(1, geometry, span(0, input), weights.clone(), span(4096, output));
        spec.build().err().map(|error| error.to_string())
    };
    assert_eq!(build(square(4, 3, 1, 0), 192, 32), None);
    let message = |text: &str| Some(text.to_owned());
    assert_eq!(build(square(4, 3, 1, 0), 188, 32), message("the input needs 192 bytes, its span has 188"));
    assert_eq!(build(square(4, 3, 1, 0), 192, 28), message("the output needs 32 bytes, its span has 28"));
    let small = build(square(2, 3, 1, 0), 192, 32);
    assert_eq!(small, message("the kernel of a convolution does not fit its padded input"));
    let other = build(square(4, 2, 1, 0), 192, 32);
    assert_eq!(other, message("the packed weights have another kernel size than the geometry"));
    let first = PackedConv::pack_in_order(
        Precision::F32,
        [2, 3, 3, 3],
        1,
        Source::F32(&[0.0; 54]),
        DepthOrder::ChannelsFirst,
    );
    let span = |offset, len| Span { offset, len };
    let mut mixed =
        ConvSpec::new(1, square(4, 3, 1, 0), span(0, 192), Arc::new(first.unwrap()), span(4096, 32));
    mixed.input_layout = ImageLayout::Nhwc { pixel_stride: 3 };
    let mixed = mixed.build().err().map(|error| error.to_string());
    assert_eq!(mixed, message("weights packed channels first need NCHW images"));
    let still = build(square(4, 3, 0, 0), 192, 32);
    assert_eq!(still, message("strides and dilations of a convolution must be at least 1"));
    let odd = PackedConv::pack(Precision::F32, [3, 1, 1, 1], 2, Source::F32(&[0.0; 3])).err();
    assert_eq!(odd.map(|e| e.to_string()), message("output channels do not divide into the groups"));
}
