//! Sequences: `SequenceConstruct`, `SequenceEmpty`, `SequenceAt`, `SequenceInsert`, `SequenceErase`, `SequenceLength`,
//! `SplitToSequence`, `ConcatFromSequence`.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__SequenceAt.html> and its neighbours.

use crate::attributes::{INT, int};
use crate::movement::{concat, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::{Walk, select, strides};
use crate::view::one;
use crate::{Datum, EvalError, InferError, axis};
use fusebox_ir::{DType, Dim, Tensor, TensorType, Type};

macro_rules! sequence_ops {
    ($($op:ident $schema:ident ($since:expr, $inputs:expr, $attributes:expr) $infer:ident $eval:ident;)*) => { $(
        static $schema: Schema = Schema::onnx(stringify!($op), $since, $inputs, (1, 1)).with($attributes);
        pub(crate) struct $op;
        impl Op for $op {
            fn schema(&self) -> &'static Schema {
                &$schema
            }
            fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
                Ok(vec![$infer(cx)?.into()])
            }
            fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
                $eval(cx)
            }
        }
    )* };
}

sequence_ops! {
    SequenceConstruct CONSTRUCT (&[11], (1, usize::MAX), &[]) infer_construct eval_construct;
    SequenceEmpty EMPTY (&[11], (0, 0), &[("dtype", INT)]) infer_empty eval_empty;
    SequenceAt AT (&[11], (2, 2), &[]) infer_at eval_at;
    SequenceInsert INSERT (&[11], (2, 3), &[]) infer_insert eval_insert;
    SequenceErase ERASE (&[11], (1, 2), &[]) infer_erase eval_erase;
    SequenceLength LENGTH (&[11], (1, 1), &[]) infer_length eval_length;
    SplitToSequence SPLIT (&[11, 24], (1, 2), &[("axis", int(0)), ("keepdims", int(1))]) infer_split eval_split;
    ConcatFromSequence CONCAT (&[11], (1, 1), &[("axis", INT), ("new_axis", int(0))]) infer_concat eval_concat;
}

/// The most that holds for both types. A size that differs becomes a symbol of its own.
fn common(cx: &Infer<'_>, a: &Type, b: &Type) -> Type {
    let (Some(a), Some(b)) = (a.tensor(), b.tensor()) else {
        return if a == b { a.clone() } else { Type::Unknown };
    };
    if a.dtype != b.dtype {
        return Type::Unknown;
    }
    let shape = match (&a.shape, &b.shape) {
        (Some(x), Some(y)) if x.len() == y.len() => {
            Some(x.iter().zip(y).map(|(x, y)| if x == y { x.clone() } else { (cx.fresh)() }).collect())
        }
        _ => None,
    };
    TensorType { dtype: a.dtype, shape }.into()
}

fn element<'a>(cx: &Infer<'a>) -> Option<&'a Type> {
    match cx.input(0)?.ty {
        Type::Sequence(inner) => Some(inner),
        _ => None,
    }
}

fn infer_construct(cx: &Infer<'_>) -> Result<Type, InferError> {
    let first = cx.input(0).map_or(Type::Unknown, |arg| arg.ty.clone());
    let all = cx.inputs.iter().flatten().fold(first, |all, arg| common(cx, &all, arg.ty));
    Ok(Type::Sequence(Box::new(all)))
}

fn infer_empty(cx: &Infer<'_>) -> Result<Type, InferError> {
    let dtype = dtype_attr(cx.attrs, "dtype")?.unwrap_or(DType::F32);
    Ok(Type::Sequence(Box::new(TensorType::unranked(dtype).into())))
}

/// An element. Elements share the known sizes of the sequence's type; where that has a symbol, each has a size of its own.
fn infer_at(cx: &Infer<'_>) -> Result<Type, InferError> {
    let Some(inner) = element(cx) else { return Ok(Type::Unknown) };
    let Some(tensor) = inner.tensor() else { return Ok(inner.clone()) };
    let own = |dim: &Dim| if dim.value().is_some() { dim.clone() } else { (cx.fresh)() };
    let shape = tensor.shape.as_ref().map(|shape| shape.iter().map(own).collect());
    Ok(TensorType { dtype: tensor.dtype, shape }.into())
}

fn infer_insert(cx: &Infer<'_>) -> Result<Type, InferError> {
    let (Some(inner), Some(added)) = (element(cx), cx.input(1)) else { return Ok(Type::Unknown) };
    Ok(Type::Sequence(Box::new(common(cx, inner, added.ty))))
}

fn infer_erase(cx: &Infer<'_>) -> Result<Type, InferError> {
    Ok(element(cx).map_or(Type::Unknown, |inner| Type::Sequence(Box::new(inner.clone()))))
}

fn infer_length(_cx: &Infer<'_>) -> Result<Type, InferError> {
    Ok(TensorType::new(DType::I64, []).into())
}

fn infer_split(cx: &Infer<'_>) -> Result<Type, InferError> {
    let Some(x) = cx.tensor(0) else { return Ok(Type::Sequence(Box::new(Type::Unknown))) };
    let mut shape = x.shape.clone();
    if let Some(shape) = &mut shape {
        let at = axis::normalize(cx.attrs.int_or("axis", 0), shape.len())?;
        if cx.input(1).is_some() {
            shape[at] = part_size(cx, shape[at].value()).map_or_else(|| (cx.fresh)(), Dim::known);
        } else if cx.attrs.int_or("keepdims", 1) == 0 {
            shape.remove(at);
        } else {
            shape[at] = Dim::known(1);
        }
    }
    Ok(Type::Sequence(Box::new(TensorType { dtype: x.dtype, shape }.into())))
}

/// Size of every part, when all parts are of one size.
fn part_size(cx: &Infer<'_>, whole: Option<i64>) -> Option<i64> {
    let sizes = cx.integers(1)?;
    let first = *sizes.first()?;
    let is_scalar = cx.tensor(1)?.rank()? == 0;
    let even =
        if is_scalar { whole?.checked_rem(first) == Some(0) } else { sizes.iter().all(|s| *s == first) };
    even.then_some(first)
}

fn infer_concat(cx: &Infer<'_>) -> Result<Type, InferError> {
    let mut ty = infer_at(cx)?;
    let (Type::Tensor(TensorType { shape: Some(shape), .. }), Some(at)) = (&mut ty, cx.attrs.int("axis"))
    else {
        return Ok(ty);
    };
    if cx.attrs.int_or("new_axis", 0) == 0 {
        let at = axis::normalize(at, shape.len())?;
        shape[at] = (cx.fresh)();
    } else {
        let at = axis::normalize(at, shape.len() + 1)?;
        shape.insert(at, (cx.fresh)());
    }
    Ok(ty)
}

fn sequence<'a>(cx: &Eval<'a>) -> Result<&'a [Datum], EvalError> {
    match cx.inputs.first().copied().flatten() {
        Some(Datum::Sequence(items)) => Ok(items),
        _ => Err(EvalError::value("the first input must be a sequence")),
    }
}

/// Position of input `index` in a sequence, `ends` past the last allowed; the last when absent.
fn position(cx: &Eval<'_>, index: usize, len: usize, ends: usize) -> Result<usize, EvalError> {
    let Some(given) = cx.integers(index)?.and_then(|given| given.first().copied()) else {
        return (len + ends).checked_sub(1).ok_or_else(|| EvalError::value("the sequence is empty"));
    };
    let at = if given < 0 { given.saturating_add(len as i64) } else { given };
    let at = usize::try_from(at).ok().filter(|at| *at < len + ends);
    at.ok_or_else(|| EvalError::value(format!("position {given} is outside a sequence of {len}")))
}

fn eval_construct(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let item = |index: usize| Ok(cx.tensor(index)?.clone().into());
    Ok(vec![Datum::Sequence((0..cx.inputs.len()).map(item).collect::<Result<_, EvalError>>()?)])
}

fn eval_empty(_cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    Ok(vec![Datum::Sequence(Vec::new())])
}

fn eval_at(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let items = sequence(cx)?;
    Ok(vec![items[position(cx, 1, items.len(), 0)?].clone()])
}

fn eval_insert(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let mut items = sequence(cx)?.to_vec();
    let at = position(cx, 2, items.len(), 1)?;
    items.insert(at, cx.tensor(1)?.clone().into());
    Ok(vec![Datum::Sequence(items)])
}

fn eval_erase(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let mut items = sequence(cx)?.to_vec();
    items.remove(position(cx, 1, items.len(), 0)?);
    Ok(vec![Datum::Sequence(items)])
}

fn eval_length(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    one(Tensor::scalar(sequence(cx)?.len() as i64))
}

fn eval_split(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    let at = axis::normalize(cx.attrs.int_or("axis", 0), x.shape().len())?;
    let size = x.shape()[at];
    let wrong = || EvalError::value(format!("an axis of size {size} cannot be split like that"));
    let given = cx.optional(1)?;
    let sizes: Vec<usize> = match given {
        Some(sizes) if sizes.shape().len() == 1 => {
            let sizes = sizes.integers().unwrap_or_default();
            sizes.iter().map(|size| usize::try_from(*size).map_err(|_| wrong())).collect::<Result<_, _>>()?
        }
        other => {
            let chunk = other.and_then(|chunk| chunk.integers()?.first().copied()).unwrap_or(1);
            let chunk = usize::try_from(chunk).ok().filter(|chunk| *chunk > 0).ok_or_else(wrong)?;
            (0..size.div_ceil(chunk)).map(|part| chunk.min(size - part * chunk)).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size)) != Some(size) {
        return Err(wrong());
    }
    let steps = strides(x.shape());
    let is_dropped = given.is_none() && cx.attrs.int_or("keepdims", 1) == 0;
    let mut start = 0usize;
    let part = |size: usize| -> Result<Datum, EvalError> {
        let mut shape = x.shape().to_vec();
        shape[at] = size;
        let walk = Walk::new(steps[at].wrapping_mul(start.cast_signed()), &shape, &steps)?;
        start += size;
        let part = select(x, shape.clone(), walk)?;
        if is_dropped {
            shape.remove(at);
        }
        Ok(part.reshaped(shape)?.into())
    };
    Ok(vec![Datum::Sequence(sizes.into_iter().map(part).collect::<Result<_, _>>()?)])
}

fn eval_concat(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let items: Vec<&Tensor> = sequence(cx)?.iter().map(Datum::tensor).collect::<Result<_, _>>()?;
    let at = cx
        .attrs
        .int("axis")
        .ok_or(InferError::Attribute { name: "axis".into(), expected: "given".into() })?;
    if cx.attrs.int_or("new_axis", 0) == 0 {
        return one(concat(&items, at)?);
    }
    let items = items.into_iter().map(|tensor| Datum::from(tensor.clone())).collect();
    Ok(vec![super::body::stack(items, at, &Type::Unknown)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpreter;
    use crate::sizes::testing::infer_all;
    use fusebox_ir::Attrs;

    fn eval(op: &dyn Op, attrs: &Attrs, inputs: &[Datum]) -> Result<Datum, EvalError> {
        let inputs: Vec<Option<&Datum>> = inputs.iter().map(Some).collect();
        let interpreter = &Interpreter::new(&[]);
        let cx = Eval { attrs, inputs: &inputs, outputs: 1, regions: &[], captures: &[], interpreter };
        op.eval(&cx).map(|mut outputs| outputs.remove(0))
    }

    fn scalar(value: i64) -> Datum {
        Tensor::scalar(value).into()
    }

    #[test]
    fn sequences_grow_and_shrink() {
        let none = Attrs::new();
        let items = eval(&SequenceConstruct, &none, &[scalar(1), scalar(2)]).unwrap();
        let items = eval(&SequenceInsert, &none, &[items, scalar(9), scalar(-1)]).unwrap();
        assert_eq!(items, Datum::Sequence(vec![scalar(1), scalar(9), scalar(2)]));
        assert_eq!(eval(&SequenceLength, &none, std::slice::from_ref(&items)).unwrap(), scalar(3));
        assert_eq!(eval(&SequenceAt, &none, &[items.clone(), scalar(-2)]).unwrap(), scalar(9));
        let items = eval(&SequenceErase, &none, &[items]).unwrap();
        assert_eq!(items, Datum::Sequence(vec![scalar(1), scalar(9)]));
        let error = eval(&SequenceAt, &none, &[items, scalar(2)]).unwrap_err();
        assert_eq!(error.to_string(), "position 2 is outside a sequence of 2");
        let empty = eval(&SequenceEmpty, &none, &[]).unwrap();
        assert!(eval(&SequenceErase, &none, &[empty]).is_err());
    }

    fn inferred(op: &dyn Op, attrs: &Attrs, inputs: &[&str]) -> String {
        let typed = |ty: &&str| fusebox_ir::text::parse(&format!("graph (%0: {ty}) -> () {{\n}}")).unwrap();
        let graphs: Vec<_> = inputs.iter().map(typed).collect();
        let types: Vec<_> = graphs.iter().map(|graph| (&graph.value(graph.inputs[0]).ty, None)).collect();
        infer_all(op, attrs, &types, 1).unwrap()[0].ty.to_string()
    }

    #[test]
    fn elements_share_what_is_common() {
        let none = Attrs::new();
        assert_eq!(inferred(&SequenceConstruct, &none, &["f32[2, 3]", "f32[4, 3]"]), "seq(f32[fresh1, 3])");
        assert_eq!(inferred(&SequenceInsert, &none, &["seq(f32[2, 3])", "f32[2, 3]"]), "seq(f32[2, 3])");
        assert_eq!(inferred(&SequenceInsert, &none, &["seq(f32[2, 3])", "f32[2]"]), "seq(f32[..])");
        assert_eq!(inferred(&SequenceAt, &none, &["seq(f32[n, 3])", "i64[]"]), "f32[fresh1, 3]");
        assert_eq!(inferred(&SplitToSequence, &none, &["f32[2, 3]"]), "seq(f32[1, 3])");
        assert_eq!(inferred(&SplitToSequence, &none, &["f32[2, 3]", "i64[2]"]), "seq(f32[fresh1, 3])");
        let (rows, stacked) = (none.clone().with("keepdims", 0), none.with("axis", -1).with("new_axis", 1));
        assert_eq!(inferred(&SplitToSequence, &rows, &["f32[2, 3]"]), "seq(f32[3])");
        assert_eq!(inferred(&ConcatFromSequence, &stacked, &["seq(f32[3])"]), "f32[3, fresh1]");
        assert_eq!(
            inferred(&ConcatFromSequence, &rows.with("axis", 0), &["seq(f32[2, 3])"]),
            "f32[fresh1, 3]"
        );
    }

    #[test]
    fn tensors_split_and_join() {
        let x = Tensor::from_vec(vec![3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let two = scalar(2);
        let parts = eval(&SplitToSequence, &Attrs::new(), &[x.clone().into(), two]).unwrap();
        let Datum::Sequence(items) = &parts else { panic!("expected a sequence") };
        assert_eq!((items.len(), items[1].tensor().unwrap().shape()), (2, &[1, 2][..]));
        let joined = eval(&ConcatFromSequence, &Attrs::new().with("axis", 0), &[parts]).unwrap();
        assert_eq!(joined, x.clone().into());
        let rows = eval(&SplitToSequence, &Attrs::new().with("keepdims", 0), &[x.clone().into()]).unwrap();
        let stacked = Attrs::new().with("axis", 0).with("new_axis", 1);
        assert_eq!(eval(&ConcatFromSequence, &stacked, &[rows]).unwrap(), x.into());
    }
}
