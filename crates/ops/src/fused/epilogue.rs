//! What Linear, NormLinear and Conv do after their product: bias, activation, residual, in the order that the attribute
//! `residual_first` says.
//!
//! `residual_first = 0`: `y = act(p + bias) + residual`; `1`: `y = act(p + bias + residual)`. The residual broadcasts to
//! the shape of the product and never enlarges it.

use super::activation::Activation;
use super::emit::Emit;
use crate::InferError;
use fusebox_ir::{Attrs, Dim, TensorType, ValueId};

/// Attributes of the epilogue.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// Function applied to the result.
    pub activation: Activation,
    /// Whether the residual is added before the activation.
    pub residual_first: bool,
}

impl Epilogue {
    /// Reads the attributes; `residual_first` is the operator's default for the attribute of that name.
    ///
    /// # Errors
    /// An unknown activation.
    pub fn from_attrs(attrs: &Attrs, residual_first: bool) -> Result<Self, InferError> {
        let first = attrs.int_or("residual_first", i64::from(residual_first)) != 0;
        Ok(Self { activation: Activation::from_attrs(attrs)?, residual_first: first })
    }

    /// Spells it out. The bias must already broadcast against the product.
    pub fn emit(
        self,
        e: &mut Emit<'_>,
        product: ValueId,
        bias: Option<ValueId>,
        residual: Option<ValueId>,
    ) -> ValueId {
        let mut y = product;
        if let Some(bias) = bias {
            y = e.op("Add", &[y, bias]);
        }
        if let (Some(residual), true) = (residual, self.residual_first) {
            y = e.op("Add", &[y, residual]);
        }
        y = self.activation.emit(e, y);
        if let (Some(residual), false) = (residual, self.residual_first) {
            y = e.op("Add", &[y, residual]);
        }
        y
    }

    /// Floating-point operations per output element, given what is present.
    pub fn flops(self, bias: bool, residual: bool) -> f64 {
        self.activation.flops() + f64::from(u8::from(bias)) + f64::from(u8::from(residual))
    }
}

/// Checks that a residual broadcasts to `output` without enlarging it.
///
/// # Errors
/// The axis where it does not.
pub(super) fn check_residual(residual: Option<&TensorType>, output: &[Dim]) -> Result<(), InferError> {
    let Some(shape) = residual.and_then(|ty| ty.shape.as_ref()) else { return Ok(()) };
    let fits = |(r, o): (&Dim, &Dim)| match (r.value(), o.value()) {
        (Some(1), _) => true,
        (Some(r), Some(o)) => r == o,
        _ => true,
    };
    if shape.len() <= output.len() && shape.iter().rev().zip(output.iter().rev()).all(fits) {
        return Ok(());
    }
    let (residual, output) = (show(shape), show(output));
    Err(InferError::shape(format!("residual {residual} does not broadcast to the result {output}")))
}

/// Checks a vector operand of `len` elements.
///
/// # Errors
/// Another rank or length.
pub(super) fn check_vector(what: &str, ty: Option<&TensorType>, len: &Dim) -> Result<(), InferError> {
    let Some(shape) = ty.and_then(|ty| ty.shape.as_ref()) else { return Ok(()) };
    let fits = match shape.as_slice() {
        [only] => only.value().is_none() || len.value().is_none() || only == len,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(InferError::shape(format!("{what} has shape {}, expected [{len}]", show(shape))))
}

pub(super) fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}
