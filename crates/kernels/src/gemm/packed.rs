//! Constant weights, packed once into the panels that every micro-kernel reads.
//!
//! A panel is 16 columns wide and K deep, so one packing serves every instruction set and every tile width: wider
//! tiles read several panels side by side. Precisions differ in the element and in how many consecutive k sit
//! together (`k_group`): the dot-product instructions want pairs of bf16 and quadruples of int8.

use super::GemmError;
use crate::arena::Line;
use crate::isa::{Isa, IsaError};
use half::{bf16, f16};

/// Columns of a panel.
pub const PANEL: usize = 16;

/// Source rows that are packed together: few enough to be read as streams, whatever their stride.
const ROWS: usize = 16;

/// Largest K for which 255·128·K fits an i32 accumulator.
pub const INT8_MAX_K: usize = 65_536;

/// How weights are stored and multiplied. Activations in memory are f32 for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 weights.
    F32,
    /// IEEE half weights, widened in the kernel, f32 accumulation.
    F16,
    /// bfloat16 weights, widened in the kernel, f32 accumulation.
    Bf16,
    /// bfloat16 weights and activations, dot-product instruction, f32 accumulation.
    Bf16Dot,
    /// s8 weights symmetric per output channel, u8 activations per row with zero point, exact i32 accumulation.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Bf16Dot, Self::Int8];

    /// Name in kernel names and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Bf16Dot => "bf16dot",
            Self::Int8 => "int8",
        }
    }

    /// The instruction set that its kernels run on here. Whoever chooses a precision should ask: without AVX512-BF16,
    /// `Bf16Dot` runs on portable code, far slower than `Bf16`.
    ///
    /// # Errors
    /// A `FUSEBOX_KERNEL` that names nothing this CPU can run.
    pub fn isa(self) -> Result<Isa, IsaError> {
        super::micro::micros(self, None).map(|(isa, _)| isa)
    }

    /// Bytes of one stored weight.
    pub fn weight_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 | Self::Bf16Dot => 2,
            Self::Int8 => 1,
        }
    }

    /// Bytes of one activation as the micro-kernel reads it.
    pub(crate) fn activation_bytes(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 4,
            Self::Bf16Dot => 2,
            Self::Int8 => 1,
        }
    }

    /// Consecutive k stored together per column.
    pub(crate) fn k_group(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Bf16Dot => 2,
            Self::Int8 => 4,
        }
    }

    /// K rounded up to whole groups.
    pub(crate) fn padded_k(self, k: usize) -> usize {
        k.next_multiple_of(self.k_group())
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Weights to pack, `k·n` of them.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// f32 values.
    F32(&'a [f32]),
    /// Half values.
    F16(&'a [f16]),
    /// bfloat16 values.
    Bf16(&'a [bf16]),
    /// Values already quantized, with the scale of each of the `n` output channels. Only for [`Precision::Int8`].
    Int8 {
        /// Quantized values.
        values: &'a [i8],
        /// Real value of one step, per output channel.
        scales: &'a [f32],
    },
}

impl Source<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F16(v) => v.len(),
            Self::Bf16(v) => v.len(),
            Self::Int8 { values, .. } => values.len(),
        }
    }

    fn at(self, index: usize) -> f32 {
        match self {
            Self::F32(v) => v[index],
            Self::F16(v) => v[index].to_f32(),
            Self::Bf16(v) => v[index].to_f32(),
            Self::Int8 { values, .. } => f32::from(values[index]),
        }
    }
}

/// A K×N weight matrix in panels, with the scales and column sums of int8.
pub struct PackedB {
    precision: Precision,
    k: usize,
    n: usize,
    panels: Vec<Line>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl std::fmt::Debug for PackedB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedB {{ {} {}x{} }}", self.precision, self.k, self.n)
    }
}

/// Where element (k, n) of the source lies.
#[derive(Clone, Copy)]
struct Layout {
    k: usize,
    n: usize,
    transposed: bool,
}

impl Layout {
    fn at(self, k: usize, n: usize) -> usize {
        if self.transposed { n * self.k + k } else { k * self.n + n }
    }
}

impl PackedB {
    /// Packs a matrix given row-major as K×N, or as N×K when `transposed`. Int8 from float sources quantizes
    /// symmetrically per output channel: scale = max|w| / 127, round half to even.
    ///
    /// # Errors
    /// A source of the wrong length, quantized values for another precision, or K too large for exact int8.
    pub fn pack(
        precision: Precision,
        k: usize,
        n: usize,
        source: Source<'_>,
        transposed: bool,
    ) -> Result<Self, GemmError> {
        let expected = k.checked_mul(n).ok_or(GemmError::TooLarge { k, n })?;
        if source.len() != expected {
            return Err(GemmError::SourceLength { expected, given: source.len() });
        }
        if precision == Precision::Int8 && k > INT8_MAX_K {
            return Err(GemmError::DeepInt8 { k });
        }
        let bytes = Self::panel_bytes_of(precision, k)
            .checked_mul(n.div_ceil(PANEL))
            .ok_or(GemmError::TooLarge { k, n })?;
        let panels = bytemuck::zeroed_vec(bytes.div_ceil(64));
        let mut packed = Self { precision, k, n, panels, scales: Vec::new(), sums: Vec::new() };
        let layout = Layout { k, n, transposed };
        match (precision, source) {
            (Precision::Int8, Source::Int8 { values, scales }) => {
                if scales.len() != n {
                    return Err(GemmError::SourceLength { expected: n, given: scales.len() });
                }
                packed.scales = scales.to_vec();
                packed.fill(layout, |index, _| values[index]);
            }
            (_, Source::Int8 { .. }) => return Err(GemmError::QuantizedSource { precision }),
            (Precision::Int8, _) => {
                packed.scales = channel_scales(source, layout);
                let scales = packed.scales.clone();
                packed.fill(layout, |index, column| quantize(source.at(index) / scales[column]));
            }
            (Precision::F32, Source::F32(values)) => packed.copy(layout, values),
            (Precision::F32, _) => packed.fill(layout, |index, _| source.at(index)),
            (Precision::F16, Source::F16(values)) => packed.copy(layout, values),
            (Precision::F16, _) => packed.fill(layout, |index, _| f16::from_f32(source.at(index))),
            (Precision::Bf16 | Precision::Bf16Dot, Source::Bf16(values)) => packed.copy(layout, values),
            (Precision::Bf16 | Precision::Bf16Dot, _) => {
                packed.fill(layout, |index, _| bf16::from_f32(source.at(index)));
            }
        }
        packed.finish_int8();
        Ok(packed)
    }

    /// Writes every panel from values that are stored as they are. Whole lines of a panel are copied at once where
    /// they are contiguous.
    fn copy<T: bytemuck::Pod>(&mut self, layout: Layout, values: &[T]) {
        if layout.transposed || self.precision.k_group() > 1 || self.k == 0 {
            self.fill(layout, |index, _| values[index]);
            return;
        }
        let (k, n) = (self.k, self.n);
        let panels: &mut [T] = bytemuck::cast_slice_mut(&mut self.panels);
        for first in (0..k).step_by(ROWS) {
            for (index, panel) in panels.chunks_exact_mut(PANEL * k).take(n.div_ceil(PANEL)).enumerate() {
                let columns = index * PANEL..n.min(index * PANEL + PANEL);
                for row in first..k.min(first + ROWS) {
                    let line = &mut panel[row * PANEL..][..columns.len()];
                    line.copy_from_slice(&values[row * n..][columns.clone()]);
                }
            }
        }
    }

    /// Writes every panel: element (k, n) goes to panel n/16, group k/g, column n%16, place k%g.
    fn fill<T: bytemuck::Pod>(&mut self, layout: Layout, value: impl Fn(usize, usize) -> T) {
        let group = self.precision.k_group();
        let panel = PANEL * self.precision.padded_k(self.k);
        let out: &mut [T] = bytemuck::cast_slice_mut(&mut self.panels);
        for first in (0..self.k).step_by(ROWS) {
            for column in (0..self.n).step_by(PANEL) {
                let width = PANEL.min(self.n - column);
                let out = &mut out[column / PANEL * panel..][..panel];
                for k in first..self.k.min(first + ROWS) {
                    let row = &mut out[k / group * group * PANEL..][..group * PANEL];
                    for j in 0..width {
                        row[j * group + k % group] = value(layout.at(k, column + j), column + j);
                    }
                }
            }
        }
    }

    /// Column sums, and scales padded to whole panels.
    fn finish_int8(&mut self) {
        if self.precision != Precision::Int8 {
            return;
        }
        let columns = self.n.next_multiple_of(PANEL);
        self.scales.resize(columns, 0.0);
        let mut sums = vec![0; columns];
        let panel = self.panel_bytes();
        let bytes: &[i8] = bytemuck::cast_slice(&self.panels);
        if panel > 0 {
            for (values, sums) in bytes.chunks_exact(panel).zip(sums.chunks_exact_mut(PANEL)) {
                for row in values.chunks_exact(PANEL * 4) {
                    for (sum, four) in sums.iter_mut().zip(row.chunks_exact(4)) {
                        *sum += four.iter().map(|&v| i32::from(v)).sum::<i32>();
                    }
                }
            }
        }
        self.sums = sums;
    }

    fn panel_bytes_of(precision: Precision, k: usize) -> usize {
        precision.padded_k(k) * PANEL * precision.weight_bytes()
    }

    /// Bytes from one panel to the next.
    pub(crate) fn panel_bytes(&self) -> usize {
        Self::panel_bytes_of(self.precision, self.k)
    }

    /// First byte of the panels, 64-byte aligned.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.panels.as_ptr().cast()
    }

    /// Storage precision.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Rows of the matrix.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.panels.len() * 64 + self.scales.len() * 4 + self.sums.len() * 4
    }

    /// Int8: real value of one step per output channel, padded to whole panels. Empty for other precisions.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Int8: sum of the quantized weights per output channel, padded to whole panels.
    pub(crate) fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// The weight at (k, n) as the kernels see it: the value after rounding to the stored precision.
    #[cfg(test)]
    pub(crate) fn value(&self, k: usize, n: usize) -> f64 {
        let group = self.precision.k_group();
        let at = n / PANEL * self.precision.padded_k(self.k) * PANEL
            + (k / group * PANEL + n % PANEL) * group
            + k % group;
        match self.precision {
            Precision::F32 => f64::from(bytemuck::cast_slice::<_, f32>(&self.panels)[at]),
            Precision::F16 => bytemuck::cast_slice::<_, f16>(&self.panels)[at].to_f64(),
            Precision::Bf16 | Precision::Bf16Dot => {
                bytemuck::cast_slice::<_, bf16>(&self.panels)[at].to_f64()
            }
            Precision::Int8 => f64::from(bytemuck::cast_slice::<_, i8>(&self.panels)[at]),
        }
    }
}

/// Rounds half to even and saturates to ±127, without a library call: adding 1.5·2²³ leaves the integer in the low byte.
fn quantize(steps: f32) -> i8 {
    (steps.clamp(-127.0, 127.0) + 12_582_912.0).to_bits() as i8
}

/// max|w| / 127 per output channel; 1 for a channel of zeros.
fn channel_scales(source: Source<'_>, layout: Layout) -> Vec<f32> {
    let mut peaks = vec![0.0f32; layout.n];
    if layout.transposed {
        for (n, peak) in peaks.iter_mut().enumerate() {
            *peak = (0..layout.k).map(|k| source.at(layout.at(k, n)).abs()).fold(0.0, f32::max);
        }
    } else {
        for k in 0..layout.k {
            for (n, peak) in peaks.iter_mut().enumerate() {
                *peak = peak.max(source.at(layout.at(k, n)).abs());
            }
        }
    }
    peaks.iter().map(|&peak| if peak > 0.0 && peak.is_finite() { peak / 127.0 } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantization_rounds_half_to_even_and_saturates() {
        for step in -2000..=2000 {
            let value = step as f32 / 8.0;
            let expected = value.round_ties_even().clamp(-127.0, 127.0) as i8;
            assert_eq!(quantize(value), expected, "{value}");
        }
        assert_eq!(quantize(f32::INFINITY), 127);
    }

    #[test]
    fn every_layout_packs_the_same_matrix() {
        let (k, n) = (37, 41);
        let values: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.37).sin()).collect();
        let turned: Vec<f32> = (0..k * n).map(|i| values[i % k * n + i / k]).collect();
        for precision in Precision::ALL {
            let plain = PackedB::pack(precision, k, n, Source::F32(&values), false).unwrap();
            let transposed = PackedB::pack(precision, k, n, Source::F32(&turned), true).unwrap();
            let halves: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
            let half = PackedB::pack(precision, k, n, Source::F16(&halves), false).unwrap();
            for (row, column) in (0..k * n).map(|i| (i / n, i % n)) {
                let value = plain.value(row, column);
                assert_eq!(value, transposed.value(row, column), "{precision}");
                let exact = f64::from(values[row * n + column]);
                let scale = plain.scales().get(column).map_or(1.0, |s| f64::from(*s));
                let error = match precision {
                    Precision::F32 => 0.0,
                    Precision::F16 => exact.abs() / 2048.0,
                    Precision::Bf16 | Precision::Bf16Dot => exact.abs() / 256.0,
                    Precision::Int8 => scale / 2.0 + 1e-7,
                };
                assert!((value * scale - exact).abs() <= error, "{precision}: {value} for {exact}");
                let near = (half.value(row, column) * scale - exact).abs();
                assert!(near <= 2.5 * error + exact.abs() / 1024.0, "{precision} from f16");
            }
        }
    }
}
