//! How a weight tensor is narrowed.

mod bf16;
mod fp16;
mod int8;

use fusebox_ir::Tensor;

/// Precision of weights and of the multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// s8 weights, symmetric per output channel; u8 activations with scale and zero point per row, found at run time.
    Int8,
    /// fp16 weights, f32 arithmetic.
    Fp16,
    /// bf16 weights, f32 arithmetic.
    Bf16,
}

/// A weight in its narrow form.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrow {
    /// Same shape as the original.
    pub weight: Tensor,
    /// Scale per output channel, f32, for integer weights.
    pub scale: Option<Tensor>,
    /// Signal-to-quantization-noise ratio of the weights, in dB.
    pub sqnr_db: f64,
}

/// Why a layer keeps its precision.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The weights are computed at run time.
    #[error("its weights are not constant")]
    NotConstant,
    /// The weights are not f32.
    #[error("its weights are {found}, not f32")]
    DType {
        /// Element type found.
        found: String,
    },
    /// Only the form with weights on the right and rank 2 has a kernel.
    #[error("{reason}")]
    Form {
        /// What is unusual about it.
        reason: String,
    },
    /// Too short for integer arithmetic to pay, or so long that sums would overflow 32 bits.
    #[error("it sums {depth} products per output, outside the {least} to {most} that int8 takes")]
    Depth {
        /// Products per output.
        depth: usize,
        /// Fewest.
        least: usize,
        /// Most.
        most: usize,
    },
    /// Infinite or NaN weights.
    #[error("its weights hold infinities or NaN")]
    NotFinite,
    /// Weights beyond the largest value of the format.
    #[error("its largest weight, {largest:e}, exceeds what {format} holds")]
    Overflow {
        /// Largest magnitude.
        largest: f32,
        /// Format.
        format: &'static str,
    },
    /// Narrowing would lose too much.
    #[error("its weights would keep only {sqnr:.1} dB of signal to noise, below the {least:.1} dB asked for")]
    Noise {
        /// SQNR reached.
        sqnr: f64,
        /// SQNR asked for.
        least: f64,
    },
    /// Rounding would add up over the steps of a sequence.
    #[error("its weights multiply a state that each step makes from the last, so recurrent layers stay f32")]
    Recurrent,
    /// The user excluded it.
    #[error("excluded by name")]
    Excluded,
}

/// A way to narrow weights.
pub trait Scheme: Sync {
    /// Which precision it makes.
    fn precision(&self) -> Precision;

    /// Narrows weights whose output channels lie along `channel_axis`; each output sums `depth` products.
    ///
    /// # Errors
    /// Why these weights keep their precision.
    fn narrow(&self, weight: &Tensor, channel_axis: usize, depth: usize) -> Result<Narrow, Refusal>;

    /// Whether look-up tables (embeddings) may be stored in this form too.
    fn narrows_tables(&self) -> bool;
}

/// One row per scheme.
pub static SCHEMES: &[&dyn Scheme] = &[&int8::Int8, &fp16::Fp16, &bf16::Bf16];

impl Precision {
    /// Name on the command line and in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        }
    }

    /// The scheme behind it.
    pub fn scheme(self) -> &'static dyn Scheme {
        let found = SCHEMES.iter().find(|scheme| scheme.precision() == self);
        *found.expect("every precision has a row")
    }
}

/// Elements of f32 weights, refused when any is not finite.
fn finite(weight: &Tensor) -> Result<std::borrow::Cow<'_, [f32]>, Refusal> {
    let wrong = |_| Refusal::DType { found: weight.dtype().to_string() };
    let elements = weight.elements::<f32>().map_err(wrong)?;
    if elements.iter().all(|x| x.is_finite()) { Ok(elements) } else { Err(Refusal::NotFinite) }
}

/// `10·log10(Σx² / Σ(x−y)²)`; infinite when nothing is lost.
fn sqnr_db(exact: &[f32], narrow: impl Iterator<Item = f32>) -> f64 {
    let (mut signal, mut noise) = (0f64, 0f64);
    for (x, y) in exact.iter().zip(narrow) {
        signal += f64::from(*x).powi(2);
        noise += (f64::from(*x) - f64::from(y)).powi(2);
    }
    if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() }
}
