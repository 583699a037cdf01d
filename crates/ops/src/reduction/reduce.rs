//! What the reductions share: which axes, shapes with and without the reduced axes, evaluation row by row, versions.
//!
//! Float rows are reduced in f64 and rounded once; integer rows in their own type, wrapping. The axes moved from an
//! attribute to an input (opset 13 for ReduceSum, 18 for the others).

use crate::axis::{normalize, normalize_all};
use crate::forms::ints_to_input;
use crate::inference::{Kinds, elements, expect, first_is};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred};
use crate::versions::{input_rank, input_to_ints, refuse, replace};
use crate::view::{dispatch, one, tensor, view, view_bools};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{Attrs, DType, Dim, Shape, Tensor, TensorType};
use ndarray::{ArrayD, ArrayViewD, IxDyn};

/// A function from a row of elements to one.
pub(super) trait Reduction {
    /// Opset in which the axes became an input.
    const AXES_INPUT_SINCE: i64 = 18;
    /// The elementwise operator that reducing over no axis is.
    const OVER_NO_AXIS: Option<&'static str> = Some("Identity");
    /// Whether booleans are reduced too.
    const BOOLEANS: bool = false;
    /// On a row of floats; it may be empty.
    fn floats(row: &[f64]) -> f64;
    /// On a row of integers; by default through f64, truncated.
    fn integers<T: Number>(row: &[T]) -> T {
        T::from_f64(Self::floats(&row.iter().map(|x| x.to_f64()).collect::<Vec<_>>()))
    }
    /// On the elements of a shape.
    fn on_dims(_row: &[Dim]) -> Option<Dim> {
        None
    }
}

const REDUCIBLE: Kinds = crate::inference::NUMBERS;
const REDUCIBLE_OR_BOOL: Kinds = Kinds {
    name: "a number or bool type",
    types: &[
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
    ],
};

/// Axes to reduce, ascending. No axes are all of them, unless `noop_with_empty_axes` says none.
fn resolve(attrs: &Attrs, axes: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, InferError> {
    match axes {
        Some(axes) if !axes.is_empty() => normalize_all(axes, rank),
        _ if attrs.int_or("noop_with_empty_axes", 0) != 0 => Ok(Vec::new()),
        _ => Ok((0..rank).collect()),
    }
}

/// A shape without the reduced axes, or with 1 in their place.
pub(super) fn reduced<D: Clone>(shape: &[D], axes: &[usize], keep: Option<&D>) -> Vec<D> {
    let kept =
        |(axis, dim): (usize, &D)| if axes.contains(&axis) { keep.cloned() } else { Some(dim.clone()) };
    shape.iter().enumerate().filter_map(kept).collect()
}

fn keeps(attrs: &Attrs) -> bool {
    attrs.int_or("keepdims", 1) != 0
}

/// Output shape when the axes are only known at run time.
fn open_shape(cx: &Infer<'_>, rank: usize) -> Option<Shape> {
    if keeps(cx.attrs) {
        return Some((0..rank).map(|_| (cx.fresh)()).collect());
    }
    let named = cx.tensor(1)?.shape.as_ref()?.first()?.value().filter(|n| *n > 0)?;
    Some((0..rank.checked_sub(usize::try_from(named).ok()?)?).map(|_| (cx.fresh)()).collect())
}

/// Types of the outputs.
pub(super) fn infer<R: Reduction>(cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    expect(cx, 0, if R::BOOLEANS { REDUCIBLE_OR_BOOL } else { REDUCIBLE })?;
    let Some(ty) = cx.tensor(0) else { return Ok(first_is(cx, Inferred::default())) };
    let Some(shape) = &ty.shape else { return Ok(first_is(cx, TensorType::unranked(ty.dtype).into())) };
    let (present, axes) = (cx.input(1).is_some(), cx.integers(1));
    if present && axes.is_none() {
        let shape = open_shape(cx, shape.len());
        return Ok(first_is(cx, TensorType { dtype: ty.dtype, shape }.into()));
    }
    let axes = resolve(cx.attrs, axes.as_deref(), shape.len())?;
    let one = Dim::known(1);
    let output = reduced(shape, &axes, keeps(cx.attrs).then_some(&one));
    let sizes = elements(cx, 0).filter(|_| axes.len() == 1 && matches!(ty.dtype, DType::I64 | DType::I32));
    let dims = sizes.and_then(|row| Some(vec![R::on_dims(&row)?]));
    Ok(first_is(cx, Inferred { ty: TensorType::new(ty.dtype, output).into(), dims }))
}

/// Calls `f` with every row of elements to reduce, in the order of the output.
pub(super) fn rows<T: Clone, U>(array: &ArrayViewD<'_, T>, axes: &[usize], f: impl Fn(&[T]) -> U) -> Vec<U> {
    let rank = array.ndim();
    let order: Vec<usize> =
        (0..rank).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
    let length: usize = axes.iter().map(|axis| array.shape()[*axis]).product();
    let count: usize = order[..rank - axes.len()].iter().map(|axis| array.shape()[*axis]).product();
    let moved = array.view().permuted_axes(IxDyn(&order));
    let moved = moved.as_standard_layout();
    let elements = moved.as_slice().expect("made standard above");
    (0..count).map(|row| f(&elements[row * length..][..length])).collect()
}

fn eval_numbers<R: Reduction>(x: &Tensor, axes: &[usize], shape: &[usize]) -> Result<Tensor, EvalError> {
    let is_float = x.dtype().is_float();
    dispatch!(numbers, x.dtype(), T => {
        let reduce = |row: &[T]| {
            if is_float {
                T::from_f64(R::floats(&row.iter().map(|x| Number::to_f64(*x)).collect::<Vec<_>>()))
            } else {
                R::integers(row)
            }
        };
        tensor(ArrayD::from_shape_vec(IxDyn(shape), rows(&view::<T>(x)?.view(), axes, reduce))?)
    })
}

/// Reference evaluation.
pub(super) fn eval<R: Reduction>(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    let axes = resolve(cx.attrs, cx.integers(1)?.as_deref(), x.shape().len())?;
    let shape = reduced(x.shape(), &axes, keeps(cx.attrs).then_some(&1));
    if R::BOOLEANS && x.dtype() == DType::Bool {
        let truths = rows(&view_bools(x)?.view(), &axes, |row| {
            R::integers(&row.iter().map(|b| u8::from(*b != 0)).collect::<Vec<_>>()) == 1
        });
        return one(Tensor::from_bools(shape, truths)?);
    }
    one(eval_numbers::<R>(x, &axes, &shape)?)
}

/// Turns the axes attribute into an input.
pub(super) fn upgrade<R: Reduction>(edit: &mut Edit<'_>) {
    if edit.opset < R::AXES_INPUT_SINCE {
        ints_to_input(edit, "axes", 1);
    }
}

/// Turns the axes input into an attribute, and a reduction over no axis into what it is.
pub(super) fn downgrade<R: Reduction>(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset >= R::AXES_INPUT_SINCE {
        return Ok(());
    }
    let rank = input_rank(edit, 0);
    input_to_ints(edit, 1, "axes")?;
    let attrs = &mut edit.node().attrs;
    let noop = attrs.int_or("noop_with_empty_axes", 0) != 0;
    attrs.remove("noop_with_empty_axes");
    let axes = attrs.ints("axes").unwrap_or_default().to_vec();
    if axes.is_empty() {
        attrs.remove("axes");
        if noop {
            let Some((name, input)) = R::OVER_NO_AXIS.zip(edit.node().input(0)) else {
                return Err(refuse(edit, "reducing over no axis came with the axes input"));
            };
            replace(edit, name, &[input], Attrs::new());
        }
    } else if edit.opset < 11 && axes.iter().any(|axis| *axis < 0) {
        let Some(rank) = rank else {
            return Err(refuse(edit, "negative axes came with opset 11, and the rank is not known"));
        };
        let axes = axes.iter().map(|axis| normalize(*axis, rank).map(|a| a as i64));
        let axes = axes.collect::<Result<Vec<_>, _>>()?;
        edit.node().attrs.set("axes", fusebox_ir::Attr::Ints(axes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{reduce_l1::ReduceL1, reduce_mean::ReduceMean, reduce_sum_square::ReduceSumSquare};
    use crate::check::t;
    use crate::forms::testing::node;
    use crate::op::{Arg, Edit, Infer, Op};
    use fusebox_ir::{Attr, Attrs, DType, Dim, TensorType};

    #[test]
    fn axes_move_between_attribute_and_input() {
        let old = Attrs::new().with("axes", vec![1i64]).with("keepdims", 0i64);
        let (mut graph, id) = node(&ReduceMean, old.clone(), &[t(&[1, 2], &[1f32, 2.0])]);
        ReduceMean.upgrade(&mut Edit { graph: &mut graph, node: id, opset: 13 }).unwrap();
        assert_eq!((graph.node(id).inputs.len(), graph.node(id).attrs.len()), (2, 1));
        ReduceMean.downgrade(&mut Edit { graph: &mut graph, node: id, opset: 13 }).unwrap();
        assert_eq!((graph.node(id).inputs.len(), graph.node(id).attrs.clone()), (1, old));
    }

    #[test]
    fn negative_axes_are_counted_from_the_front_before_opset_11() {
        let (mut graph, id) = node(&ReduceMean, Attrs::new(), &[t(&[1, 2], &[1f32, 2.0]), t(&[1], &[-1i64])]);
        ReduceMean.downgrade(&mut Edit { graph: &mut graph, node: id, opset: 10 }).unwrap();
        assert_eq!(graph.node(id).attrs.get("axes"), Some(&Attr::Ints(vec![1])));
    }

    #[test]
    fn reducing_over_no_axis_becomes_an_elementwise_operator_or_is_refused() {
        let noop = Attrs::new().with("noop_with_empty_axes", 1i64);
        let (mut graph, id) = node(&ReduceL1, noop.clone(), &[t(&[2], &[-1f32, 2.0])]);
        ReduceL1.downgrade(&mut Edit { graph: &mut graph, node: id, opset: 13 }).unwrap();
        assert!(graph.node(id).op.is("Abs") && graph.node(id).attrs.is_empty());
        let (mut graph, id) = node(&ReduceSumSquare, noop, &[t(&[2], &[-1f32, 2.0])]);
        let error = ReduceSumSquare.downgrade(&mut Edit { graph: &mut graph, node: id, opset: 13 });
        assert!(error.unwrap_err().to_string().contains("reducing over no axis"));
    }

    #[test]
    fn axes_of_run_time_leave_the_rank_or_nothing() {
        let data = TensorType::known(DType::F32, &[2, 3]).into();
        let axes = TensorType::known(DType::I64, &[1]).into();
        let inputs = [&data, &axes].map(|ty| Some(Arg { ty, constant: None, dims: None }));
        let shape = |keep: i64| {
            let attrs = Attrs::new().with("keepdims", keep);
            let fresh = || Dim::symbol("open");
            let cx = Infer { attrs: &attrs, inputs: &inputs, outputs: 1, regions: &[], fresh: &fresh };
            ReduceMean.infer(&cx).unwrap()[0].ty.to_string()
        };
        assert_eq!(shape(1), "f32[open, open]");
        assert_eq!(shape(0), "f32[open]");
    }
}
