//! Recurrent layers: a cell that walks a sequence and carries a state.

mod activations;
mod form;
mod gru;
mod layer;
mod lstm;
mod rnn;
#[cfg(test)]
mod testing;

pub use activations::{Activation, Function};
pub use form::Form;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&gru::Gru, &lstm::Lstm, &rnn::Rnn];
