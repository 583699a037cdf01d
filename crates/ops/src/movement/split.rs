//! `Split`: cuts a tensor along an axis into parts of given sizes, or into `num_outputs` parts of which only the last may
//! be smaller.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Split.html>.

use crate::attributes::{INT, int};
use crate::forms::{constant_integers, inexpressible, input_to_ints, ints_to_input, set_input};
use crate::inference::elements;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, select, strides};
use crate::sizes::{copy_cost, is_index, unknown};
use crate::versions::add_node;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Attrs, DType, Dim, Tensor, TensorType, Type};

static SCHEMA: Schema = Schema::onnx("Split", &[1, 2, 11, 13, 18], (1, 2), (1, usize::MAX))
    .with(&[("axis", int(0)), ("num_outputs", INT)]);

pub(crate) struct Split;

impl Op for Split {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else {
            return Ok(vec![TensorType::unranked(x.dtype).into(); cx.outputs]);
        };
        let at = axis::normalize(cx.attrs.int_or("axis", 0), shape.len())?;
        let sizes = part_dims(cx, &shape[at])?;
        let values = elements(cx, 0).filter(|_| shape.len() == 1 && is_index(x.dtype));
        let mut start = 0usize;
        let part = |size: Dim| {
            let mut shape = shape.clone();
            let end = size.value().and_then(|size| start.checked_add(usize::try_from(size).ok()?));
            let dims = values.as_ref().zip(end).and_then(|(all, end)| all.get(start..end)).map(<[_]>::to_vec);
            start = end.unwrap_or(usize::MAX);
            shape[at] = size;
            Inferred { ty: TensorType { dtype: x.dtype, shape: Some(shape) }.into(), dims }
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let at = axis::normalize(cx.attrs.int_or("axis", 0), x.shape().len())?;
        let sizes = part_sizes(cx.attrs, cx.integers(1)?, x.shape()[at], cx.outputs)?;
        let steps = strides(x.shape());
        let mut start = 0isize;
        let part = |size: usize| -> Result<Datum, EvalError> {
            let mut shape = x.shape().to_vec();
            shape[at] = size;
            let walk = Walk::new(start.wrapping_mul(steps[at]), &shape, &steps)?;
            start = start.wrapping_add(size.cast_signed());
            Ok(select(x, shape, walk)?.into())
        };
        sizes.into_iter().map(part).collect()
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 2 {
            sizes_of_own_type(edit);
        }
        if edit.opset < 13 {
            ints_to_input(edit, "split", 1);
        }
        if edit.opset < 18 && edit.node().input(1).is_none() {
            let parts = edit.node().outputs.len() as i64;
            edit.node().attrs.set("num_outputs", parts);
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 18 && edit.node().attrs.remove("num_outputs").is_some() {
            spell_uneven_parts(edit)?;
        }
        if edit.opset < 13 {
            input_to_ints(&SCHEMA, edit, 1, "split")?;
        }
        Ok(())
    }
}

/// In opset 1 sizes that were an input had the type of what is split.
fn sizes_of_own_type(edit: &mut Edit<'_>) {
    if let Some(sizes) = edit.node().input(1) {
        let attrs = Attrs::new().with("to", i64::from(DType::I64.to_onnx()));
        let cast = add_node(edit, "Cast", &[sizes], attrs);
        set_input(edit, 1, Some(cast));
    }
}

/// Before opset 18 parts without sizes are equal, so uneven ones must be given.
fn spell_uneven_parts(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.node().input(1).is_some() {
        return Ok(());
    }
    let parts = edit.node().outputs.len() as i64;
    let at = edit.node().attrs.int_or("axis", 0);
    let input = edit.node().input(0);
    let shape = input.and_then(|value| match &edit.graph.value(value).ty {
        Type::Tensor(ty) => ty.shape.clone(),
        _ => None,
    });
    let size = shape.and_then(|shape| shape.get(axis::normalize(at, shape.len()).ok()?)?.value());
    match size {
        Some(size) if size % parts == 0 => Ok(()),
        Some(size) => {
            let sizes = part_sizes(&Attrs::new(), None, usize::try_from(size).unwrap_or(0), parts as usize)?;
            let sizes: Vec<i64> = sizes.into_iter().map(|size| size as i64).collect();
            crate::forms::set_constant(edit, 1, Tensor::vector(sizes));
            constant_integers(edit, 1).map(|_| ()).ok_or_else(|| inexpressible(&SCHEMA, edit, "no sizes"))
        }
        None => Err(inexpressible(&SCHEMA, edit, "whether its parts are equal is not known")),
    }
}

/// Sizes of the parts, one per output slot.
fn part_dims(cx: &Infer<'_>, size: &Dim) -> Result<Vec<Dim>, InferError> {
    if cx.input(1).is_some() {
        let Some(sizes) = elements(cx, 1) else { return Ok((0..cx.outputs).map(|_| (cx.fresh)()).collect()) };
        let total = sizes.iter().fold(Dim::known(0), |sum, part| sum.add(part));
        if sizes.len() != cx.outputs || crate::sizes::same_size(&total, size).is_none() {
            return Err(wrong_parts(&format!("{sizes:?}"), size, cx.outputs));
        }
        return Ok(sizes);
    }
    let parts = i64::try_from(cx.outputs).unwrap_or(i64::MAX);
    if let Some(given) = cx.attrs.int("num_outputs").filter(|given| *given != parts) {
        return Err(wrong_parts(&format!("num_outputs={given}"), size, cx.outputs));
    }
    if let Some(size) = size.value() {
        let sizes = part_sizes(cx.attrs, None, usize::try_from(size).unwrap_or(0), cx.outputs)?;
        return Ok(sizes.into_iter().map(|size| Dim::known(size as i64)).collect());
    }
    if let Some(equal) = size.exact_div(&Dim::known(parts)) {
        return Ok(vec![equal; cx.outputs]);
    }
    let chunk = size.ceil_div(&Dim::known(parts));
    let mut sizes = vec![chunk.clone(); cx.outputs - 1];
    sizes.push(size.sub(&chunk.mul(&Dim::known(parts - 1))));
    Ok(sizes)
}

fn wrong_parts(sizes: &str, size: impl std::fmt::Display, outputs: usize) -> InferError {
    InferError::shape(format!("an axis of size {size} cannot be split by {sizes} into {outputs} parts"))
}

fn part_sizes(
    attrs: &Attrs,
    sizes: Option<Vec<i64>>,
    size: usize,
    outputs: usize,
) -> Result<Vec<usize>, InferError> {
    if let Some(sizes) = sizes {
        let parts: Option<Vec<usize>> = sizes.iter().map(|part| usize::try_from(*part).ok()).collect();
        let total = |parts: &Vec<usize>| parts.iter().try_fold(0usize, |sum, part| sum.checked_add(*part));
        let parts = parts.filter(|parts| parts.len() == outputs && total(parts) == Some(size));
        return parts.ok_or_else(|| wrong_parts(&format!("{sizes:?}"), size, outputs));
    }
    if let Some(given) = attrs.int("num_outputs").filter(|given| usize::try_from(*given) != Ok(outputs)) {
        return Err(wrong_parts(&format!("num_outputs={given}"), size, outputs));
    }
    let chunk = size.div_ceil(outputs.max(1));
    // Rounding up may leave nothing, or less than nothing, for the last parts: 5 into 4 gives 2, 2, 1, 0.
    Ok((0..outputs).map(|part| chunk.min(size.saturating_sub(part.saturating_mul(chunk)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run_all, t};
    use crate::forms::testing::{downgraded, input_ints, upgraded};
    use crate::sizes::testing::{infer_all, symbolic};
    #[test]
    fn sizes_had_the_type_of_what_is_split() {
        let (x, sizes) = (t(&[3], &[1f32, 2.0, 3.0]), t(&[2], &[1f32, 2.0]));
        let (mut graph, node) = upgraded(&Split, Attrs::new(), &[x, sizes], 1).unwrap();
        graph.outputs = vec![graph.node(node).output(0).unwrap()];
        let part = crate::Interpreter::new(&[]).run(&graph, &[], &[]);
        // The test's node has one output: a second part has nowhere to go.
        assert!(part.unwrap_err().to_string().contains("cannot be split by [1, 2] into 1 parts"));
    }

    #[test]
    fn parts_have_their_sizes() {
        let x = t(&[2, 5], &[0i32, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let attrs = Attrs::new().with("axis", 1);
        let sizes = Tensor::vector(vec![1i64, 4]);
        let parts = run_all(&Split, &attrs, &[Some(x.clone()), Some(sizes)], 2).unwrap();
        assert_eq!(parts[0], t(&[2, 1], &[0i32, 5]));
        assert_eq!(parts[1], t(&[2, 4], &[1i32, 2, 3, 4, 6, 7, 8, 9]));
        let parts = run_all(&Split, &attrs.clone().with("num_outputs", 2), &[Some(x.clone())], 2).unwrap();
        assert_eq!((parts[0].shape(), parts[1].shape()), (&[2, 3][..], &[2, 2][..]));
        let wrong = Tensor::vector(vec![2i64, 2]);
        let error = run_all(&Split, &attrs, &[Some(x), Some(wrong)], 2).unwrap_err();
        assert_eq!(error.to_string(), "an axis of size 5 cannot be split by [2, 2] into 2 parts");
    }

    #[test]
    fn symbolic_sizes_split_evenly_where_they_can() {
        let x = symbolic(DType::F32, &[Dim::symbol("b"), Dim::symbol("n").mul(&Dim::known(3))]);
        let attrs = Attrs::new().with("axis", 1).with("num_outputs", 3);
        let parts = infer_all(&Split, &attrs, &[(&x, None)], 3).unwrap();
        assert!(parts.iter().all(|part| part.ty.to_string() == "f32[b, n]"));
    }

    #[test]
    fn forms_change() {
        let attrs = Attrs::new().with("split", vec![1, 4]);
        let (graph, node) = upgraded(&Split, attrs, &[t(&[5], &[0f32; 5])], 11).unwrap();
        assert_eq!(input_ints(&graph, node, 1), Some(vec![1, 4]));
        let (graph, node) = upgraded(&Split, Attrs::new(), &[t(&[5], &[0f32; 5])], 13).unwrap();
        assert_eq!(graph.node(node).attrs.int("num_outputs"), Some(1));
        let even = Attrs::new().with("num_outputs", 1);
        let (graph, node) = downgraded(&Split, even, &[t(&[5], &[0f32; 5])], 13).unwrap();
        assert!(graph.node(node).attrs.is_empty() && graph.node(node).inputs.len() == 1);
    }
}
