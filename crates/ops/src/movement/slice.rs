//! `Slice`: a strided box of a tensor; bounds are clamped, negative ones count from the end, steps may be negative.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Slice.html>. While typing, bounds may be symbolic: `x[:, :n]` of
//! `[b, 512]` is `[b, min(n, 512)]`.

use crate::forms::{constant_integers, inexpressible, input_to_ints, ints_to_input, set_input};
use crate::inference::elements;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, select, strides};
use crate::sizes::{copy_cost, is_index, length_of, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Dim, TensorType};

static SCHEMA: Schema = Schema::onnx("Slice", &[1, 10, 11, 13], (3, 5), (1, 1));

/// Ends at or beyond this mean "to the end": exporters write the largest i32 or i64.
const TO_THE_END: i64 = i32::MAX as i64;

pub(crate) struct Slice;

impl Op for Slice {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        let count = length_of(cx, 1).or_else(|| length_of(cx, 2));
        let axes = match (cx.input(3), count) {
            (None, Some(count)) => Some((0..count as i64).collect()),
            (None, None) => elements(cx, 1).map(|starts| (0..starts.len() as i64).collect()),
            (Some(_), _) => cx.integers(3),
        };
        let mut result = shape.clone();
        let Some(axes) = axes else {
            // Which axes are cut is not known: none of the sizes is.
            result.iter_mut().for_each(|dim| *dim = (cx.fresh)());
            return Ok(vec![TensorType { dtype: x.dtype, shape: Some(result) }.into()]);
        };
        let (starts, ends) = (elements(cx, 1), elements(cx, 2));
        let steps = if cx.input(4).is_some() { cx.integers(4) } else { Some(vec![1; axes.len()]) };
        check_lengths(axes.len(), [&starts, &ends].map(|v| v.as_ref().map(Vec::len)), steps.as_ref())?;
        for (position, axis) in axes.iter().enumerate() {
            let axis = axis::normalize(*axis, shape.len())?;
            let bound = |list: &Option<Vec<Dim>>| list.as_ref().and_then(|list| list.get(position).cloned());
            let step = steps.as_ref().and_then(|steps| steps.get(position).copied());
            result[axis] = match (bound(&starts), bound(&ends), step) {
                (_, _, Some(0)) => return Err(zero_step()),
                (Some(start), Some(end), Some(step)) => {
                    extent(&shape[axis], &start, &end, step).unwrap_or_else(|| (cx.fresh)())
                }
                _ => (cx.fresh)(),
            };
        }
        let dims = vector_part(cx, x, &axes, steps.as_deref());
        Ok(vec![Inferred { ty: TensorType { dtype: x.dtype, shape: Some(result) }.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let missing = |index| EvalError::Infer(InferError::MissingInput { index });
        let starts = cx.integers(1)?.ok_or_else(|| missing(1))?;
        let ends = cx.integers(2)?.ok_or_else(|| missing(2))?;
        let axes = cx.integers(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = cx.integers(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        check_lengths(axes.len(), [Some(starts.len()), Some(ends.len())], Some(&steps))?;
        let (mut shape, mut strides, mut offset) = (x.shape().to_vec(), strides(x.shape()), 0isize);
        for (position, axis) in axes.iter().enumerate() {
            let axis = axis::normalize(*axis, shape.len())?;
            let size = i64::try_from(x.shape()[axis]).unwrap_or(i64::MAX);
            let (first, count) = bounds(size, starts[position], ends[position], steps[position])?;
            // Overflow needs an empty tensor of absurd sizes, from which nothing is read.
            offset = offset.wrapping_add(isize::try_from(first).unwrap_or(0).wrapping_mul(strides[axis]));
            // With a huge step at most one element is taken, and the stride is never walked.
            strides[axis] =
                strides[axis].saturating_mul(isize::try_from(steps[position]).unwrap_or(isize::MAX));
            if count <= 1 {
                strides[axis] = 0;
            }
            shape[axis] = usize::try_from(count).unwrap_or(0);
        }
        let walk = Walk::new(offset, &shape, &strides)?;
        one(select(x, shape, walk)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 10 {
            for (position, name) in ["starts", "ends", "axes"].into_iter().enumerate() {
                ints_to_input(edit, name, position + 1);
            }
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 10 {
            let steps = edit.node().input(4).map(|_| constant_integers(edit, 4));
            if steps.is_some_and(|steps| steps.is_none_or(|steps| steps.iter().any(|step| *step != 1))) {
                return Err(inexpressible(&SCHEMA, edit, "steps other than 1 do not exist there"));
            }
            set_input(edit, 4, None);
            for (position, name) in ["starts", "ends", "axes"].into_iter().enumerate().rev() {
                input_to_ints(&SCHEMA, edit, position + 1, name)?;
            }
        }
        Ok(())
    }
}

fn zero_step() -> InferError {
    InferError::shape("a step of 0 never ends")
}

fn check_lengths(
    axes: usize,
    bounds: [Option<usize>; 2],
    steps: Option<&Vec<i64>>,
) -> Result<(), InferError> {
    let lengths = bounds.into_iter().chain([steps.map(Vec::len)]);
    if let Some(other) = lengths.flatten().find(|length| *length != axes) {
        return Err(InferError::shape(format!(
            "{axes} axes are sliced, but {other} bounds or steps are given"
        )));
    }
    Ok(())
}

/// First index and number of elements.
fn bounds(size: i64, start: i64, end: i64, step: i64) -> Result<(i64, i64), InferError> {
    let from_end = |bound: i64| if bound < 0 { bound.saturating_add(size) } else { bound };
    let (start, end) = (from_end(start), from_end(end));
    match step {
        0 => Err(zero_step()),
        1.. => {
            let (start, end) = (start.clamp(0, size), end.clamp(0, size));
            let room = (end - start).max(0);
            Ok((start, room / step + i64::from(room % step != 0)))
        }
        _ => {
            let (start, end) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
            let (room, step) = ((start - end).max(0).unsigned_abs(), step.unsigned_abs());
            Ok((start.max(0), i64::try_from(room.div_ceil(step)).unwrap_or(0)))
        }
    }
}

/// Number of elements over symbolic sizes; `None` where it depends on signs that are not known.
fn extent(size: &Dim, start: &Dim, end: &Dim, step: i64) -> Option<Dim> {
    if let (Some(size), Some(start), Some(end)) = (size.value(), start.value(), end.value()) {
        return bounds(size, start, end, step).ok().map(|(_, count)| Dim::known(count));
    }
    if step < 0 {
        let whole = start.value() == Some(-1) && end.value().is_some_and(|end| end <= -TO_THE_END);
        return (whole && step == -1).then(|| size.clone());
    }
    let zero = Dim::known(0);
    let clamped = |bound: &Dim| match bound.value() {
        Some(bound) if bound >= TO_THE_END && size.value().is_none() => Some(size.clone()),
        Some(bound) if bound < 0 => Some(size.add(&Dim::known(bound)).larger(&zero)),
        Some(_) => Some(bound.smaller(size)),
        None if bound.is_size() => Some(bound.smaller(size)),
        // `n - 1` may be negative and then counts from the end, unless n is at least that large.
        None => None,
    };
    let (first, last) = (clamped(start)?, clamped(end)?);
    Some(last.sub(&first).larger(&zero).ceil_div(&Dim::known(step)))
}

/// Symbolic elements of the part of a vector of sizes.
fn vector_part(cx: &Infer<'_>, x: &TensorType, axes: &[i64], steps: Option<&[i64]>) -> Option<Vec<Dim>> {
    let values = elements(cx, 0).filter(|_| x.rank() == Some(1) && is_index(x.dtype))?;
    if axes.len() != 1 {
        return None;
    }
    let (start, end, step) = (cx.integers(1)?, cx.integers(2)?, steps?.first().copied()?);
    let (first, count) = bounds(values.len() as i64, *start.first()?, *end.first()?, step).ok()?;
    (0..count).map(|i| values.get(usize::try_from(first + i * step).ok()?).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::{downgraded, input_ints, upgraded};
    use crate::sizes::testing::{infer_one, symbolic};
    use fusebox_ir::{Attrs, DType, Tensor};

    fn ints(values: &[i64]) -> Tensor {
        Tensor::vector(values.to_vec())
    }

    fn cut(start: i64, end: i64, step: i64) -> Vec<i32> {
        let x = t(&[5], &[0i32, 1, 2, 3, 4]);
        let inputs = [x, ints(&[start]), ints(&[end]), ints(&[0]), ints(&[step])];
        run(&Slice, &Attrs::new(), &inputs).elements::<i32>().unwrap().into_owned()
    }

    #[test]
    fn bounds_clamp_and_count_from_the_end() {
        assert_eq!(cut(1, 4, 1), [1, 2, 3]);
        assert_eq!(cut(-2, i64::MAX, 1), [3, 4]);
        assert_eq!(cut(0, 100, 2), [0, 2, 4]);
        assert_eq!(cut(-1, i64::MIN, -2), [4, 2, 0]);
        assert_eq!(cut(3, 0, -1), [3, 2, 1]);
        assert_eq!(cut(100, -100, -3), [4, 1]);
        assert_eq!(cut(4, 2, 1), [0i32; 0]);
        assert_eq!(cut(0, 5, i64::MAX), [0]);
        assert_eq!(cut(4, i64::MIN, i64::MIN), [4]);
    }

    #[test]
    fn several_axes_are_cut_at_once() {
        let x = t(&[2, 3], &[0i32, 1, 2, 3, 4, 5]);
        let result = run(&Slice, &Attrs::new(), &[x.clone(), ints(&[1, 0]), ints(&[2, 2])]);
        assert_eq!(result, t(&[1, 2], &[3i32, 4]));
        let inputs = [x.clone(), ints(&[0]), ints(&[1]), ints(&[0]), ints(&[0])];
        assert_eq!(refusal(&Slice, &Attrs::new(), &inputs), "a step of 0 never ends");
        assert!(
            refusal(&Slice, &Attrs::new(), &[x, ints(&[0, 0]), ints(&[1])]).contains("2 axes are sliced")
        );
    }

    #[test]
    fn symbolic_bounds_stay_symbolic() {
        let (b, n, s) = (Dim::symbol("b"), Dim::symbol("n"), Dim::symbol("s"));
        let one = symbolic(DType::I64, &[1.into()]);
        let typed = |size: &Dim, start: Dim, end: Dim| {
            let x = symbolic(DType::F32, &[b.clone(), size.clone()]);
            let (start, end, axis) = ([start], [end], [Dim::known(1)]);
            let inputs = [(&x, None), (&one, Some(&start[..])), (&one, Some(&end)), (&one, Some(&axis))];
            infer_one(&Slice, &Attrs::new(), &inputs).unwrap().ty.to_string()
        };
        assert_eq!(typed(&n, 0.into(), i64::MAX.into()), "f32[b, n]");
        assert_eq!(typed(&512.into(), 0.into(), n.clone()), "f32[b, min(512, n)]");
        assert_eq!(typed(&n.add(&s), n.clone(), i64::MAX.into()), "f32[b, s]");
        assert_eq!(typed(&n.add(&1.into()), 0.into(), (-1).into()), "f32[b, n]");
        assert_eq!(typed(&n, 0.into(), n.sub(&1.into())), "f32[b, fresh1]");
    }

    #[test]
    fn a_vector_of_sizes_is_cut() {
        let shape = symbolic(DType::I64, &[3.into()]);
        let sizes = [Dim::symbol("b"), Dim::symbol("s"), Dim::known(64)];
        let one = symbolic(DType::I64, &[1.into()]);
        let (start, end) = ([Dim::known(0)], [Dim::known(-1)]);
        let inputs = [(&shape, Some(&sizes[..])), (&one, Some(&start)), (&one, Some(&end))];
        assert_eq!(infer_one(&Slice, &Attrs::new(), &inputs).unwrap().dims.unwrap(), sizes[..2]);
    }

    #[test]
    fn forms_change() {
        let attrs = Attrs::new().with("starts", vec![1]).with("ends", vec![3]).with("axes", vec![0]);
        let (graph, node) = upgraded(&Slice, attrs, &[t(&[4], &[0f32; 4])], 9).unwrap();
        assert_eq!(input_ints(&graph, node, 2), Some(vec![3]));
        let inputs = [t(&[4], &[0f32; 4]), ints(&[1]), ints(&[3]), ints(&[0]), ints(&[1])];
        let (graph, node) = downgraded(&Slice, Attrs::new(), &inputs, 9).unwrap();
        assert_eq!(graph.node(node).attrs.ints("starts"), Some(&[1][..]));
        assert_eq!(graph.node(node).inputs.len(), 1);
        let inputs = [t(&[4], &[0f32; 4]), ints(&[1]), ints(&[3]), ints(&[0]), ints(&[2])];
        assert!(downgraded(&Slice, Attrs::new(), &inputs, 9).is_err());
    }
}
