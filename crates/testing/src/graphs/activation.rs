//! Activations: GELU in its erf, tanh and sigmoid spellings, SiLU, HardSwish, and the plain ones.

use super::{Flow, Sketch};
use fusebox_ir::{Attrs, ValueId};

/// How GELU is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x * (erf(x / √2) + 1) * 0.5`: torch.
    ErfDiv,
    /// The same with a product by 1/√2.
    ErfMul,
    /// `x * (0.5 * (1 + erf(x / √2)))`.
    ErfHalfInside,
    /// `(0.5 * x) * (1 + erf(x / √2))`: transformers.
    ErfHalfFirst,
    /// `0.5 * x * (1 + tanh(√(2/π) * (x + 0.044715 * x³)))`, the cube by Pow.
    TanhPow,
    /// The same, the cube by two products.
    TanhMul,
    /// The same with `x * (1 + 0.044715 * x²)`.
    TanhFactored,
    /// `x * sigmoid(1.702 * x)`: quick GELU.
    Sigmoid,
    /// The operator.
    Operator,
    /// The operator with approximate="tanh".
    OperatorTanh,
}

impl Gelu {
    /// Every spelling.
    pub const ALL: &'static [Self] = &[
        Self::ErfDiv,
        Self::ErfMul,
        Self::ErfHalfInside,
        Self::ErfHalfFirst,
        Self::TanhPow,
        Self::TanhMul,
        Self::TanhFactored,
        Self::Sigmoid,
        Self::Operator,
        Self::OperatorTanh,
    ];
}

/// GELU.
pub fn gelu(s: &mut Sketch, x: &Flow, spelling: Gelu) -> Flow {
    let value = match spelling {
        Gelu::ErfDiv | Gelu::ErfMul | Gelu::ErfHalfInside | Gelu::ErfHalfFirst => {
            erf_gelu(s, x.value, spelling)
        }
        Gelu::TanhPow | Gelu::TanhMul | Gelu::TanhFactored => tanh_gelu(s, x.value, spelling),
        Gelu::Sigmoid => {
            let k = s.scalar(1.702);
            let scaled = s.op("Mul", &[x.value, k]);
            let gate = s.op("Sigmoid", &[scaled]);
            s.op("Mul", &[x.value, gate])
        }
        Gelu::Operator => s.op("Gelu", &[x.value]),
        Gelu::OperatorTanh => s.op_with("Gelu", &[x.value], Attrs::new().with("approximate", "tanh")),
    };
    x.with(value)
}

fn erf_gelu(s: &mut Sketch, x: ValueId, spelling: Gelu) -> ValueId {
    let (half, one) = (s.scalar(0.5), s.scalar(1.0));
    let scaled = if spelling == Gelu::ErfMul {
        let k = s.scalar(std::f32::consts::FRAC_1_SQRT_2);
        s.op("Mul", &[x, k])
    } else {
        let k = s.scalar(std::f32::consts::SQRT_2);
        s.op("Div", &[x, k])
    };
    let erf = s.op("Erf", &[scaled]);
    let swap = s.draw.chance(0.5);
    let shifted = s.either("Add", erf, one, swap);
    match spelling {
        Gelu::ErfHalfInside => {
            let gate = s.op("Mul", &[half, shifted]);
            s.op("Mul", &[x, gate])
        }
        Gelu::ErfHalfFirst => {
            let halved = s.op("Mul", &[half, x]);
            s.op("Mul", &[halved, shifted])
        }
        _ => {
            let product = s.op("Mul", &[x, shifted]);
            s.op("Mul", &[product, half])
        }
    }
}

fn tanh_gelu(s: &mut Sketch, x: ValueId, spelling: Gelu) -> ValueId {
    let (half, one, cubic) = (s.scalar(0.5), s.scalar(1.0), s.scalar(0.044715));
    let root = s.scalar(0.797_884_6);
    let inner = if spelling == Gelu::TanhFactored {
        let square = s.op("Mul", &[x, x]);
        let scaled = s.op("Mul", &[square, cubic]);
        let factor = s.op("Add", &[scaled, one]);
        s.op("Mul", &[x, factor])
    } else {
        let cube = if spelling == Gelu::TanhPow {
            let three = s.scalar(3.0);
            s.op("Pow", &[x, three])
        } else {
            let square = s.op("Mul", &[x, x]);
            s.op("Mul", &[square, x])
        };
        let scaled = s.op("Mul", &[cubic, cube]);
        s.op("Add", &[x, scaled])
    };
    let scaled = s.op("Mul", &[root, inner]);
    let tanh = s.op("Tanh", &[scaled]);
    let swap = s.draw.chance(0.5);
    let shifted = s.either("Add", tanh, one, swap);
    let halved = s.op("Mul", &[half, x]);
    s.op("Mul", &[halved, shifted])
}

/// How SiLU is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silu {
    /// `x * sigmoid(x)`.
    MulSigmoid,
    /// `sigmoid(x) * x`.
    SigmoidMul,
    /// `x / (1 + exp(-x))`.
    Exp,
}

impl Silu {
    /// Every spelling.
    pub const ALL: &'static [Self] = &[Self::MulSigmoid, Self::SigmoidMul, Self::Exp];
}

/// SiLU.
pub fn silu(s: &mut Sketch, x: &Flow, spelling: Silu) -> Flow {
    let value = if spelling == Silu::Exp {
        let one = s.scalar(1.0);
        let negative = s.op("Neg", &[x.value]);
        let exp = s.op("Exp", &[negative]);
        let below = s.op("Add", &[one, exp]);
        s.op("Div", &[x.value, below])
    } else {
        let gate = s.op("Sigmoid", &[x.value]);
        s.either("Mul", x.value, gate, spelling == Silu::SigmoidMul)
    };
    x.with(value)
}

/// How HardSwish is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardSwish {
    /// The operator: dynamo.
    Operator,
    /// `x * hard_sigmoid(x)` with alpha 1/6: TorchScript.
    HardSigmoid,
    /// `x * clip(x + 3, 0, 6) / 6`: TensorFlow.
    ClipDiv,
    /// `x * (clip(x + 3, 0, 6) * (1/6))`.
    ClipMul,
}

impl HardSwish {
    /// Every spelling.
    pub const ALL: &'static [Self] = &[Self::Operator, Self::HardSigmoid, Self::ClipDiv, Self::ClipMul];
}

/// HardSwish.
pub fn hard_swish(s: &mut Sketch, x: &Flow, spelling: HardSwish) -> Flow {
    let value = match spelling {
        HardSwish::Operator => s.op("HardSwish", &[x.value]),
        HardSwish::HardSigmoid => {
            let attrs = Attrs::new().with("alpha", 1.0f32 / 6.0).with("beta", 0.5f32);
            let gate = s.op_with("HardSigmoid", &[x.value], attrs);
            s.op("Mul", &[x.value, gate])
        }
        HardSwish::ClipDiv | HardSwish::ClipMul => {
            let (three, zero, six) = (s.scalar(3.0), s.scalar(0.0), s.scalar(6.0));
            let shifted = s.op("Add", &[x.value, three]);
            let clipped = s.op("Clip", &[shifted, zero, six]);
            if spelling == HardSwish::ClipDiv {
                let product = s.op("Mul", &[x.value, clipped]);
                s.op("Div", &[product, six])
            } else {
                let sixth = s.scalar(1.0 / 6.0);
                let gate = s.op("Mul", &[clipped, sixth]);
                s.op("Mul", &[x.value, gate])
            }
        }
    };
    x.with(value)
}

/// An activation that is one operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the operators'")]
pub enum Plain {
    Relu,
    Relu6,
    Tanh,
    Sigmoid,
    LeakyRelu,
    Elu,
    Softplus,
    HardSigmoid,
}

impl Plain {
    /// Every one.
    pub const ALL: &'static [Self] = &[
        Self::Relu,
        Self::Relu6,
        Self::Tanh,
        Self::Sigmoid,
        Self::LeakyRelu,
        Self::Elu,
        Self::Softplus,
        Self::HardSigmoid,
    ];
}

/// A plain activation.
pub fn plain(s: &mut Sketch, x: &Flow, which: Plain) -> Flow {
    let value = match which {
        Plain::Relu6 => {
            let (zero, six) = (s.scalar(0.0), s.scalar(6.0));
            s.op("Clip", &[x.value, zero, six])
        }
        Plain::LeakyRelu => s.op_with("LeakyRelu", &[x.value], Attrs::new().with("alpha", 0.1f32)),
        Plain::Elu => s.op_with("Elu", &[x.value], Attrs::new().with("alpha", 1.0f32)),
        other => s.op(&format!("{other:?}"), &[x.value]),
    };
    x.with(value)
}

/// Any activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each holds its spelling")]
pub enum Activation {
    Gelu(Gelu),
    Silu(Silu),
    HardSwish(HardSwish),
    Plain(Plain),
}

/// Any activation.
pub fn activation(s: &mut Sketch, x: &Flow, which: Activation) -> Flow {
    match which {
        Activation::Gelu(spelling) => gelu(s, x, spelling),
        Activation::Silu(spelling) => silu(s, x, spelling),
        Activation::HardSwish(spelling) => hard_swish(s, x, spelling),
        Activation::Plain(which) => plain(s, x, which),
    }
}
