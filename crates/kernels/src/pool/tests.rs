//! Pooling against windows counted by hand, in both layouts, on every instruction set.
//!
//! Strides, dilations, pads on either side, and outputs one longer, as `ceil_mode` has them.

use super::*;
use crate::fixture::{Fixture, assert_close, values};
use proptest::prelude::*;

/// The definition, with padding as positions that do not exist.
fn exact(spec: &PoolSpec, data: &[f32]) -> Vec<f64> {
    let (h, w, c) = (spec.height, spec.width, spec.channels);
    let mut results = vec![0.0; spec.batch * c * h.output * w.output];
    let at = |n: usize, ch: usize, y: usize, x: usize, height: usize, width: usize| match spec.layout {
        ImageLayout::Nchw => ((n * c + ch) * height + y) * width + x,
        ImageLayout::Nhwc => ((n * height + y) * width + x) * c + ch,
    };
    for index in 0..results.len() {
        let (n, ch) = (index / (c * h.output * w.output), index / (h.output * w.output) % c);
        let (oy, ox) = (index / w.output % h.output, index % w.output);
        let (mut window, mut padded) = (Vec::new(), 0.0);
        for ky in 0..h.kernel {
            for kx in 0..w.kernel {
                let (y, x) = (oy * h.stride + ky * h.dilation, ox * w.stride + kx * w.dilation);
                if y < h.input + h.pad_begin + h.pad_end && x < w.input + w.pad_begin + w.pad_end {
                    padded += 1.0;
                }
                let inside = (h.pad_begin..h.pad_begin + h.input).contains(&y)
                    && (w.pad_begin..w.pad_begin + w.input).contains(&x);
                if inside {
                    window
                        .push(f64::from(data[at(n, ch, y - h.pad_begin, x - w.pad_begin, h.input, w.input)]));
                }
            }
        }
        results[at(n, ch, oy, ox, h.output, w.output)] = match spec.kind {
            PoolKind::Max => window.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            PoolKind::Average { count_include_pad: true } => window.iter().sum::<f64>() / padded,
            PoolKind::Average { .. } => window.iter().sum::<f64>() / window.len() as f64,
        };
    }
    results
}

fn window() -> impl Strategy<Value = Window> {
    (1_usize..20, 1_usize..5, 1_usize..4, 1_usize..3, 0_usize..3, 0_usize..3, 0_usize..2).prop_map(
        |(input, kernel, stride, dilation, begin, end, ceil)| {
            let reach = (kernel - 1) * dilation + 1;
            let input = input.max(reach);
            let (pad_begin, pad_end) = (begin.min(reach - 1), end.min(reach - 1));
            let output = (input + pad_begin + pad_end - reach) / stride + 1;
            // One more where ceil_mode would have it: its window still begins inside.
            let more = ceil == 1 && output * stride < input + pad_begin;
            Window { input, output: output + usize::from(more), kernel, stride, dilation, pad_begin, pad_end }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn pooling_matches_the_definition(
        height in window(),
        width in window(),
        flat in any::<bool>(),
        channels in 1_usize..40,
        batch in 1_usize..3,
        which in 0_usize..3,
        nhwc in any::<bool>(),
    ) {
        let height = if flat { Window::NONE } else { height };
        let kinds = [
            PoolKind::Max,
            PoolKind::Average { count_include_pad: true },
            PoolKind::Average { count_include_pad: false },
        ];
        let layout = if nhwc { ImageLayout::Nhwc } else { ImageLayout::Nchw };
        let data = values(batch * channels * height.input * width.input, 13);
        let mut fixture = Fixture::default();
        let input = fixture.input(&data).into();
        let output = fixture.output::<f32>(batch * channels * height.output * width.output);
        let spec = PoolSpec { kind: kinds[which], layout, batch, channels, height, width, input, output };
        let expected = exact(&spec, &data);
        for isa in Isa::available() {
            let got: Vec<f32> = fixture.run(PoolStep::new(spec.clone(), Some(isa)).unwrap(), output);
            assert_close(&got, &expected, 1e-6, &format!("{isa} {spec:?}"));
        }
    }
}

#[test]
fn pooling_does_not_depend_on_threads() {
    let side = Window { input: 57, output: 28, kernel: 3, stride: 2, dilation: 1, pad_begin: 0, pad_end: 0 };
    for layout in [ImageLayout::Nchw, ImageLayout::Nhwc] {
        let mut fixture = Fixture::default();
        let input = fixture.input(&values(2 * 33 * 57 * 57, 14)).into();
        let output = fixture.output::<f32>(2 * 33 * 28 * 28);
        let kind = PoolKind::Max;
        let spec =
            PoolSpec { kind, layout, batch: 2, channels: 33, height: side, width: side, input, output };
        fixture.assert_thread_invariant(|| PoolStep::new(spec.clone(), None).unwrap(), output);
    }
}

#[test]
fn a_window_without_taps_is_refused() {
    let bad = Window { kernel: 0, ..Window::NONE };
    let input = Span { offset: 0, len: 64 };
    let output = Span { offset: 64, len: 64 };
    let spec = PoolSpec {
        kind: PoolKind::Max,
        layout: ImageLayout::Nchw,
        batch: 1,
        channels: 1,
        height: bad,
        width: Window::NONE,
        input: input.into(),
        output,
    };
    let error = PoolStep::new(spec, None).err().unwrap();
    assert!(error.reason.starts_with("pool height: kernel, stride and dilation must be positive"), "{error}");
}
