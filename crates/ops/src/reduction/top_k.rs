//! `TopK`: the `k` largest or smallest elements along an axis with their positions, in order; the first of equals
//! comes first.
//!
//! NaN counts as the largest. Sorted order is also given where `sorted = 0` leaves it open.
//! Spec: <https://onnx.ai/onnx/operators/onnx__TopK.html>.

use crate::attributes::int;
use crate::axis::normalize;
use crate::forms::{set_constant, set_input};
use crate::inference::{NUMBERS, expect};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{constant_input, refuse};
use crate::view::{dispatch, tensor, view};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{DType, Tensor, TensorType};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Zip};
use std::cmp::Ordering;

static SCHEMA: Schema = Schema::onnx("TopK", &[1, 10, 11, 24], (2, 2), (2, 2)).with(&[
    ("axis", int(-1)),
    ("largest", int(1)),
    ("sorted", int(1)),
]);

pub(crate) struct TopK;

fn order<T: Number>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.nan().cmp(&b.nan()))
}

fn select<T: Number>(
    x: &ArrayViewD<'_, T>,
    axis: usize,
    k: usize,
    largest: bool,
) -> (ArrayD<T>, ArrayD<i64>) {
    let mut shape = x.shape().to_vec();
    shape[axis] = k;
    let mut values = ArrayD::from_elem(IxDyn(&shape), T::ZERO);
    let mut indices = ArrayD::zeros(IxDyn(&shape));
    let lanes =
        Zip::from(x.lanes(Axis(axis))).and(values.lanes_mut(Axis(axis))).and(indices.lanes_mut(Axis(axis)));
    lanes.for_each(|lane, mut values, mut indices| {
        let mut ranked: Vec<usize> = (0..lane.len()).collect();
        ranked.sort_by(|a, b| if largest { order(lane[*b], lane[*a]) } else { order(lane[*a], lane[*b]) });
        for (slot, index) in ranked.into_iter().take(k).enumerate() {
            values[slot] = lane[index];
            indices[slot] = index as i64;
        }
    });
    (values, indices)
}

impl Op for TopK {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, NUMBERS)?;
        let mut shape = cx.tensor(0).and_then(|ty| ty.shape.clone());
        if let Some(shape) = &mut shape {
            let axis = normalize(cx.attrs.int_or("axis", -1), shape.len())?;
            shape[axis] = match cx.dims(1).as_deref() {
                Some([k]) => k.clone(),
                _ => (cx.fresh)(),
            };
        }
        let values = cx.dtype(0)?.map(|dtype| TensorType { dtype, shape: shape.clone() }.into());
        let indices = TensorType { dtype: DType::I64, shape }.into();
        let mut outputs = vec![values.unwrap_or_default(), indices];
        outputs.resize(cx.outputs, Inferred::default());
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = normalize(cx.attrs.int_or("axis", -1), x.shape().len())?;
        let k = cx.integers(1)?.and_then(|k| usize::try_from(*k.first()?).ok());
        let size = x.shape()[axis];
        let k = k.filter(|k| *k <= size).ok_or_else(|| {
            EvalError::value(format!("k must be within 0..={size}, the size of axis {axis}"))
        })?;
        let largest = cx.attrs.int_or("largest", 1) != 0;
        dispatch!(numbers, x.dtype(), T => {
            let (values, indices) = select(&view::<T>(x)?.view(), axis, k, largest);
            Ok(vec![tensor(values)?.into(), tensor(indices)?.into()])
        })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        // A sort's comparisons.
        let elements = shapes.input_elements(0);
        elements * elements.max(2.0).log2()
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 10
            && let Some(k) = edit.node().attrs.int("k")
        {
            edit.node().attrs.remove("k");
            set_constant(edit, 1, Tensor::vector(vec![k]));
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 11 {
            let attrs = &mut edit.node().attrs;
            if attrs.int_or("largest", 1) == 0 {
                return Err(refuse(edit, "the smallest elements came with opset 11"));
            }
            attrs.remove("largest");
            attrs.remove("sorted");
        }
        if edit.opset < 10
            && let Some(k) = constant_input(edit, 1)?.and_then(|k| k.integers()?.first().copied())
        {
            set_input(edit, 1, None);
            edit.node().attrs.set("k", k);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run_all, t};
    use fusebox_ir::Attrs;

    fn top(attrs: &Attrs, x: &Tensor, k: i64) -> Vec<Tensor> {
        run_all(&TopK, attrs, &[Some(x.clone()), Some(t(&[1], &[k]))], 2).unwrap()
    }

    #[test]
    fn the_first_of_equals_comes_first() {
        let x = t(&[2, 4], &[1f32, 3.0, 3.0, 2.0, 9.0, 8.0, 7.0, f32::NAN]);
        let found = top(&Attrs::new(), &x, 2);
        assert_eq!(found[1], t(&[2, 2], &[1i64, 2, 3, 0]));
        assert_eq!(found[0].floats().unwrap()[..2], [3.0, 3.0]);
        let smallest = top(&Attrs::new().with("largest", 0i64).with("axis", 0i64), &x, 1);
        assert_eq!(smallest[1], t(&[1, 4], &[0i64, 0, 0, 0]));
        assert_eq!(smallest[0], t(&[1, 4], &[1f32, 3.0, 3.0, 2.0]));
    }

    #[test]
    fn k_beyond_the_axis_is_refused() {
        let message = refusal(&TopK, &Attrs::new(), &[t(&[2], &[1f32, 2.0]), t(&[1], &[3i64])]);
        assert_eq!(message, "k must be within 0..=2, the size of axis 0");
    }

    #[test]
    fn k_moves_between_attribute_and_input() {
        let old = Attrs::new().with("k", 2i64);
        let (mut graph, node) = crate::forms::testing::node(&TopK, old.clone(), &[t(&[2], &[1f32, 2.0])]);
        TopK.upgrade(&mut Edit { graph: &mut graph, node, opset: 9 }).unwrap();
        assert_eq!((graph.node(node).inputs.len(), graph.node(node).attrs.is_empty()), (2, true));
        TopK.downgrade(&mut Edit { graph: &mut graph, node, opset: 9 }).unwrap();
        assert_eq!((graph.node(node).inputs.len(), graph.node(node).attrs.clone()), (1, old));
        graph.node_mut(node).attrs.set("largest", 0i64);
        assert!(TopK.downgrade(&mut Edit { graph: &mut graph, node, opset: 10 }).is_err());
    }
}
