//! Convolution weights, packed once: OIHW becomes one K×N matrix per group, K in the order that gathers best.

use crate::gemm::{GemmError, PackedB, Precision, Source};
use half::{bf16, f16};
use std::sync::Arc;

/// Which index of K runs fastest. It should be the one that is contiguous in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthOrder {
    /// (kernel row, kernel column, channel), for NHWC images.
    ChannelsLast,
    /// (channel, kernel row, kernel column), for NCHW images.
    ChannelsFirst,
}

/// Weights of a convolution in panels, one matrix per group.
#[derive(Debug)]
pub struct PackedConv {
    order: DepthOrder,
    groups: Vec<Arc<PackedB>>,
    output_channels: usize,
    group_channels: usize,
    kernel: [usize; 2],
}

impl PackedConv {
    /// Packs weights given as OIHW for NHWC images. See [`PackedConv::pack_in_order`].
    ///
    /// # Errors
    /// As there.
    pub fn pack(
        precision: Precision,
        shape: [usize; 4],
        groups: usize,
        source: Source<'_>,
    ) -> Result<Self, GemmError> {
        Self::pack_in_order(precision, shape, groups, source, DepthOrder::ChannelsLast)
    }

    /// Packs weights given as OIHW, `shape` = [output channels, channels per group, kernel height, kernel width].
    /// Scales of quantized sources are per output channel.
    ///
    /// # Errors
    /// A source of the wrong length, output channels that do not divide into the groups, or what
    /// [`PackedB::pack`] refuses.
    pub fn pack_in_order(
        precision: Precision,
        shape: [usize; 4],
        groups: usize,
        source: Source<'_>,
        order: DepthOrder,
    ) -> Result<Self, GemmError> {
        let [output_channels, group_channels, height, width] = shape;
        if groups == 0 || output_channels % groups != 0 {
            return Err(GemmError::Unsupported { reason: "output channels do not divide into the groups" });
        }
        let too_large = GemmError::TooLarge { k: group_channels, n: output_channels };
        let taps = height.checked_mul(width).ok_or(too_large.clone())?;
        let depth = taps.checked_mul(group_channels).ok_or(too_large.clone())?;
        let expected = depth.checked_mul(output_channels).ok_or(too_large)?;
        if source.len() != expected {
            return Err(GemmError::SourceLength { expected, given: source.len() });
        }
        // OIHW is channels first as it stands: one tap of taps·channels channels.
        let ordered = match order {
            DepthOrder::ChannelsLast => Ordered::of(source, taps, group_channels),
            DepthOrder::ChannelsFirst => Ordered::of(source, 1, depth),
        };
        let per_group = output_channels / groups;
        let pack = |group: usize| {
            let part = ordered.part(group * per_group..(group + 1) * per_group, depth);
            PackedB::pack(precision, depth, per_group, part, true).map(Arc::new)
        };
        let groups = (0..groups).map(pack).collect::<Result<_, _>>()?;
        Ok(Self { order, groups, output_channels, group_channels, kernel: [height, width] })
    }

    /// Order of K.
    pub fn order(&self) -> DepthOrder {
        self.order
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Channels of the input, of all groups.
    pub fn input_channels(&self) -> usize {
        self.group_channels * self.groups.len()
    }

    /// Channels of the output.
    pub fn output_channels(&self) -> usize {
        self.output_channels
    }

    /// Channels that each output sees.
    pub fn group_channels(&self) -> usize {
        self.group_channels
    }

    /// Height and width of the kernel.
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.groups.iter().map(|group| group.bytes()).sum()
    }

    /// Weights of one group.
    pub(crate) fn group(&self, index: usize) -> &PackedB {
        &self.groups[index]
    }

    /// Shared weights of one group, for a convolution that is a plain product.
    pub(crate) fn group_handle(&self, index: usize) -> Arc<PackedB> {
        self.groups[index].clone()
    }

    /// Precision of every group.
    pub(crate) fn precision(&self) -> Precision {
        self.groups[0].precision()
    }
}

/// A source with the channels of a tap together: O(HW)I.
enum Ordered<'a> {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    Int8 { values: Vec<i8>, scales: &'a [f32] },
}

impl<'a> Ordered<'a> {
    fn of(source: Source<'a>, taps: usize, channels: usize) -> Self {
        match source {
            Source::F32(values) => Self::F32(order(values, taps, channels)),
            Source::F16(values) => Self::F16(order(values, taps, channels)),
            Source::Bf16(values) => Self::Bf16(order(values, taps, channels)),
            Source::Int8 { values, scales } => Self::Int8 { values: order(values, taps, channels), scales },
        }
    }

    fn part(&self, outputs: std::ops::Range<usize>, depth: usize) -> Source<'_> {
        let range = outputs.start * depth..outputs.end * depth;
        match self {
            Self::F32(values) => Source::F32(&values[range]),
            Self::F16(values) => Source::F16(&values[range]),
            Self::Bf16(values) => Source::Bf16(&values[range]),
            // Missing scales surface as the length error of `pack`.
            Self::Int8 { values, scales } => {
                Source::Int8 { values: &values[range], scales: scales.get(outputs).unwrap_or_default() }
            }
        }
    }
}

fn order<T: Copy>(values: &[T], taps: usize, channels: usize) -> Vec<T> {
    let mut ordered = Vec::with_capacity(values.len());
    for filter in values.chunks_exact((taps * channels).max(1)) {
        for tap in 0..taps {
            ordered.extend((0..channels).map(|channel| filter[channel * taps + tap]));
        }
    }
    ordered
}
