//! Elementwise operators around the fragments, so that patterns sit in graphs and not alone; softmax; residuals.

use super::{Flow, Sketch};
use fusebox_ir::Attrs;

/// An elementwise operator that keeps values of order one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Plus a parameter per element of the last axis.
    AddVector,
    /// A parameter per element of the last axis minus the input.
    SubFrom,
    /// Times a scalar near 1.
    MulScalar,
    /// Divided by a scalar near 1.
    DivScalar,
    /// Plus 0, times 1: identities that simplification may drop.
    Neutral,
    /// Absolute value.
    Abs,
    /// `√(x² + 1)`.
    SqrtSquare,
    /// Clipped to ±2.
    Clip,
    /// The larger of the input and a scalar.
    Max,
    /// Tangens hyperbolicus of the negative.
    NegTanh,
}

impl Noise {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::AddVector,
        Self::SubFrom,
        Self::MulScalar,
        Self::DivScalar,
        Self::Neutral,
        Self::Abs,
        Self::SqrtSquare,
        Self::Clip,
        Self::Max,
        Self::NegTanh,
    ];
}

/// Elementwise noise.
pub fn noise(s: &mut Sketch, x: &Flow, which: Noise) -> Flow {
    let x_value = x.value;
    let value = match which {
        Noise::AddVector | Noise::SubFrom => {
            let vector = s.parameter(&[x.width()], 0.0, 0.5);
            if which == Noise::AddVector {
                s.op("Add", &[x_value, vector])
            } else {
                s.op("Sub", &[vector, x_value])
            }
        }
        Noise::MulScalar | Noise::DivScalar => {
            let factor = s.draw.uniform() + 0.5;
            let factor = s.scalar(factor);
            s.op(if which == Noise::MulScalar { "Mul" } else { "Div" }, &[x_value, factor])
        }
        Noise::Neutral => {
            let (zero, one) = (s.scalar(0.0), s.scalar(1.0));
            let sum = s.op("Add", &[x_value, zero]);
            s.op("Mul", &[sum, one])
        }
        Noise::Abs => s.op("Abs", &[x_value]),
        Noise::SqrtSquare => {
            let one = s.scalar(1.0);
            let square = s.op("Mul", &[x_value, x_value]);
            let sum = s.op("Add", &[square, one]);
            s.op("Sqrt", &[sum])
        }
        Noise::Clip => {
            let (low, high) = (s.scalar(-2.0), s.scalar(2.0));
            s.op("Clip", &[x_value, low, high])
        }
        Noise::Max => {
            let low = s.scalar(-0.25);
            s.op("Max", &[x_value, low])
        }
        Noise::NegTanh => {
            let negative = s.op("Neg", &[x_value]);
            s.op("Tanh", &[negative])
        }
    };
    x.with(value)
}

/// Softmax over the last axis.
pub fn softmax(s: &mut Sketch, x: &Flow) -> Flow {
    let value = s.op_with("Softmax", &[x.value], Attrs::new().with("axis", -1));
    x.with(value)
}

/// The sum of two flows of one shape.
pub fn residual(s: &mut Sketch, x: &Flow, branch: &Flow, swap: bool) -> Flow {
    let value = s.either("Add", x.value, branch.value, swap);
    x.with(value)
}
