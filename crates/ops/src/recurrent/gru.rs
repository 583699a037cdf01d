//! `GRU`: an update gate `z` and a reset gate `r` decide how much of the state is kept.
//!
//! With `linear_before_reset` the reset applies to `R h + b` and not to `h`, as cuDNN and Keras have it.
//! Spec: <https://onnx.ai/onnx/operators/onnx__GRU.html>. Directions, lengths and layout are in `layer`.

use super::layer::{self, Direction, Kind, State};
use crate::attributes::{FLOAT, INT, OTHER, int, text};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::versions::refuse;
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("GRU", &[1, 3, 7, 14, 22], (3, 6), (0, 2)).with(&[
    ("activation_alpha", OTHER),
    ("activation_beta", OTHER),
    ("activations", OTHER),
    ("clip", FLOAT),
    ("direction", text("forward")),
    ("hidden_size", INT),
    ("layout", int(0)),
    ("linear_before_reset", int(0)),
]);
pub(super) const KIND: Kind = Kind { gates: 3, activations: &["Sigmoid", "Tanh"], has_cell: false };

pub(crate) struct Gru;

fn step(weights: &Direction<'_>, x: &[f64], state: &mut State, linear_before_reset: bool) {
    let (hidden, old) = (weights.hidden, &state.hidden);
    let gate = |row: usize| {
        let sum = weights.input_product(row, x) + weights.state_product(row, old);
        weights.activate(0, sum + weights.wb[row] + weights.rb[row])
    };
    let update: Vec<f64> = (0..hidden).map(gate).collect();
    let reset: Vec<f64> = (hidden..2 * hidden).map(gate).collect();
    let kept: Vec<f64> = old.iter().zip(&reset).map(|(old, reset)| old * reset).collect();
    let candidate = |neuron: usize| {
        let row = 2 * hidden + neuron;
        let from_state = if linear_before_reset {
            reset[neuron] * (weights.state_product(row, old) + weights.rb[row])
        } else {
            weights.state_product(row, &kept) + weights.rb[row]
        };
        weights.activate(1, weights.input_product(row, x) + from_state + weights.wb[row])
    };
    let next = |neuron: usize| (1.0 - update[neuron]) * candidate(neuron) + update[neuron] * old[neuron];
    state.hidden = (0..hidden).map(next).collect();
}

impl Op for Gru {
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
        let linear_before_reset = cx.attrs.int_or("linear_before_reset", 0) != 0;
        layer::eval(cx, &KIND, |weights, x, state| step(weights, x, state, linear_before_reset))
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        layer::flops(shapes)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        layer::upgrade(edit);
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 3 {
            if edit.node().attrs.int_or("linear_before_reset", 0) != 0 {
                return Err(refuse(edit, "linear_before_reset came with opset 3"));
            }
            edit.node().attrs.remove("linear_before_reset");
        }
        layer::downgrade(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attrs, inputs, run};
    use super::*;
    use crate::check::close;

    #[test]
    fn the_reset_may_come_after_the_product() {
        let attrs = attrs("reverse", &[]).with("linear_before_reset", 1);
        let found = run(&Gru, &attrs, &inputs(3, 1, Some(&[2, 3])));
        close(
            &found[0],
            &[
                0.35566, 0.533951, 0.315062, 0.0793786, 0.330511, 0.543665, 0.504419, -0.0653497, 0., 0.,
                0.550037, 0.452016,
            ],
        );
        close(&found[1], &[0.35566, 0.533951, 0.315062, 0.0793786]);
    }

    #[test]
    fn every_direction_has_its_functions() {
        let attrs = attrs("bidirectional", &["HardSigmoid", "Softsign", "Sigmoid", "ScaledTanh"])
            .with("activation_alpha", vec![0.3f32, 1.5])
            .with("activation_beta", vec![0.4f32, 0.5]);
        let found = run(&Gru, &attrs, &inputs(3, 2, None));
        close(
            &found[1],
            &[0.429456, 0.398796, 0.396783, 0.0623285, -0.501013, -0.582493, -0.696872, -0.613052],
        );
    }

    #[test]
    fn the_clip_limits_what_enters_a_gate() {
        let found = run(&Gru, &attrs("forward", &[]).with("clip", 0.2f32), &inputs(3, 1, None));
        close(&found[1], &[0.218198, 0.286034, 0.273542, 0.107299]);
    }
}
