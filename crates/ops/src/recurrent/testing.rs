//! Layers of two neurons over three steps of two sequences, with weights from a sine: as small as tells gates apart.
//!
//! The expected values of the tests were computed by ONNX Runtime 1.31 on the same numbers.

use crate::Op;
use crate::check::{from_fn, run_all};
use fusebox_ir::{Attr, Attrs, Tensor};

/// `0.8 sin(0.7 i + seed)`.
pub(super) fn wave(shape: &[usize], seed: f32) -> Tensor {
    from_fn(shape, |i| (i as f32 * 0.7 + seed).sin() * 0.8)
}

/// Attributes with named activations.
pub(super) fn attrs(direction: &str, activations: &[&str]) -> Attrs {
    let mut attrs = Attrs::new().with("direction", direction).with("hidden_size", 2);
    if !activations.is_empty() {
        let names = activations.iter().map(|name| name.as_bytes().to_vec()).collect();
        attrs.set("activations", Attr::Strings(names));
    }
    attrs
}

/// X, W, R, B, lengths, initial state, and for an LSTM the initial cell.
pub(super) fn inputs(gates: usize, directions: usize, lengths: Option<&[i32]>) -> Vec<Option<Tensor>> {
    let state = [directions, 2, 2];
    let mut inputs = vec![
        Some(wave(&[3, 2, 2], 0.1)),
        Some(wave(&[directions, gates * 2, 2], 0.2)),
        Some(wave(&[directions, gates * 2, 2], 0.3)),
        Some(wave(&[directions, gates * 4], 0.4)),
        lengths.map(|lengths| Tensor::vector(lengths.to_vec())),
        Some(wave(&state, 0.5)),
    ];
    if gates == 4 {
        inputs.push(Some(wave(&state, 0.6)));
    }
    inputs
}

/// All outputs of a layer.
pub(super) fn run(op: &dyn Op, attrs: &Attrs, inputs: &[Option<Tensor>]) -> Vec<Tensor> {
    run_all(op, attrs, inputs, op.schema().outputs.1).unwrap()
}
