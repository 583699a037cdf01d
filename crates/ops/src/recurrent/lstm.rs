//! `LSTM`: input, output and forget gates around a cell, with optional peepholes from the cell to the gates.
//!
//! `input_forget` couples the gates: `f = 1 - i`. The clip applies to whatever enters an activation, the cell included.
//! Spec: <https://onnx.ai/onnx/operators/onnx__LSTM.html>. Directions, lengths and layout are in `layer`.

use super::layer::{self, Direction, Kind, State};
use crate::attributes::{FLOAT, INT, OTHER, int, text};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("LSTM", &[1, 7, 14, 22], (3, 8), (0, 3)).with(&[
    ("activation_alpha", OTHER),
    ("activation_beta", OTHER),
    ("activations", OTHER),
    ("clip", FLOAT),
    ("direction", text("forward")),
    ("hidden_size", INT),
    ("input_forget", int(0)),
    ("layout", int(0)),
]);
pub(super) const KIND: Kind = Kind { gates: 4, activations: &["Sigmoid", "Tanh", "Tanh"], has_cell: true };

pub(crate) struct Lstm;

/// Weights are stored in the order input, output, forget, cell.
fn step(weights: &Direction<'_>, x: &[f64], state: &mut State, couples: bool) {
    let hidden = weights.hidden;
    let old = std::mem::take(&mut state.hidden);
    let sum = |gate: usize, neuron: usize| {
        let row = gate * hidden + neuron;
        weights.input_product(row, x) + weights.state_product(row, &old) + weights.wb[row] + weights.rb[row]
    };
    let peephole = |gate: usize, neuron: usize| weights.peepholes[gate * hidden + neuron];
    for neuron in 0..hidden {
        let before = state.cell[neuron];
        let input = weights.activate(0, sum(0, neuron) + peephole(0, neuron) * before);
        let forget = if couples {
            1.0 - input
        } else {
            weights.activate(0, sum(2, neuron) + peephole(2, neuron) * before)
        };
        let cell = forget * before + input * weights.activate(1, sum(3, neuron));
        let output = weights.activate(0, sum(1, neuron) + peephole(1, neuron) * cell);
        state.cell[neuron] = cell;
        state.hidden.push(output * weights.activate(2, cell));
    }
}

impl Op for Lstm {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        layer::infer(cx, &KIND)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Recurrent
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let couples = cx.attrs.int_or("input_forget", 0) != 0;
        layer::eval(cx, &KIND, |weights, x, state| step(weights, x, state, couples))
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        layer::flops(shapes)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        layer::upgrade(edit);
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        layer::downgrade(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attrs, inputs, run, wave};
    use super::*;
    use crate::check::close;

    #[test]
    fn both_directions_with_peepholes_and_lengths() {
        let mut inputs = inputs(4, 2, Some(&[1, 3]));
        inputs.push(Some(wave(&[2, 6], 0.7)));
        let found = run(&Lstm, &attrs("bidirectional", &[]), &inputs);
        close(
            &found[1],
            &[-0.21328, -0.210839, -0.403384, -0.43001, -0.0514164, -0.389312, -0.203743, -0.303956],
        );
        close(
            &found[2],
            &[-0.332928, -0.505879, -0.644126, -0.934973, -0.097403, -0.640185, -0.302752, -0.470955],
        );
    }

    #[test]
    fn the_clip_limits_gates_and_what_leaves_the_cell() {
        let found = run(&Lstm, &attrs("forward", &[]).with("clip", 0f32), &inputs(4, 1, Some(&[1, 1])));
        assert!(found[1].floats().unwrap().iter().all(|h| *h == 0.0));
        let halved: Vec<f64> = wave(&[1, 2, 2], 0.6).floats().unwrap().iter().map(|c| c / 2.0).collect();
        close(&found[2], &halved);
    }

    #[test]
    fn coupled_gates() {
        let attrs = attrs("reverse", &[]).with("input_forget", 1);
        let found = run(&Lstm, &attrs, &inputs(4, 1, None));
        close(
            &found[0],
            &[
                -0.524152, -0.542942, -0.45617, -0.491683, -0.472014, -0.504146, -0.359197, -0.529065,
                -0.301055, -0.376611, -0.13685, -0.246446,
            ],
        );
        close(&found[2], &[-0.76107, -0.801337, -0.621155, -0.882349]);
    }

    #[test]
    fn absent_inputs_are_zeros() {
        let inputs = &inputs(4, 1, None)[..3];
        let found = run(&Lstm, &attrs("forward", &[]), inputs);
        close(&found[1], &[-0.0363953, 0.0245202, 0.113161, -0.111834]);
        close(&found[2], &[-0.076284, 0.0438894, 0.272055, -0.473532]);
    }
}
