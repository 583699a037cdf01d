//! `DynamicQuantizeLSTM`: an LSTM whose weights lie in 8-bit integers.
//!
//! Weights are `[directions, input, 4·hidden]`, transposed with respect to LSTM's, with scales and zero points per
//! direction or per column. It means the LSTM of ai.onnx on those weights as reals: ONNX Runtime quantizes the input and
//! each step's state by their own ranges, which its results show as noise (cosine 0.999 and better), not as meaning.

use super::Defined;
use crate::Shapes;
use crate::fused::emit::Emit;
use crate::op::{Body, QuantRole};
use fusebox_ir::{Attrs, Graph, OpName, ValueId};

/// The operator.
pub(crate) static DYNAMIC_QUANTIZE_LSTM: Defined = Defined {
    schema: &super::schema("DynamicQuantizeLSTM", (3, 12), (0, 3)),
    flops,
    role: QuantRole::Recurrent,
    define,
};

const NAMES: [&str; 12] = [
    "X",
    "W",
    "R",
    "B",
    "sequence_lens",
    "initial_h",
    "initial_c",
    "P",
    "W_scale",
    "W_zero_point",
    "R_scale",
    "R_zero_point",
];

/// Two operations per weight, step and sample.
fn flops(shapes: &Shapes<'_>) -> f64 {
    let input = shapes.input(0).and_then(|sizes| sizes.last().copied()).unwrap_or(1.0).max(1.0);
    2.0 * (shapes.input_elements(1) + shapes.input_elements(2)) * shapes.input_elements(0) / input
}

fn define(cx: &Body<'_>) -> Option<Graph> {
    let mut e = super::emit(cx, &NAMES)?;
    let (w, r) = (weights(&mut e, 1, 8)?, weights(&mut e, 2, 10)?);
    let mut inputs = vec![e.input(0), Some(w), Some(r)];
    inputs.extend((3..8).map(|index| e.input(index)));
    let outputs = e.b.node(OpName::onnx("LSTM"), &inputs, cx.outputs, cx.attrs.clone());
    Some(e.finish(&outputs))
}

/// Weights as LSTM takes them, `[directions, 4·hidden, columns]`. What is stored stays in 8 bits up to the last.
fn weights(e: &mut Emit<'_>, stored: usize, scale: usize) -> Option<ValueId> {
    let (value, factor, zero) = (e.input(stored)?, e.input(scale)?, e.input(scale + 1));
    let known = |sizes: Option<Vec<usize>>| {
        sizes?.into_iter().map(|size| i64::try_from(size).ok()).collect::<Option<Vec<i64>>>()
    };
    let sizes = known(e.ty(stored)?.sizes())?;
    let &[directions, columns, rows] = sizes.as_slice() else { return None };
    let turned = e.transpose(value, &[0, 2, 1]);
    let real = |e: &mut Emit<'_>, value, factor, zero| {
        let attrs = Attrs::new().with("axis", 0);
        e.b.node(OpName::onnx("DequantizeLinear"), &[Some(value), Some(factor), zero], 1, attrs)[0]
    };
    if known(e.ty(scale)?.sizes())?.len() < 2 {
        return Some(real(e, turned, factor, zero));
    }
    let flat = e.reshape(turned, &[directions * rows, columns]);
    let (factor, zero) = (e.reshape(factor, &[-1]), zero.map(|zero| e.reshape(zero, &[-1])));
    let flat = real(e, flat, factor, zero);
    Some(e.reshape(flat, &[directions, rows, columns]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, run_all, t};
    use fusebox_ir::Tensor;

    /// One neuron, one input, one step: the cell's gate alone has a weight.
    fn output(scale: Tensor, zero: Option<Tensor>) -> Vec<Tensor> {
        let mut inputs = vec![None; 12];
        inputs[0] = Some(t(&[1, 1, 1], &[2f32]));
        inputs[1] = Some(t(&[1, 1, 4], &[3i8, 3, 3, 5]));
        inputs[2] = Some(t(&[1, 1, 4], &[1i8, 1, 1, 1]));
        inputs[8] = Some(scale.clone());
        inputs[9] = zero.clone();
        inputs[10] = Some(scale);
        inputs[11] = zero;
        let attrs = Attrs::new().with("hidden_size", 1);
        run_all(&DYNAMIC_QUANTIZE_LSTM, &attrs, &inputs, 3).unwrap()
    }

    #[test]
    fn weights_are_scaled_per_direction_or_per_column() {
        let expect = |i: f64, o: f64, c: f64| {
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let cell = sigmoid(i) * c.tanh();
            [sigmoid(o) * cell.tanh(), cell]
        };
        let found = output(t(&[1], &[0.5f32]), Some(t(&[1], &[3i8])));
        let [hidden, cell] = expect(0.0, 0.0, 2.0);
        close(&found[0], &[hidden]);
        close(&found[2], &[cell]);
        assert_eq!(found[0].shape(), [1, 1, 1, 1]);
        let found = output(t(&[1, 4], &[0.5f32, 1.0, 1.0, 0.25]), None);
        let [hidden, cell] = expect(3.0, 6.0, 2.5);
        close(&found[0], &[hidden]);
        close(&found[2], &[cell]);
    }
}
