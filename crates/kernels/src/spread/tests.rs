//! Windows added back one by one, on every instruction set and team size.

use super::*;
use crate::fixture::{Fixture, assert_close, values};
use proptest::prelude::*;

/// Walks all windows and adds each tap to the pixel it covers.
fn expected(spec: &SpreadSpec, columns: &[f32]) -> Vec<f64> {
    let SpreadSpec { batch, channels, height, width, .. } = *spec;
    let bias = |channel: usize| spec.bias.as_ref().map_or(0.0, |bias| f64::from(bias[channel]));
    let mut image: Vec<f64> =
        (0..batch * height.input * width.input * channels).map(|i| bias(i % channels)).collect();
    for (at, value) in columns.iter().enumerate() {
        let (channel, rest) = (at % channels, at / channels);
        let (tap_across, rest) = (rest % width.kernel, rest / width.kernel);
        let (tap_down, rest) = (rest % height.kernel, rest / height.kernel);
        let (across, rest) = (rest % width.output, rest / width.output);
        let (down, n) = (rest % height.output, rest / height.output);
        let place = |window: &Window, index: usize, tap: usize| {
            let place = (index * window.stride + tap * window.dilation).checked_sub(window.pad_begin)?;
            (place < window.input).then_some(place)
        };
        if let (Some(y), Some(x)) = (place(&height, down, tap_down), place(&width, across, tap_across)) {
            image[((n * height.input + y) * width.input + x) * channels + channel] += f64::from(*value);
        }
    }
    image
}

fn windows() -> impl Strategy<Value = Window> {
    (1_usize..6, 1_usize..5, 1_usize..4, 1_usize..3, 0_usize..3, 0_usize..3).prop_map(
        |(output, kernel, stride, dilation, pad_begin, extra)| {
            let full = (output - 1) * stride + (kernel - 1) * dilation + 1 + extra;
            let input = full.saturating_sub(pad_begin).max(1);
            Window { input, output, kernel, stride, dilation, pad_begin, pad_end: 0 }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn images_match_windows_added_one_by_one(
        sizes in (1_usize..3, 1_usize..40),
        (height, width) in (windows(), windows()),
        has_bias in any::<bool>(),
    ) {
        let (batch, channels) = sizes;
        let count = batch * height.output * width.output * height.kernel * width.kernel * channels;
        let columns = values(count, 7);
        let mut fixture = Fixture::default();
        let input = fixture.input(&columns);
        let pixels = batch * height.input * width.input * channels;
        let output = fixture.output::<f32>(pixels);
        let bias = has_bias.then(|| Arc::from(values(channels, 9)));
        let spec = SpreadSpec { batch, channels, height, width, columns: input.into(), bias, output };
        let expected = expected(&spec, &columns);
        for isa in Isa::available() {
            let step = || SpreadStep::new(spec.clone(), Some(isa)).unwrap();
            let found: Vec<f32> = fixture.run(step(), output);
            assert_close(&found, &expected, 1e-5, "spread");
            fixture.assert_thread_invariant(step, output);
        }
    }
}

#[test]
fn windows_without_taps_are_refused() {
    let empty = Window { input: 1, output: 1, kernel: 0, stride: 1, dilation: 1, pad_begin: 0, pad_end: 0 };
    let nothing = Span { offset: 0, len: 0 };
    let spec = SpreadSpec {
        batch: 1,
        channels: 1,
        height: empty,
        width: Window::NONE,
        columns: nothing.into(),
        bias: None,
        output: nothing,
    };
    assert!(SpreadStep::new(spec, None).err().unwrap().reason.contains("need taps"));
}
