//! `Pad`: adds (or, with negative pads, removes) elements at both ends of axes: a constant, the edge, a reflection, or
//! the tensor wrapped around.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Pad.html>.

use crate::attributes::text;
use crate::forms::{
    constant_integers, constant_of, inexpressible, input_to_ints, ints_to_input, set_constant, set_input,
};
use crate::inference::elements;
use crate::movement::cast;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{checked_count, pick, strides, zero};
use crate::sizes::{copy_cost, fresh_dims, unknown};
use crate::versions::input_type;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Attr, Attrs, Dim, Tensor, TensorType, Type};

static SCHEMA: Schema = Schema::onnx("Pad", &[1, 2, 11, 13, 18, 19, 21, 23, 24, 25], (2, 4), (1, 1))
    .with(&[("mode", text("constant"))]);

pub(crate) struct Pad;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

impl Op for Pad {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        mode(cx.attrs)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        let axes =
            if cx.input(3).is_some() { cx.integers(3) } else { Some((0..shape.len() as i64).collect()) };
        let (Some(axes), Some(pads)) = (axes, elements(cx, 1)) else {
            let shape = Some(fresh_dims(cx, shape.len()));
            return Ok(vec![TensorType { dtype: x.dtype, shape }.into()]);
        };
        check(axes.len(), pads.len())?;
        let mut result = shape.clone();
        for (position, axis) in axes.iter().enumerate() {
            let axis = axis::normalize(*axis, shape.len())?;
            let added = pads[position].add(&pads[position + axes.len()]);
            // A dim cannot say what a negative pad of a symbolic size leaves when the axis is too short.
            result[axis] = if added.value().is_some_and(|added| added < 0) && shape[axis].value().is_none() {
                shape[axis].add(&added).larger(&Dim::known(0))
            } else {
                shape[axis].add(&added)
            };
            if result[axis].value().is_some_and(|size| size < 0) {
                return Err(InferError::shape(format!("the pads remove more of axis {axis} than it has")));
            }
        }
        Ok(vec![TensorType { dtype: x.dtype, shape: Some(result) }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let rank = x.shape().len();
        let pads = cx.integers(1)?.ok_or(InferError::MissingInput { index: 1 })?;
        let axes = match cx.integers(3)? {
            Some(axes) => axes.iter().map(|axis| axis::normalize(*axis, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).collect::<Vec<_>>(),
        };
        check(axes.len(), pads.len())?;
        let mut both = vec![(0i64, 0i64); rank];
        for (position, axis) in axes.iter().enumerate() {
            both[*axis] = (pads[position], pads[position + axes.len()]);
        }
        let fill = match cx.optional(2)? {
            Some(value) => value.reshaped(vec![])?,
            None => zero(x.dtype())?,
        };
        one(pad(x, &both, mode(cx.attrs)?, &fill)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 11 {
            let value = edit.node().attrs.remove("value");
            ints_to_input(edit, if edit.opset < 2 { "paddings" } else { "pads" }, 1);
            if let Some(Attr::Float(value)) = value.filter(|value| *value != Attr::Float(0.0)) {
                let Some(dtype) = input_type(edit, 0).tensor().map(|ty| ty.dtype) else {
                    return Err(inexpressible(&SCHEMA, edit, "its value needs data of known type"));
                };
                let constant = cast(&Tensor::scalar(value), dtype);
                set_constant(
                    edit,
                    2,
                    constant.map_err(|error| inexpressible(&SCHEMA, edit, error.to_string()))?,
                );
            }
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 19 && edit.node().attrs.str("mode") == Some("wrap") {
            return Err(inexpressible(&SCHEMA, edit, "mode wrap does not exist there"));
        }
        if edit.opset < 18 {
            spell_all_axes(edit)?;
        }
        if edit.opset < 11 {
            let value = edit.node().input(2).map(|value| constant_of(edit.graph, value));
            match value.map(|value| value.and_then(|value| value.floats()?.first().map(|v| *v as f32))) {
                Some(Some(value)) => edit.node().attrs.set("value", value),
                Some(None) => {
                    return Err(inexpressible(&SCHEMA, edit, "its value must be a constant float there"));
                }
                None => {}
            }
            set_input(edit, 2, None);
            input_to_ints(&SCHEMA, edit, 1, if edit.opset < 2 { "paddings" } else { "pads" })?;
        }
        Ok(())
    }
}

fn mode(attrs: &Attrs) -> Result<Mode, InferError> {
    match attrs.str("mode").unwrap_or("constant") {
        "constant" => Ok(Mode::Constant),
        "reflect" => Ok(Mode::Reflect),
        "edge" => Ok(Mode::Edge),
        "wrap" => Ok(Mode::Wrap),
        _ => {
            let expected = "constant, reflect, edge or wrap".into();
            Err(InferError::Attribute { name: "mode".into(), expected })
        }
    }
}

fn check(axes: usize, pads: usize) -> Result<(), InferError> {
    if pads == 2 * axes {
        return Ok(());
    }
    Err(InferError::shape(format!("{pads} pads are given for {axes} axes, expected {}", 2 * axes)))
}

/// Before opset 18 pads name all axes.
fn spell_all_axes(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.node().input(3).is_none() {
        return Ok(());
    }
    let rank = edit.node().input(0).and_then(|value| match &edit.graph.value(value).ty {
        Type::Tensor(ty) => ty.rank(),
        _ => None,
    });
    let (pads, axes) = (constant_integers(edit, 1), constant_integers(edit, 3));
    let (Some(rank), Some(pads), Some(axes)) = (rank, pads, axes) else {
        return Err(inexpressible(&SCHEMA, edit, "its rank, pads and axes must be known there"));
    };
    check(axes.len(), pads.len())?;
    let mut all = vec![0; 2 * rank];
    for (position, axis) in axes.iter().enumerate() {
        let axis = axis::normalize(*axis, rank)?;
        (all[axis], all[axis + rank]) = (pads[position], pads[position + axes.len()]);
    }
    set_input(edit, 3, None);
    set_constant(edit, 1, Tensor::vector(all));
    Ok(())
}

fn pad(x: &Tensor, pads: &[(i64, i64)], mode: Mode, fill: &Tensor) -> Result<Tensor, EvalError> {
    let shape = padded(x, pads, mode)?;
    let count = checked_count(x.dtype(), &shape)?;
    // An empty result may claim any size along its other axes: those are not walked.
    let source = |axis: usize, index: usize| source_of(index as i64 - pads[axis].0, size(x, axis), mode);
    let walk =
        |axis: usize| (0..if count == 0 { 0 } else { shape[axis] }).map(move |i| source(axis, i)).collect();
    let sources: Vec<Vec<Option<usize>>> = (0..shape.len()).map(walk).collect();
    let strides = strides(x.shape());
    let position = |index: usize| {
        let (mut rest, mut at) = (index, 0usize);
        for axis in (0..shape.len()).rev() {
            match sources[axis][rest % shape[axis]] {
                Some(source) => at += source * strides[axis].unsigned_abs(),
                None => return (1, 0),
            }
            rest /= shape[axis];
        }
        (0, at)
    };
    pick(&[x, fill], shape.clone(), (0..count).map(position))
}

fn size(x: &Tensor, axis: usize) -> i64 {
    i64::try_from(x.shape()[axis]).unwrap_or(i64::MAX)
}

/// Sizes of the result.
fn padded(x: &Tensor, pads: &[(i64, i64)], mode: Mode) -> Result<Vec<usize>, EvalError> {
    let total = |(axis, (before, after)): (usize, &(i64, i64))| {
        let wrong =
            |reason: &str| EvalError::value(format!("pads {before} and {after} of axis {axis}: {reason}"));
        let size = size(x, axis);
        let total = size.checked_add(*before).and_then(|sum| sum.checked_add(*after));
        let total = total.and_then(|total| usize::try_from(total).ok());
        let total = total.ok_or_else(|| wrong("the result has no valid size"))?;
        if mode != Mode::Constant && size == 0 && total > 0 {
            return Err(wrong("an empty axis has nothing to repeat"));
        }
        Ok(total)
    };
    pads.iter().enumerate().map(total).collect()
}

fn source_of(index: i64, size: i64, mode: Mode) -> Option<usize> {
    let inside = (0..size).contains(&index);
    let index = match mode {
        _ if inside => index,
        Mode::Constant => return None,
        Mode::Edge => index.clamp(0, size - 1),
        Mode::Wrap => index.rem_euclid(size),
        Mode::Reflect => {
            // Reflections repeat with the period of there and back without the ends doubled.
            let period = (2 * (size - 1)).max(1);
            let within = index.rem_euclid(period);
            if within < size { within } else { period - within }
        }
    };
    usize::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::{downgraded, input_ints, upgraded};

    fn padded(mode: &str, pads: &[i64]) -> Vec<f32> {
        let attrs = Attrs::new().with("mode", mode);
        let inputs = [t(&[3], &[1f32, 2.0, 3.0]), Tensor::vector(pads.to_vec())];
        run(&Pad, &attrs, &inputs).elements::<f32>().unwrap().into_owned()
    }

    #[test]
    fn modes_fill_the_ends() {
        assert_eq!(padded("constant", &[1, 2]), [0., 1., 2., 3., 0., 0.]);
        assert_eq!(padded("edge", &[1, 2]), [1., 1., 2., 3., 3., 3.]);
        assert_eq!(padded("reflect", &[2, 2]), [3., 2., 1., 2., 3., 2., 1.]);
        assert_eq!(padded("wrap", &[4, 1]), [3., 1., 2., 3., 1., 2., 3., 1.]);
        assert_eq!(padded("constant", &[-1, 1]), [2., 3., 0.]);
    }

    #[test]
    fn a_value_and_axes_are_taken() {
        let x = t(&[2, 2], &[1i32, 2, 3, 4]);
        let inputs = [x, Tensor::vector(vec![1i64, 0]), Tensor::scalar(9i32), Tensor::vector(vec![-1i64])];
        assert_eq!(run(&Pad, &Attrs::new(), &inputs), t(&[2, 3], &[9i32, 1, 2, 9, 3, 4]));
    }

    #[test]
    fn impossible_pads_are_refused() {
        let refuse = |pads: &[i64]| {
            refusal(&Pad, &Attrs::new(), &[t(&[3], &[0f32; 3]), Tensor::vector(pads.to_vec())])
        };
        assert!(refuse(&[1]).contains("expected 2"));
        assert!(refuse(&[-2, -2]).contains("no valid size"));
        assert!(refuse(&[i64::MAX, 0]).contains("no valid size"));
        assert!(refuse(&[1 << 40, 0]).contains("more than 16 GiB"));
    }

    #[test]
    fn an_empty_tensor_stays_empty_however_large_its_axes_become() {
        let inputs = [t::<f32>(&[0, 5], &[]), Tensor::vector(vec![0i64, 0, 0, 1 << 36])];
        assert_eq!(run(&Pad, &Attrs::new(), &inputs).shape(), [0, 5 + (1 << 36)]);
    }

    #[test]
    fn forms_change() {
        let attrs = Attrs::new().with("pads", vec![1, 0]).with("value", 2.5f32);
        let (graph, node) = upgraded(&Pad, attrs, &[t(&[3], &[0f32; 3])], 10).unwrap();
        assert_eq!(input_ints(&graph, node, 1), Some(vec![1, 0]));
        assert_eq!(graph.constant(graph.node(node).input(2).unwrap()), Some(&Tensor::scalar(2.5f32)));
        let attrs = Attrs::new().with("pads", vec![1i64, 0]).with("value", 2.5f32);
        let (graph, node) = upgraded(&Pad, attrs, &[t(&[3], &[0f64; 3])], 2).unwrap();
        assert_eq!(graph.constant(graph.node(node).input(2).unwrap()), Some(&Tensor::scalar(2.5f64)));
        let x = t(&[1, 3], &[0f32; 3]);
        let inputs = [x, Tensor::vector(vec![1i64, 2]), Tensor::scalar(0f32), Tensor::vector(vec![1i64])];
        let (graph, node) = downgraded(&Pad, Attrs::new(), &inputs, 10).unwrap();
        assert_eq!(graph.node(node).attrs.ints("pads"), Some(&[0, 1, 0, 2][..]));
        assert!(downgraded(&Pad, Attrs::new().with("mode", "wrap"), &inputs, 18).is_err());
    }
}
