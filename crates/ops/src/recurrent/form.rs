//! What the name and the attributes of a recurrent layer say, for those who run one on kernels.
//!
//! Refuses to know sizes and weights: they are in the operands.

use super::{Activation, activations, gru, layer, lstm, rnn};
use crate::InferError;
use fusebox_ir::Attrs;

/// A recurrent layer without its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Weight matrices per direction.
    pub gates: usize,
    /// Whether each direction runs backwards.
    pub reverses: &'static [bool],
    /// The functions of each direction.
    pub functions: Vec<Vec<Activation>>,
    /// Limit on the magnitude of what enters a function.
    pub clip: Option<f32>,
    /// Whether the batch is the first axis, and not the second.
    pub is_batch_first: bool,
}

impl Form {
    /// Reads the attributes of `LSTM`, `GRU` or `RNN`; `None` for other names.
    ///
    /// # Errors
    /// An unknown direction or function.
    pub fn new(name: &str, attrs: &Attrs) -> Result<Option<Self>, InferError> {
        let kind = match name {
            "LSTM" => lstm::KIND,
            "GRU" => gru::KIND,
            "RNN" => rnn::KIND,
            _ => return Ok(None),
        };
        let reverses = layer::directions(attrs)?;
        let functions = activations::read(attrs, kind.activations, reverses.len())?;
        Ok(Some(Self {
            gates: kind.gates,
            reverses,
            functions: functions.chunks(kind.activations.len()).map(<[Activation]>::to_vec).collect(),
            clip: attrs.float("clip"),
            is_batch_first: attrs.int_or("layout", 0) != 0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recurrent::Function;

    #[test]
    fn attributes_of_both_directions() {
        let attrs = Attrs::new().with("direction", "bidirectional").with("clip", 2f32).with("layout", 1);
        let form = Form::new("GRU", &attrs).unwrap().unwrap();
        assert_eq!((form.gates, form.reverses, form.clip), (3, &[false, true][..], Some(2.0)));
        assert!(form.is_batch_first);
        let names: Vec<Vec<Function>> =
            form.functions.iter().map(|all| all.iter().map(|f| f.function).collect()).collect();
        assert_eq!(names, [[Function::Sigmoid, Function::Tanh], [Function::Sigmoid, Function::Tanh]]);
        assert_eq!(Form::new("Relu", &attrs).unwrap(), None);
    }
}
