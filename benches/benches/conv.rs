//! Convolution throughput as a share of this machine's measured peak.
//!
//! `cargo bench -p fusebox-benches --bench conv [-- FILTER]`; `FUSEBOX_KERNEL` forces an instruction set.
#![allow(missing_docs, reason = "a bench target has no public items")]

use fusebox_benches::throughput::{Row, Spans, noise, run};
use fusebox_kernels::conv::{ConvSpec, DepthOrder, Geometry, PackedConv};
use fusebox_kernels::gemm::{Precision, Source};
use fusebox_kernels::math::Activation;
use std::sync::Arc;

struct Layer {
    name: &'static str,
    input: [usize; 2],
    channels: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    pad: [usize; 2],
    nchw: bool,
}

const fn layer(name: &'static str, size: usize, channels: [usize; 2], kernel: usize, stride: usize) -> Layer {
    let pad = if kernel == 16 { 0 } else { kernel / 2 };
    let nchw = channels[0] == 3;
    Layer { name, input: [size, size], channels, kernel: [kernel, kernel], stride, pad: [pad, pad], nchw }
}

static LAYERS: [Layer; 10] = [
    layer("resnet stem", 224, [3, 64], 7, 2),
    layer("resnet 56", 56, [64, 64], 3, 1),
    layer("resnet 28", 28, [128, 128], 3, 1),
    layer("resnet 14", 14, [256, 256], 3, 1),
    layer("resnet 7", 7, [512, 512], 3, 1),
    layer("resnet down", 56, [64, 128], 1, 2),
    layer("resnet 1x1", 28, [256, 128], 1, 1),
    layer("vgg 224", 224, [64, 64], 3, 1),
    layer("vit patch", 224, [3, 768], 16, 16),
    Layer {
        name: "whisper 1-D",
        input: [1, 3000],
        channels: [384, 384],
        kernel: [1, 3],
        stride: 2,
        pad: [0, 1],
        nchw: false,
    },
];

fn row(layer: &Layer, precision: Precision) -> Row {
    let [inputs, outputs] = layer.channels;
    let [height, width] = layer.kernel;
    let taps = height * width;
    let shape = [outputs, inputs, height, width];
    let order = if layer.nchw { DepthOrder::ChannelsFirst } else { DepthOrder::ChannelsLast };
    let values = noise(outputs * inputs * taps);
    let weights =
        PackedConv::pack_in_order(precision, shape, 1, Source::F32(&values), order).expect("the shape fits");
    let weight_bytes = weights.bytes();
    let geometry = Geometry {
        input: layer.input,
        kernel: layer.kernel,
        strides: [if height == 1 && width > 1 { 1 } else { layer.stride }, layer.stride],
        dilations: [1, 1],
        pads_begin: layer.pad,
        pads_end: layer.pad,
    };
    let pixels: usize = geometry.output().expect("the kernel fits").iter().product();
    let mut spans = Spans::default();
    let input = spans.next(layer.input.iter().product::<usize>() * inputs * 4);
    let output = spans.next(pixels * outputs * 4);
    let mut spec = ConvSpec::new(1, geometry, input, Arc::new(weights), output);
    spec.epilogue.bias = Some(noise(outputs).into());
    spec.epilogue.activation = Some(Activation::Relu);
    spec.scratch = Some(spans.next(spec.scratch_bytes()));
    Row {
        label: layer.name.to_owned(),
        precision,
        operations: 2.0 * (pixels * outputs * inputs * taps) as f64,
        weight_bytes,
        step: Box::new(spec.build().expect("the spec is sound")),
        arena_len: spans.end,
        input,
    }
}

fn main() {
    run(|| {
        let mut rows: Vec<Box<dyn Fn() -> Row>> = Vec::new();
        for precision in Precision::ALL {
            for layer in &LAYERS {
                rows.push(Box::new(move || row(layer, precision)));
            }
        }
        rows
    });
}
