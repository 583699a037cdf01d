//! Normalisation of the last axis inside fused operators: attributes `norm` (`layer`, `rms`) and `epsilon`.
//!
//! `layer`: `(x - mean)/√(var + epsilon)`; `rms`: `x/√(mean(x²) + epsilon)`; then `·gamma + beta`, each optional.

use super::emit::Emit;
use crate::InferError;
use fusebox_ir::{Attrs, ValueId};

/// A normalisation of the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Whether the mean is subtracted first (`layer`) or not (`rms`).
    pub is_layer: bool,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Norm {
    /// Reads the attributes: `layer` and 1e-5 by default.
    ///
    /// # Errors
    /// Another `norm`.
    pub fn from_attrs(attrs: &Attrs) -> Result<Self, InferError> {
        let wrong = || InferError::Attribute { name: "norm".into(), expected: "layer or rms".into() };
        let is_layer = match attrs.get("norm").map(|_| attrs.str("norm")) {
            None | Some(Some("layer")) => true,
            Some(Some("rms")) => false,
            Some(_) => return Err(wrong()),
        };
        Ok(Self { is_layer, epsilon: attrs.float_or("epsilon", 1e-5) })
    }

    /// Spells it out; `width` is the size of the last axis, when known.
    pub fn emit(
        self,
        e: &mut Emit<'_>,
        x: ValueId,
        gamma: Option<ValueId>,
        beta: Option<ValueId>,
        width: Option<usize>,
    ) -> ValueId {
        let attrs = Attrs::new().with("axis", -1).with("epsilon", self.epsilon);
        let exists = e.opset() >= if self.is_layer { 17 } else { 23 };
        let scale = match (gamma, width) {
            (Some(gamma), _) if exists => Some(gamma),
            (None, Some(width)) if exists => Some(e.splat(1.0, width)),
            _ => None,
        };
        match (scale, self.is_layer, beta) {
            (Some(scale), true, Some(beta)) => e.op_with("LayerNormalization", &[x, scale, beta], attrs),
            (Some(scale), true, None) => e.op_with("LayerNormalization", &[x, scale], attrs),
            (Some(scale), false, beta) => {
                let y = e.op_with("RMSNormalization", &[x, scale], attrs);
                beta.map_or(y, |beta| e.op("Add", &[y, beta]))
            }
            (None, ..) => self.emit_primitives(e, x, gamma, beta),
        }
    }

    fn emit_primitives(
        self,
        e: &mut Emit<'_>,
        x: ValueId,
        gamma: Option<ValueId>,
        beta: Option<ValueId>,
    ) -> ValueId {
        let centred = if self.is_layer {
            let mean = e.reduce("ReduceMean", x, &[-1]);
            e.op("Sub", &[x, mean])
        } else {
            x
        };
        let square = e.op("Mul", &[centred, centred]);
        let variance = e.reduce("ReduceMean", square, &[-1]);
        let epsilon = e.scalar(f64::from(self.epsilon));
        let shifted = e.op("Add", &[variance, epsilon]);
        let deviation = e.op("Sqrt", &[shifted]);
        let mut y = e.op("Div", &[centred, deviation]);
        if let Some(gamma) = gamma {
            y = e.op("Mul", &[y, gamma]);
        }
        if let Some(beta) = beta {
            y = e.op("Add", &[y, beta]);
        }
        y
    }

    /// Floating-point operations per element as the cost model counts them.
    pub fn flops(self) -> f64 {
        if self.is_layer { 5.0 } else { 3.0 }
    }
}
