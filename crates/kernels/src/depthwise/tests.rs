//! Depthwise convolution against its definition, in both layouts, on every instruction set.
//!
//! The definition here counts padded positions itself and does not use the window arithmetic under test.

use super::*;
use crate::fixture::{Fixture, assert_close, values};
use proptest::prelude::*;

struct Case {
    layout: ImageLayout,
    batch: usize,
    channels: usize,
    height: Window,
    width: Window,
    activation: Option<Activation>,
    residual: Option<ResidualOrder>,
}

/// The definition over ONNX's `[N, C, H, W]`, whatever the layout in memory.
fn exact(case: &Case, x: &[f32], w: &[f32], bias: &[f32], r: &[f32]) -> Vec<f64> {
    let (h, v, c) = (case.height, case.width, case.channels);
    let place = |n: usize, ch: usize, y: usize, x: usize, height: usize, width: usize| match case.layout {
        ImageLayout::Nchw => ((n * c + ch) * height + y) * width + x,
        ImageLayout::Nhwc => ((n * height + y) * width + x) * c + ch,
    };
    let mut result = vec![0.0; case.batch * c * h.output * v.output];
    for index in 0..result.len() {
        let (n, ch) = (index / (c * h.output * v.output), index / (h.output * v.output) % c);
        let (oy, ox) = (index / v.output % h.output, index % v.output);
        let mut sum = f64::from(bias[ch]);
        for ky in 0..h.kernel {
            for kx in 0..v.kernel {
                let (y, x_at) = (oy * h.stride + ky * h.dilation, ox * v.stride + kx * v.dilation);
                let inside = (h.pad_begin..h.pad_begin + h.input).contains(&y)
                    && (v.pad_begin..v.pad_begin + v.input).contains(&x_at);
                if inside {
                    let at = place(n, ch, y - h.pad_begin, x_at - v.pad_begin, h.input, v.input);
                    sum += f64::from(x[at]) * f64::from(w[(ch * h.kernel + ky) * v.kernel + kx]);
                }
            }
        }
        let at = place(n, ch, oy, ox, h.output, v.output);
        let other = f64::from(r[at]);
        let active = |x: f64| case.activation.map_or(x, |a| a.apply_exact(x));
        result[at] = match case.residual {
            None => active(sum),
            Some(ResidualOrder::BeforeActivation) => active(sum + other),
            Some(ResidualOrder::AfterActivation) => active(sum) + other,
        };
    }
    result
}

fn build(case: &Case) -> (Fixture, DepthwiseSpec, Vec<f64>) {
    let Case { layout, batch, channels, height, width, activation, residual } = *case;
    let x = values(batch * channels * height.input * width.input, 31);
    let w = values(channels * height.kernel * width.kernel, 32);
    let bias = values(channels, 33);
    let r = values(batch * channels * height.output * width.output, 34);
    let expected = exact(case, &x, &w, &bias, &r);
    let mut fixture = Fixture::default();
    let input = fixture.input(&x).into();
    let other: Operand = fixture.input(&r).into();
    let output = fixture.output::<f32>(r.len());
    let weights = DepthwiseWeights::pack(&w, Some(&bias), channels, layout).unwrap();
    let weights = Arc::new(weights);
    let residual = residual.map(|order| (other, order));
    let spec = DepthwiseSpec { batch, height, width, weights, input, residual, activation, output };
    (fixture, spec, expected)
}

fn window() -> impl Strategy<Value = Window> {
    (1_usize..24, 1_usize..6, 1_usize..3, 1_usize..3, 0_usize..3, 0_usize..3).prop_map(
        |(input, kernel, stride, dilation, pad_begin, pad_end)| {
            let reach = (kernel - 1) * dilation + 1;
            let input = input.max(reach);
            let output = (input + pad_begin + pad_end - reach) / stride + 1;
            Window { input, output, kernel, stride, dilation, pad_begin, pad_end }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn convolution_matches_the_definition(
        height in window(),
        width in window(),
        flat in any::<bool>(),
        channels in 1_usize..40,
        batch in 1_usize..3,
        nhwc in any::<bool>(),
        which in 0_usize..3,
        residual in prop::sample::select(vec![
            None,
            Some(ResidualOrder::BeforeActivation),
            Some(ResidualOrder::AfterActivation),
        ]),
    ) {
        let height = if flat { Window::NONE } else { height };
        let activation = [None, Some(Activation::Relu), Some(Activation::HardSwish)][which];
        let layout = if nhwc { ImageLayout::Nhwc } else { ImageLayout::Nchw };
        let case = Case { layout, batch, channels, height, width, activation, residual };
        let (fixture, spec, expected) = build(&case);
        for isa in Isa::available() {
            let step = DepthwiseStep::new(spec.clone(), Some(isa)).unwrap();
            let got: Vec<f32> = fixture.run(step, spec.output);
            assert_close(&got, &expected, 2e-6, &format!("{isa} {spec:?}"));
        }
    }
}

#[test]
fn convolution_does_not_depend_on_threads() {
    let side = Window { input: 29, output: 29, kernel: 3, stride: 1, dilation: 1, pad_begin: 1, pad_end: 1 };
    for layout in [ImageLayout::Nchw, ImageLayout::Nhwc] {
        let activation = Some(Activation::Silu);
        let case =
            Case { layout, batch: 2, channels: 37, height: side, width: side, activation, residual: None };
        let (fixture, spec, _) = build(&case);
        fixture.assert_thread_invariant(|| DepthwiseStep::new(spec.clone(), None).unwrap(), spec.output);
    }
}

#[test]
fn filters_that_do_not_fit_are_refused() {
    assert!(DepthwiseWeights::pack(&[0.0; 10], None, 3, ImageLayout::Nhwc).is_err());
    assert!(DepthwiseWeights::pack(&[0.0; 9], Some(&[0.0; 2]), 3, ImageLayout::Nhwc).is_err());
    let side = Window { kernel: 2, ..Window::NONE };
    let case = Case {
        layout: ImageLayout::Nhwc,
        batch: 1,
        channels: 2,
        height: Window::NONE,
        width: Window::NONE,
        activation: None,
        residual: None,
    };
    let (_, spec, _) = build(&case);
    let error = DepthwiseStep::new(DepthwiseSpec { width: side, ..spec }, None).err().unwrap();
    assert_eq!(error.reason, "depthwise: a 1x2 window over filters of 1 taps");
}
