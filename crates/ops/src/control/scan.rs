//! `Scan`: runs its subgraph over slices of its inputs; carries states and collects outputs.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Scan.html>. The form of opset 8 had a batch
//! axis: see `scan_batched`.

use super::body::{Iterations, join, region, run, stabilize_states, stack, without_sizes};
use crate::attributes::{INT, INTS};
use crate::forms::inexpressible;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::select::{Walk, select, strides};
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Attrs, Dim, Tensor, TensorType, Type};

static SCHEMA: Schema =
    Schema::onnx("Scan", &[8, 9, 11, 16, 19, 21, 23, 24, 25], (1, usize::MAX), (1, usize::MAX)).with(&[
        ("num_scan_inputs", INT),
        ("scan_input_axes", INTS),
        ("scan_input_directions", INTS),
        ("scan_output_axes", INTS),
        ("scan_output_directions", INTS),
    ]);

pub(crate) struct Scan;

impl Op for Scan {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let graph = &region(cx.regions, "body")?.1.graph;
        let states = states(cx.attrs, cx.inputs.len())?;
        let types: Vec<Type> =
            cx.inputs.iter().map(|arg| arg.map_or(Type::Unknown, |a| a.ty.clone())).collect();
        let (mut slices, mut length) = (Vec::new(), None);
        for (position, ty) in types[states..].iter().enumerate() {
            let Some(TensorType { dtype, shape: Some(shape) }) = ty.tensor() else {
                slices.push(without_sizes(ty));
                continue;
            };
            let mut shape = shape.clone();
            let at = axis::normalize(nth(cx.attrs, "scan_input_axes", position), shape.len())?;
            length = length.or(Some(shape.remove(at)));
            slices.push(TensorType { dtype: *dtype, shape: Some(shape) }.into());
        }
        let (carried, outputs) = stabilize_states(cx, graph, types[..states].to_vec(), &slices)?;
        let length = length.unwrap_or_else(|| (cx.fresh)());
        let output = |(position, inferred): (usize, Inferred)| -> Result<Inferred, InferError> {
            match carried.get(position) {
                Some(before) => Ok(join(before, &inferred.ty, cx).into()),
                None => Ok(collected(
                    &inferred.ty,
                    nth(cx.attrs, "scan_output_axes", position - states),
                    &length,
                )?
                .into()),
            }
        };
        let mut outputs: Vec<Inferred> =
            outputs.into_iter().enumerate().map(output).collect::<Result<_, _>>()?;
        outputs.resize(cx.outputs, Inferred::default());
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let states = states(cx.attrs, cx.inputs.len())?;
        let inputs: Vec<&Tensor> =
            (0..cx.inputs.len()).map(|index| cx.tensor(index)).collect::<Result<_, _>>()?;
        let (carried, scanned) = inputs.split_at(states);
        let mut carried: Vec<Datum> = carried.iter().map(|tensor| Datum::from((*tensor).clone())).collect();
        let axes = scanned.iter().enumerate();
        let axes = axes.map(|(i, x)| axis::normalize(nth(cx.attrs, "scan_input_axes", i), x.shape().len()));
        let axes: Vec<usize> = axes.collect::<Result<_, _>>()?;
        let lengths: Vec<usize> = scanned.iter().zip(&axes).map(|(x, at)| x.shape()[*at]).collect();
        let length = lengths.first().copied().unwrap_or(0);
        if lengths.iter().any(|other| *other != length) {
            return Err(EvalError::value(format!("the scanned axes have different lengths {lengths:?}")));
        }
        let graph = &region(cx.regions, "body")?.1.graph;
        let count = graph.outputs.len().checked_sub(states);
        let count = count.ok_or_else(|| EvalError::value("the body gives fewer values than it carries"))?;
        let mut results: Vec<Vec<Datum>> = vec![Vec::new(); count];
        let mut iterations = Iterations::begin();
        for step in 0..length {
            iterations.next()?;
            let slice = |(position, x): (usize, &&Tensor)| {
                let is_backward = nth(cx.attrs, "scan_input_directions", position) != 0;
                let index = if is_backward { length - 1 - step } else { step };
                take(x, axes[position], index).map(Datum::from)
            };
            let slices: Vec<Datum> = scanned.iter().enumerate().map(slice).collect::<Result<_, _>>()?;
            let mut outputs = run(cx, "body", carried.into_iter().chain(slices).collect())?.into_iter();
            carried = outputs.by_ref().take(states).collect();
            for (list, value) in results.iter_mut().zip(outputs) {
                iterations.collect(&value)?;
                list.push(value);
            }
        }
        let collect = |(position, mut values): (usize, Vec<Datum>)| {
            if nth(cx.attrs, "scan_output_directions", position) != 0 {
                values.reverse();
            }
            let declared = &graph.value(graph.outputs[states + position]).ty;
            stack(values, nth(cx.attrs, "scan_output_axes", position), declared)
        };
        let results: Vec<Datum> = results.into_iter().enumerate().map(collect).collect::<Result<_, _>>()?;
        Ok(carried.into_iter().chain(results).collect())
    }

    /// The body is not seen here: what it computes is counted where it is lowered.
    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        Cost::default()
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 9 { super::scan_batched::upgrade(edit) } else { Ok(()) }
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 9 { Err(inexpressible(&SCHEMA, edit, "that form has a batch axis")) } else { Ok(()) }
    }
}

/// Number of carried states.
fn states(attrs: &Attrs, inputs: usize) -> Result<usize, InferError> {
    let scanned = attrs.int("num_scan_inputs").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let states = scanned.and_then(|scanned| inputs.checked_sub(scanned));
    let expected = format!("between 1 and the {inputs} inputs");
    states.ok_or(InferError::Attribute { name: "num_scan_inputs".into(), expected })
}

/// Entry of a list attribute, 0 by default.
fn nth(attrs: &Attrs, name: &str, position: usize) -> i64 {
    attrs.ints(name).and_then(|list| list.get(position).copied()).unwrap_or(0)
}

/// Slice `index` of an axis, without the axis.
fn take(x: &Tensor, at: usize, index: usize) -> Result<Tensor, EvalError> {
    let (mut shape, mut steps) = (x.shape().to_vec(), strides(x.shape()));
    shape.remove(at);
    let offset = steps.remove(at).wrapping_mul(index.cast_signed());
    let walk = Walk::new(offset, &shape, &steps)?;
    select(x, shape, walk)
}

fn collected(ty: &Type, at: i64, length: &Dim) -> Result<Type, InferError> {
    let Some(tensor) = ty.tensor() else { return Ok(Type::Unknown) };
    let mut shape = tensor.shape.clone();
    if let Some(shape) = &mut shape {
        shape.insert(axis::normalize(at, shape.len() + 1)?, length.clone());
    }
    Ok(TensorType { dtype: tensor.dtype, shape }.into())
}

#[cfg(test)]
mod tests {
    use crate::control::testing::Outer;
    use fusebox_ir::{Attrs, Builder, DType, Graph, Tensor, TensorType};

    /// Adds each slice to the state and collects the sums.
    fn body() -> Graph {
        let mut b = Builder::new();
        let sum = b.input("sum", TensorType::known(DType::F32, &[2]));
        let x = b.input("x", TensorType::known(DType::F32, &[2]));
        let next = b.op("Add", &[sum, x]);
        let seen = b.op("Identity", &[next]);
        b.finish(&[next, seen])
    }

    fn scan(attrs: Attrs) -> Vec<Tensor> {
        let mut outer = Outer::new("Scan", attrs.with("num_scan_inputs", 1));
        let start = outer.constant(Tensor::vector(vec![0f32, 0.0]));
        let x = Tensor::from_vec(vec![3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let x = outer.constant(x);
        outer.region("body", body(), vec![]);
        let mut graph = outer.finish(&[start, x], 2);
        let outputs = crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap();
        let outputs: Vec<Tensor> = outputs.into_iter().map(|datum| datum.into_tensor().unwrap()).collect();
        crate::infer_graph(&mut graph, &[]).unwrap();
        for (id, output) in graph.outputs.iter().zip(&outputs) {
            assert_eq!(graph.value(*id).ty, output.ty().into());
        }
        outputs
    }

    #[test]
    fn sums_are_carried_and_collected() {
        let outputs = scan(Attrs::new());
        assert_eq!(outputs[0], Tensor::vector(vec![9f32, 12.0]));
        assert_eq!(outputs[1].elements::<f32>().unwrap().as_ref(), [1., 2., 4., 6., 9., 12.]);
        let outputs =
            scan(Attrs::new().with("scan_input_directions", vec![1]).with("scan_output_axes", vec![1]));
        assert_eq!(outputs[1].shape(), [2, 3]);
        assert_eq!(outputs[1].elements::<f32>().unwrap().as_ref(), [5., 8., 9., 6., 10., 12.]);
    }
}
