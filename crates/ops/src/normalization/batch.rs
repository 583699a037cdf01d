//! `BatchNormalization`: `(x - mean) / √(variance + epsilon) · scale + bias` per channel, with given statistics or, in
//! training mode, those of the batch.
//!
//! Until opset 13 training mode was implied by further outputs; until opset 8 `spatial = 0` had statistics per element.
//! Spec: <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>.

use super::affine::{array, channels, expect_per_channel, per_channel};
use crate::attributes::{float, int};
use crate::inference::{FLOATS, expect, same_as_first};
use crate::lanes::moments;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{add_node, input_rank, input_type, refuse, replace};
use crate::view::{from_f32, from_f64, to_f64};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, Tensor, ValueId};
use ndarray::Axis;

static SCHEMA: Schema = Schema::onnx("BatchNormalization", &[1, 6, 7, 9, 14, 15], (5, 5), (1, 3)).with(&[
    ("epsilon", float(1e-05)),
    ("momentum", float(0.9)),
    ("training_mode", int(0)),
]);

pub(crate) struct BatchNormalization;

/// Mean and variance of every channel over the batch and all positions.
fn batch_moments(x: &Tensor) -> Result<(Vec<f64>, Vec<f64>), EvalError> {
    let wide = to_f64(x)?;
    let of = |channel: ndarray::ArrayViewD<'_, f64>| moments(&channel.iter().copied().collect::<Vec<_>>());
    Ok(wide.axis_iter(Axis(1)).map(of).unzip())
}

/// Writes `spatial = 0` out as elementwise operators over statistics per element.
fn expand_per_element(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    let epsilon = edit.node().attrs.float_or("epsilon", 1e-5);
    let dtype = input_type(edit, 0).tensor().map(|ty| ty.dtype);
    let inputs: Vec<_> = edit.node().inputs.iter().flatten().copied().collect();
    let (&[x, scale, bias, mean, variance], Some(dtype)) = (&inputs[..], dtype) else {
        return Err(refuse(edit, "spatial = 0 needs five inputs and a known element type"));
    };
    let epsilon = from_f32(dtype, vec![], vec![epsilon]).map_err(|error| refuse(edit, error.to_string()))?;
    let epsilon = edit.graph.add_constant("", epsilon);
    let none = Attrs::new;
    let centred = add_node(edit, "Sub", &[x, mean], none());
    let shifted = add_node(edit, "Add", &[variance, epsilon], none());
    let deviation = add_node(edit, "Sqrt", &[shifted], none());
    let normal = add_node(edit, "Div", &[centred, deviation], none());
    let scaled = add_node(edit, "Mul", &[normal, scale], none());
    replace(edit, "Add", &[scaled, bias], none());
    Ok(())
}

/// Whether anybody reads an output past the first.
fn statistics_are_read(edit: &Edit<'_>) -> bool {
    let readers = edit.graph.readers();
    let is_read =
        |value: &ValueId| edit.graph.outputs.contains(value) || !readers[value.0 as usize].is_empty();
    edit.graph.node(edit.node).outputs.iter().skip(1).flatten().any(is_read)
}

impl Op for BatchNormalization {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        for index in 1..5 {
            expect(cx, index, FLOATS)?;
            expect_per_channel(cx, index)?;
        }
        let mut outputs = same_as_first(cx, FLOATS)?;
        for (slot, index) in outputs.iter_mut().skip(1).zip([3, 4]) {
            *slot = cx.input(index).map(|arg| arg.ty.clone()).unwrap_or_default().into();
        }
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let count = if x.shape().len() < 2 { 1 } else { channels(x)? };
        let epsilon = f64::from(cx.attrs.float_or("epsilon", 1e-5));
        let (scale, bias) = (per_channel(cx, 1, count)?, per_channel(cx, 2, count)?);
        let (given_mean, given_variance) = (per_channel(cx, 3, count)?, per_channel(cx, 4, count)?);
        let training = cx.attrs.int_or("training_mode", 0) != 0;
        if training && x.shape().len() < 2 {
            return Err(EvalError::unsupported("training mode without a channel axis"));
        }
        let (mean, variance) =
            if training { batch_moments(x)? } else { (given_mean.clone(), given_variance.clone()) };
        let area: usize = x.shape().iter().skip(2).product();
        let y = crate::lanes::map_rows(x, area, |number, row| {
            let channel = number % count;
            let factor = scale[channel] / (variance[channel] + epsilon).sqrt();
            row.iter_mut().for_each(|x| *x = (*x - mean[channel]) * factor + bias[channel]);
        })?;
        let mut outputs = vec![y.into()];
        if training {
            let momentum = f64::from(cx.attrs.float_or("momentum", 0.9));
            let mix = |old: &[f64], new: &[f64]| -> Vec<f64> {
                old.iter().zip(new).map(|(old, new)| old * momentum + new * (1.0 - momentum)).collect()
            };
            let dtype = cx.tensor(3)?.dtype();
            outputs.push(from_f64(dtype, &array(&[count], mix(&given_mean, &mean))?)?.into());
            outputs.push(from_f64(dtype, &array(&[count], mix(&given_variance, &variance))?)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        2.0 * shapes.output_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 14 {
            return Ok(());
        }
        // Exporters name these also where nobody reads them.
        if edit.node().outputs.len() > 1 && statistics_are_read(edit) {
            let reason = "training outputs before opset 14 include saved statistics, which no later form has";
            return Err(refuse(edit, reason));
        }
        let first: Vec<Option<ValueId>> = edit.node().outputs.iter().take(1).copied().collect();
        let id = edit.node;
        edit.graph.set_outputs(id, first);
        edit.node().attrs.remove("is_test");
        let per_element = edit.node().attrs.remove("spatial").is_some_and(|a| a == fusebox_ir::Attr::Int(0));
        // With two axes there is one element per channel, and both readings agree.
        if edit.opset < 9 && per_element && input_rank(edit, 0) != Some(2) {
            expand_per_element(edit)?;
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 14 && edit.node().attrs.int_or("training_mode", 0) != 0 {
            return Err(refuse(edit, "training mode took another form before opset 14"));
        }
        if edit.opset < 14 {
            edit.node().attrs.remove("training_mode");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, run_all, t};

    fn channel(values: [f32; 2]) -> Tensor {
        t(&[2], &values)
    }

    #[test]
    fn uses_given_statistics() {
        let x = t(&[1, 2, 2], &[1f32, 3.0, 10.0, 20.0]);
        let inputs =
            [x, channel([1.0, 2.0]), channel([0.0, 1.0]), channel([1.0, 10.0]), channel([4.0, 25.0])];
        let attrs = Attrs::new().with("epsilon", 1e-12f32);
        close(&run(&BatchNormalization, &attrs, &inputs), &[0.0, 1.0, 1.0, 5.0]);
    }

    #[test]
    fn training_mode_uses_the_batch() {
        let x = t(&[2, 1], &[1f32, 3.0]);
        let one = |v: f32| Some(t(&[1], &[v]));
        let inputs = [Some(x), one(1.0), one(0.0), one(10.0), one(5.0)];
        let attrs = Attrs::new().with("training_mode", 1i64).with("epsilon", 1e-12f32);
        let found = run_all(&BatchNormalization, &attrs, &inputs, 3).unwrap();
        close(&found[0], &[-1.0, 1.0]);
        close(&found[1], &[9.2]);
        close(&found[2], &[4.6]);
    }

    #[test]
    fn statistics_are_per_channel() {
        let inputs = [
            t(&[1, 2], &[0f32; 2]),
            t(&[3], &[1f32; 3]),
            channel([0.0; 2]),
            channel([0.0; 2]),
            channel([1.0; 2]),
        ];
        let message = refusal(&BatchNormalization, &Attrs::new(), &inputs);
        assert_eq!(message, "input 1 must have one element per channel (2), its shape is [3]");
    }

    #[test]
    fn old_statistics_that_nobody_reads_are_left_out() {
        let x = t(&[1, 2], &[1f32, 2.0]);
        let inputs = [x, channel([1.0; 2]), channel([0.0; 2]), channel([0.0; 2]), channel([1.0; 2])];
        for is_read in [false, true] {
            let (mut graph, node) = crate::forms::testing::node(&BatchNormalization, Attrs::new(), &inputs);
            let outputs: Vec<_> = (0..5).map(|_| Some(graph.add_typed(fusebox_ir::Type::Unknown))).collect();
            graph.outputs = outputs.iter().flatten().take(1 + usize::from(is_read)).copied().collect();
            graph.set_outputs(node, outputs);
            let result = BatchNormalization.upgrade(&mut Edit { graph: &mut graph, node, opset: 9 });
            assert_eq!(result.is_err(), is_read);
            assert_eq!(graph.node(node).outputs.len(), if is_read { 5 } else { 1 });
        }
    }

    #[test]
    fn statistics_per_element_are_written_out() {
        let x = t(&[1, 1, 2], &[3f32, 5.0]);
        let per_element = |values: [f32; 2]| t(&[1, 2], &values);
        let inputs =
            [x, per_element([1.0, 2.0]), per_element([0.0; 2]), per_element([1.0; 2]), per_element([4.0; 2])];
        let attrs = Attrs::new().with("spatial", 0i64).with("epsilon", 1e-12f32);
        let (mut graph, node) = crate::forms::testing::node(&BatchNormalization, attrs, &inputs);
        BatchNormalization.upgrade(&mut Edit { graph: &mut graph, node, opset: 7 }).unwrap();
        graph.outputs = vec![graph.node(node).output(0).unwrap()];
        let result =
            crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap().remove(0).into_tensor().unwrap();
        close(&result, &[1.0, 4.0]);
    }
}
