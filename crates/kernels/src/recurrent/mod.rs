//! Recurrent layers: LSTM, GRU and RNN walking sequences, both directions and all sequences of a batch side by side.
//!
//! Contract: f32; the product of the inputs with their weights, biases added, is given for every position, so that a
//! step multiplies the state alone. A phase of the step is a position: its tiles are blocks of neurons of some sequences,
//! which compute all gates and the new state at once. Weights are packed gate by gate in the panels of the GEMM family.
//! Knows no ONNX: layouts, activations and biases are exec's to say.

mod cell;
mod step;
#[cfg(test)]
mod tests;

pub use step::RecurrentStep;

use crate::arena::Span;
use crate::gemm::{PackedB, Precision, Source};
use crate::layout::Layout;
use crate::math::Activation;
use crate::operand::{Operand, SpecError};
use std::sync::Arc;

/// What one neuron computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Gates in the order input, output, forget, cell.
    Lstm {
        /// Whether the forget gate is one less the input gate.
        couples: bool,
    },
    /// Gates in the order update, reset, hidden.
    Gru {
        /// Whether the reset gate scales the product with the state, and not the state.
        linear_before_reset: bool,
    },
    /// One gate.
    Rnn,
}

impl Cell {
    /// Gates per neuron.
    pub fn gates(self) -> usize {
        match self {
            Self::Lstm { .. } => 4,
            Self::Gru { .. } => 3,
            Self::Rnn => 1,
        }
    }

    /// Activation functions per direction: those of the gates, of the candidate, of what leaves an LSTM's cell.
    pub fn functions(self) -> usize {
        match self {
            Self::Lstm { .. } => 3,
            Self::Gru { .. } => 2,
            Self::Rnn => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lstm { .. } => "lstm",
            Self::Gru { .. } => "gru",
            Self::Rnn => "rnn",
        }
    }

    /// Phases that a position takes: a GRU that resets the state needs all of it reset before the product.
    fn phases(self) -> usize {
        if self == (Self::Gru { linear_before_reset: false }) { 2 } else { 1 }
    }
}

/// Weights of the state, packed per direction and gate.
#[derive(Debug)]
pub struct RecurrentWeights {
    hidden: usize,
    gates: Vec<PackedB>,
}

impl RecurrentWeights {
    /// Packs `[directions, gates, hidden, hidden]`, rows being neurons.
    ///
    /// # Errors
    /// A length that is no multiple of `hidden²`.
    pub fn pack(values: &[f32], hidden: usize) -> Result<Self, SpecError> {
        let square = hidden.checked_mul(hidden).filter(|square| *square > 0);
        let Some(square) = square.filter(|square| values.len().is_multiple_of(*square)) else {
            let reason = format!("recurrent: {} weights for gates of {hidden} neurons", values.len());
            return Err(SpecError::new(reason));
        };
        let pack = |gate: &[f32]| {
            PackedB::pack(Precision::F32, hidden, hidden, Source::F32(gate), true)
                .map_err(|error| SpecError::new(error.to_string()))
        };
        Ok(Self { hidden, gates: values.chunks_exact(square).map(pack).collect::<Result<_, _>>()? })
    }
}

/// One direction of a layer.
#[derive(Clone, Debug)]
pub struct Direction {
    /// Whether it begins at each sequence's end.
    pub is_reverse: bool,
    /// [`Cell::functions`] of them.
    pub functions: Vec<Activation>,
    /// LSTM: `[3, hidden]`, from the cell to the input, output and forget gates.
    pub peepholes: Option<Vec<f32>>,
    /// GRU with `linear_before_reset`: `[hidden]`, added to the state's product before the reset.
    pub reset_bias: Option<Vec<f32>>,
}

/// A layer over a batch of sequences.
#[derive(Clone, Debug)]
pub struct RecurrentSpec {
    /// What a neuron computes.
    pub cell: Cell,
    /// Limit on the magnitude of what enters an activation function.
    pub clip: Option<f32>,
    /// One or two.
    pub directions: Vec<Direction>,
    /// Weights of the state.
    pub weights: Arc<RecurrentWeights>,
    /// Products with the inputs, biases added: `[steps, batch, directions·gates·hidden]`, the last dim contiguous.
    pub inputs: (Operand, Layout),
    /// i32 `[batch]`: positions of each sequence; all of them where absent.
    pub lengths: Option<Operand>,
    /// `[directions, batch, hidden]`, the last dim contiguous; zeros where absent.
    pub initial_hidden: Option<(Operand, Layout)>,
    /// LSTM: as `initial_hidden`.
    pub initial_cell: Option<(Operand, Layout)>,
    /// `[steps, directions, batch, hidden]`: every state, zeros behind a sequence's end.
    pub output: Option<(Span, Layout)>,
    /// `[directions, batch, hidden]`: the last state of each sequence.
    pub last_hidden: Option<(Span, Layout)>,
    /// LSTM: the last cell state of each sequence.
    pub last_cell: Option<(Span, Layout)>,
    /// [`RecurrentSpec::scratch_bytes`] bytes.
    pub scratch: Span,
}

impl RecurrentSpec {
    /// Scratch for `states` = directions·batch·hidden neurons: the state before and after a position, and two more values
    /// per neuron that cells keep. `usize::MAX` when the count overflows; building the step then says so.
    pub fn scratch_bytes(states: usize) -> usize {
        states.saturating_mul(4 * size_of::<f32>())
    }
}
