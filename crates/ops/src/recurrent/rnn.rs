//! `RNN`: `h = f(W x + R h + b)` along a sequence.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__RNN.html>. Directions, lengths and layout are in `layer`.

use super::layer::{self, Direction, Kind, State};
use crate::attributes::{FLOAT, INT, OTHER, int, text};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};

static SCHEMA: Schema = Schema::onnx("RNN", &[1, 7, 14, 22], (3, 6), (0, 2)).with(&[
    ("activation_alpha", OTHER),
    ("activation_beta", OTHER),
    ("activations", OTHER),
    ("clip", FLOAT),
    ("direction", text("forward")),
    ("hidden_size", INT),
    ("layout", int(0)),
]);
pub(super) const KIND: Kind = Kind { gates: 1, activations: &["Tanh"], has_cell: false };

pub(crate) struct Rnn;

fn step(weights: &Direction<'_>, x: &[f64], state: &mut State) {
    let neuron = |row: usize| {
        let sum = weights.input_product(row, x) + weights.state_product(row, &state.hidden);
        weights.activate(0, sum + weights.wb[row] + weights.rb[row])
    };
    state.hidden = (0..weights.hidden).map(neuron).collect();
}

impl Op for Rnn {
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
        layer::eval(cx, &KIND, step)
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
    use super::super::testing::{attrs, inputs, run};
    use super::*;
    use crate::check::{close, run_all};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn both_directions_with_lengths_and_clip() {
        let attrs = attrs("bidirectional", &["Tanh", "Relu"]).with("clip", 0.6f32);
        let found = run(&Rnn, &attrs, &inputs(1, 2, Some(&[3, 2])));
        let (a, b) = (0.53705, 0.6);
        close(
            &found[0],
            &[a, a, a, a, 0., 0., 0., 0., a, a, a, a, 0., 0., 0., b, a, a, 0., 0., 0., 0., 0., 0.],
        );
        close(&found[1], &[a, a, a, a, 0., 0., 0., 0.]);
    }

    #[test]
    fn backwards_the_last_state_is_that_of_the_first_element() {
        let attrs = attrs("reverse", &["LeakyRelu"]).with("activation_alpha", vec![0.3f32]);
        let found = run(&Rnn, &attrs, &inputs(1, 1, None));
        close(
            &found[0],
            &[
                4.26266, 5.27759, 4.64863, 6.44972, 2.373, 3.32559, 2.99074, 3.44458, 1.67164, 1.60227,
                2.14049, 2.95807,
            ],
        );
        close(&found[1], &[4.26266, 5.27759, 4.64863, 6.44972]);
    }

    #[test]
    fn batch_first_is_the_same_layer() {
        let time_first = inputs(1, 1, None);
        let found = run(&Rnn, &Attrs::new(), &time_first);
        let swapped = |tensor: &Tensor| {
            let (shape, x) = (tensor.shape(), tensor.elements::<f32>().unwrap());
            let at = |i: usize| {
                x[((i / shape[2]) % shape[0] * shape[1] + i / shape[2] / shape[0]) * shape[2] + i % shape[2]]
            };
            crate::check::from_fn(&[shape[1], shape[0], shape[2]], at)
        };
        let mut batch_first = time_first.clone();
        batch_first[0] = time_first[0].as_ref().map(swapped);
        batch_first[5] = time_first[5].as_ref().map(swapped);
        let other = run(&Rnn, &Attrs::new().with("layout", 1), &batch_first);
        assert_eq!((other[0].shape(), other[1].shape()), (&[2, 3, 1, 2][..], &[2, 1, 2][..]));
        assert_eq!(swapped(&found[1]), other[1]);
        assert_eq!(swapped(&found[0].reshaped(vec![3, 2, 2]).unwrap()).data(), other[0].data());
    }

    #[test]
    fn shapes_and_lengths_are_checked() {
        let mut wrong = inputs(1, 1, Some(&[4, 1]));
        let message =
            |inputs: &[Option<Tensor>]| run_all(&Rnn, &Attrs::new(), inputs, 2).unwrap_err().to_string();
        assert_eq!(message(&wrong), "sequence_lens must hold 2 lengths from 0 to 3, it is [4, 1]");
        wrong[1] = inputs(1, 2, None)[1].clone();
        assert_eq!(message(&wrong), "W must have shape [1, 2, 2], found [2, 2, 2]");
    }

    #[test]
    fn forms_change() {
        use crate::forms::testing::{downgraded, upgraded};
        let inputs: Vec<Tensor> = inputs(1, 1, None).into_iter().take(4).flatten().collect();
        let old = Attrs::new().with("output_sequence", 1);
        let (graph, node) = upgraded(&Rnn, old.clone(), &inputs, 1).unwrap();
        assert!(graph.node(node).attrs.is_empty());
        let (graph, node) = downgraded(&Rnn, Attrs::new().with("layout", 0), &inputs, 6).unwrap();
        assert_eq!(graph.node(node).attrs, old);
        assert!(downgraded(&Rnn, Attrs::new().with("layout", 1), &inputs, 13).is_err());
    }
}
