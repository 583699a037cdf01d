//! Activations of fused operators: attributes `activation`, `alpha`, `beta`, and their spelling in standard operators.
//!
//! Refuses to know what computes them fast. Formulas are those of the ONNX operators of the same name; `quick_gelu` is
//! `x·sigmoid(alpha·x)` and `silu` is `x·sigmoid(x)`.

use super::emit::Emit;
use crate::InferError;
use fusebox_ir::{Attrs, OpName, ValueId};

/// An elementwise function applied to a fused operator's result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `x·(1 + erf(x/√2))/2`.
    Gelu,
    /// `x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2`.
    GeluTanh,
    /// `x·sigmoid(alpha·x)`.
    QuickGelu {
        /// Factor inside the sigmoid, 1.702 by default.
        alpha: f32,
    },
    /// `x·sigmoid(x)`.
    Silu,
    /// `1/(1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `x·max(0, min(1, x/6 + 1/2))`.
    HardSwish,
    /// `max(0, min(1, alpha·x + beta))`.
    HardSigmoid {
        /// Slope, 0.2 by default.
        alpha: f32,
        /// Offset, 0.5 by default.
        beta: f32,
    },
    /// `x` where `x ≥ 0`, else `alpha·x`.
    LeakyRelu {
        /// Slope below zero, 0.01 by default.
        alpha: f32,
    },
    /// `min(max(x, lo), hi)`.
    Clip {
        /// Lower bound (`alpha`), none by default.
        lo: f32,
        /// Upper bound (`beta`), none by default.
        hi: f32,
    },
}

/// Names as the attribute `activation` spells them.
pub const NAMES: &[&str] = &[
    "none",
    "relu",
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "silu",
    "sigmoid",
    "tanh",
    "hardswish",
    "hardsigmoid",
    "leaky_relu",
    "clip",
];

impl Activation {
    /// Reads `activation`, `alpha` and `beta`; no attribute means none.
    ///
    /// # Errors
    /// When the name is not one of [`NAMES`].
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, InferError> {
        let wrong = || InferError::Attribute {
            name: "activation".into(),
            expected: format!("one of {}", NAMES.join(", ")),
        };
        if attrs.get("activation").is_none() {
            return Ok(Self::None);
        }
        let (alpha, beta) = (attrs.float("alpha"), attrs.float("beta"));
        Ok(match attrs.str("activation").ok_or_else(wrong)? {
            "none" => Self::None,
            "relu" => Self::Relu,
            "gelu" => Self::Gelu,
            "gelu_tanh" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu { alpha: alpha.unwrap_or(1.702) },
            "silu" => Self::Silu,
            "sigmoid" => Self::Sigmoid,
            "tanh" => Self::Tanh,
            "hardswish" => Self::HardSwish,
            "hardsigmoid" => Self::HardSigmoid { alpha: alpha.unwrap_or(0.2), beta: beta.unwrap_or(0.5) },
            "leaky_relu" => Self::LeakyRelu { alpha: alpha.unwrap_or(0.01) },
            "clip" => {
                Self::Clip { lo: alpha.unwrap_or(f32::NEG_INFINITY), hi: beta.unwrap_or(f32::INFINITY) }
            }
            _ => return Err(wrong()),
        })
    }

    /// Name as the attribute spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::QuickGelu { .. } => "quick_gelu",
            Self::Silu => "silu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::HardSwish => "hardswish",
            Self::HardSigmoid { .. } => "hardsigmoid",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Clip { .. } => "clip",
        }
    }

    /// Floating-point operations per element as the cost model counts them.
    pub fn flops(self) -> f64 {
        if self == Self::None { 0.0 } else { 1.0 }
    }

    /// Spells the function out.
    pub fn emit(self, e: &mut Emit<'_>, x: ValueId) -> ValueId {
        match self {
            Self::None => x,
            Self::Relu => e.op("Relu", &[x]),
            Self::Gelu => gelu(e, x),
            Self::GeluTanh => gelu_tanh(e, x),
            Self::QuickGelu { alpha } => quick_gelu(e, x, alpha),
            Self::Silu => quick_gelu(e, x, 1.0),
            Self::Sigmoid => e.op("Sigmoid", &[x]),
            Self::Tanh => e.op("Tanh", &[x]),
            Self::HardSwish if e.opset() >= 14 => e.op("HardSwish", &[x]),
            Self::HardSwish => {
                let gate = hard_sigmoid(e, x, 1.0 / 6.0, 0.5);
                e.op("Mul", &[x, gate])
            }
            Self::HardSigmoid { alpha, beta } => hard_sigmoid(e, x, alpha, beta),
            Self::LeakyRelu { alpha } => e.op_with("LeakyRelu", &[x], Attrs::new().with("alpha", alpha)),
            Self::Clip { lo, hi } => clip(e, x, lo, hi),
        }
    }
}

fn gelu(e: &mut Emit<'_>, x: ValueId) -> ValueId {
    if e.opset() >= 20 {
        return e.op("Gelu", &[x]);
    }
    if e.is_onnxruntime() {
        return e.microsoft("Gelu", &[x], Attrs::new());
    }
    let (root, one, half) = (e.scalar(std::f64::consts::SQRT_2), e.scalar(1.0), e.scalar(0.5));
    let scaled = e.op("Div", &[x, root]);
    let erf = e.op("Erf", &[scaled]);
    let gate = e.op("Add", &[erf, one]);
    let product = e.op("Mul", &[x, gate]);
    e.op("Mul", &[product, half])
}

fn gelu_tanh(e: &mut Emit<'_>, x: ValueId) -> ValueId {
    if e.opset() >= 20 {
        return e.op_with("Gelu", &[x], Attrs::new().with("approximate", "tanh"));
    }
    if e.is_onnxruntime() {
        return e.microsoft("FastGelu", &[x], Attrs::new());
    }
    let (cubic, linear) = (e.scalar(0.044715), e.scalar((2.0 / std::f64::consts::PI).sqrt()));
    let (one, half) = (e.scalar(1.0), e.scalar(0.5));
    let square = e.op("Mul", &[x, x]);
    let cube = e.op("Mul", &[square, x]);
    let cube = e.op("Mul", &[cube, cubic]);
    let sum = e.op("Add", &[x, cube]);
    let inner = e.op("Mul", &[sum, linear]);
    let tanh = e.op("Tanh", &[inner]);
    let gate = e.op("Add", &[tanh, one]);
    let product = e.op("Mul", &[x, gate]);
    e.op("Mul", &[product, half])
}

fn quick_gelu(e: &mut Emit<'_>, x: ValueId, alpha: f32) -> ValueId {
    if e.is_onnxruntime() {
        return e.microsoft("QuickGelu", &[x], Attrs::new().with("alpha", alpha));
    }
    let inner = if alpha == 1.0 {
        x
    } else {
        let alpha = e.scalar(f64::from(alpha));
        e.op("Mul", &[x, alpha])
    };
    let gate = e.op("Sigmoid", &[inner]);
    e.op("Mul", &[x, gate])
}

fn hard_sigmoid(e: &mut Emit<'_>, x: ValueId, alpha: f32, beta: f32) -> ValueId {
    e.op_with("HardSigmoid", &[x], Attrs::new().with("alpha", alpha).with("beta", beta))
}

fn clip(e: &mut Emit<'_>, x: ValueId, lo: f32, hi: f32) -> ValueId {
    let lo = (lo > f32::NEG_INFINITY).then(|| e.scalar(f64::from(lo)));
    let hi = (hi < f32::INFINITY).then(|| e.scalar(f64::from(hi)));
    e.b.node(OpName::onnx("Clip"), &[Some(x), lo, hi], 1, Attrs::new())[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for name in NAMES {
            let attrs = Attrs::new().with("activation", *name);
            assert_eq!(Activation::from_attrs(&attrs).unwrap().name(), *name);
        }
        let unknown = Attrs::new().with("activation", "swoosh");
        assert!(Activation::from_attrs(&unknown).unwrap_err().to_string().contains("one of none, relu"));
        let slope = Attrs::new().with("activation", "leaky_relu").with("alpha", 0.25f32);
        assert_eq!(Activation::from_attrs(&slope).unwrap(), Activation::LeakyRelu { alpha: 0.25 });
    }
}
