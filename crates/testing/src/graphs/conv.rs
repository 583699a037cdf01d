//! Convolutions and what surrounds them in CNNs: batch normalisation, activation, residual, squeeze-and-excitation,
//! pooling. Flows are batch × channels × height × width.

use super::activation::{Activation, Plain, Silu, activation};
use super::{Flow, Sketch};
use fusebox_ir::{Attrs, ValueId};

/// A convolution with what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels after it; a depthwise one keeps its channels.
    pub channels: usize,
    /// Kernel size on both axes.
    pub kernel: usize,
    /// Stride on both axes.
    pub stride: usize,
    /// Whether zeros are added so that stride 1 keeps the size.
    pub padded: bool,
    /// One group per channel.
    pub depthwise: bool,
    /// What is added to the product.
    pub bias: Bias,
    /// Whether a BatchNormalization follows.
    pub batch_norm: bool,
    /// What follows that.
    pub activation: Option<Activation>,
    /// Whether the input is added before the activation, where its shape allows.
    pub residual: bool,
}

/// How a convolution gets its bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// None.
    None,
    /// As third input.
    Input,
    /// By an Add of channels × 1 × 1.
    Add,
    /// By a Mul and an Add of channels × 1 × 1: a batch normalisation written out.
    MulAdd,
}

impl Bias {
    /// Every way.
    pub const ALL: &'static [Self] = &[Self::None, Self::Input, Self::Add, Self::MulAdd];
}

impl Conv {
    /// A 3×3 convolution that keeps the size.
    pub fn plain(channels: usize) -> Self {
        Self {
            channels,
            kernel: 3,
            stride: 1,
            padded: true,
            depthwise: false,
            bias: Bias::Input,
            batch_norm: false,
            activation: None,
            residual: false,
        }
    }

    /// Everything that may follow, each alone and together, around a plain convolution.
    pub fn variations(channels: usize) -> Vec<Self> {
        let plain = Self::plain(channels);
        let relu = Some(Activation::Plain(Plain::Relu));
        let silu = Some(Activation::Silu(Silu::MulSigmoid));
        let mut all: Vec<Self> = Bias::ALL.iter().map(|bias| Self { bias: *bias, ..plain }).collect();
        for batch_norm in [false, true] {
            for activation in [None, relu, silu] {
                for residual in [false, true] {
                    all.push(Self { batch_norm, activation, residual, bias: Bias::None, ..plain });
                }
            }
        }
        all.push(Self { depthwise: true, ..plain });
        all.push(Self { kernel: 1, ..plain });
        all.push(Self { stride: 2, ..plain });
        all.push(Self { padded: false, ..plain });
        all
    }
}

/// A convolution block. A kernel larger than its input is padded whatever the plan says.
pub fn conv(s: &mut Sketch, x: &Flow, how: &Conv) -> Flow {
    let [batch, inside, height, width] = [x.shape[0], x.shape[1], x.shape[2], x.shape[3]];
    let channels = if how.depthwise { inside } else { how.channels };
    let per_group = if how.depthwise { 1 } else { inside };
    let pad = if how.padded || how.kernel > height.min(width) { how.kernel / 2 } else { 0 };
    let kernel =
        s.weight(&[channels, per_group, how.kernel, how.kernel], per_group * how.kernel * how.kernel);
    let mut inputs = vec![x.value, kernel];
    if how.bias == Bias::Input {
        inputs.push(s.parameter(&[channels], 0.0, 0.3));
    }
    let attrs = Attrs::new()
        .with("kernel_shape", vec![how.kernel as i64; 2])
        .with("strides", vec![how.stride as i64; 2])
        .with("pads", vec![pad as i64; 4])
        .with("group", if how.depthwise { inside as i64 } else { 1 });
    let product = s.op_with("Conv", &inputs, attrs);
    let size = |length: usize| (length + 2 * pad - how.kernel) / how.stride + 1;
    let mut y = Flow { value: product, shape: vec![batch, channels, size(height), size(width)] };
    y = channel_affine(s, &y, how.bias);
    if how.batch_norm {
        y = batch_norm(s, &y);
    }
    if how.residual && y.shape == x.shape {
        let swap = s.draw.chance(0.5);
        let value = s.either("Add", y.value, x.value, swap);
        y = y.with(value);
    }
    match how.activation {
        Some(which) => activation(s, &y, which),
        None => y,
    }
}

fn channel_affine(s: &mut Sketch, x: &Flow, bias: Bias) -> Flow {
    let channels = x.shape[1];
    let mut value = x.value;
    if bias == Bias::MulAdd {
        let scale = s.parameter(&[channels, 1, 1], 1.0, 0.2);
        value = s.op("Mul", &[value, scale]);
    }
    if matches!(bias, Bias::Add | Bias::MulAdd) {
        let shift = s.parameter(&[1, channels, 1, 1], 0.0, 0.3);
        value = s.op("Add", &[value, shift]);
    }
    x.with(value)
}

/// BatchNormalization in inference mode.
pub fn batch_norm(s: &mut Sketch, x: &Flow) -> Flow {
    let channels = [x.shape[1]];
    let (scale, shift) = (s.parameter(&channels, 1.0, 0.2), s.parameter(&channels, 0.0, 0.3));
    // Within 3.47 deviations, so the variance stays above 0.3.
    let (mean, variance) = (s.parameter(&channels, 0.0, 0.3), s.parameter(&channels, 1.0, 0.2));
    let attrs = Attrs::new().with("epsilon", 1e-5f32);
    let value = s.op_with("BatchNormalization", &[x.value, scale, shift, mean, variance], attrs);
    x.with(value)
}

/// How the average over the image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalAverage {
    /// GlobalAveragePool: TorchScript.
    Pool,
    /// ReduceMean over the last two axes: dynamo.
    Reduce,
}

impl GlobalAverage {
    /// Every way.
    pub const ALL: &'static [Self] = &[Self::Pool, Self::Reduce];
}

/// The average over the image, batch × channels × 1 × 1.
pub fn global_average(s: &mut Sketch, x: &Flow, how: GlobalAverage) -> Flow {
    let value = match how {
        GlobalAverage::Pool => s.op("GlobalAveragePool", &[x.value]),
        GlobalAverage::Reduce => s.reduce("ReduceMean", x.value, &[-1, -2], true),
    };
    Flow { value, shape: vec![x.shape[0], x.shape[1], 1, 1] }
}

/// Squeeze-and-excitation: the channels weighted by a small network over their averages.
pub fn squeeze_excite(s: &mut Sketch, x: &Flow, how: GlobalAverage, hard: bool) -> Flow {
    let channels = x.shape[1];
    let squeezed = global_average(s, x, how);
    let inner = Conv {
        kernel: 1,
        activation: Some(Activation::Plain(Plain::Relu)),
        ..Conv::plain(channels.div_ceil(4))
    };
    let hidden = conv(s, &squeezed, &inner);
    let gate = Some(Activation::Plain(if hard { Plain::HardSigmoid } else { Plain::Sigmoid }));
    let gate = conv(s, &hidden, &Conv { kernel: 1, activation: gate, ..Conv::plain(channels) });
    let value = s.op("Mul", &[x.value, gate.value]);
    x.with(value)
}

/// How an image is pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// MaxPool 2×2 with stride 2.
    Max,
    /// AveragePool 2×2 with stride 2.
    Average,
    /// MaxPool 3×3 with stride 1 and padding.
    MaxPadded,
    /// AveragePool 3×3 with stride 1 and padding that does not count.
    AveragePadded,
}

impl Pool {
    /// Every way.
    pub const ALL: &'static [Self] = &[Self::Max, Self::Average, Self::MaxPadded, Self::AveragePadded];
}

/// A pooling. An image too small for it passes unchanged.
pub fn pool(s: &mut Sketch, x: &Flow, how: Pool) -> Flow {
    let name = if matches!(how, Pool::Max | Pool::MaxPadded) { "MaxPool" } else { "AveragePool" };
    if matches!(how, Pool::MaxPadded | Pool::AveragePadded) {
        let attrs = Attrs::new().with("kernel_shape", vec![3, 3]).with("pads", vec![1; 4]);
        let value = s.op_with(name, &[x.value], attrs);
        return x.with(value);
    }
    if x.shape[2] < 2 || x.shape[3] < 2 {
        return x.clone();
    }
    let attrs = Attrs::new().with("kernel_shape", vec![2, 2]).with("strides", vec![2, 2]);
    let value = s.op_with(name, &[x.value], attrs);
    Flow { value, shape: vec![x.shape[0], x.shape[1], x.shape[2] / 2, x.shape[3] / 2] }
}

/// Image to sequence: batch × pixels × channels.
pub fn to_sequence(s: &mut Sketch, x: &Flow) -> Flow {
    let flat = s.reshape_rest(x, &[x.shape[1], x.shape[2] * x.shape[3]]);
    s.transpose(&flat, &[0, 2, 1])
}

/// Image to vector by global average and Flatten.
pub fn to_vector(s: &mut Sketch, x: &Flow, how: GlobalAverage) -> Flow {
    let average = global_average(s, x, how);
    let value: ValueId = s.op_with("Flatten", &[average.value], Attrs::new().with("axis", 1));
    Flow { value, shape: vec![x.shape[0], x.shape[1]] }
}
