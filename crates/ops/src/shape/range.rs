//! `Range`: `start, start + delta, …` up to but without `limit`.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Range.html>.

use crate::attributes::int;
use crate::forms::{drop_int, existed, set_input};
use crate::inference::elements;
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::{is_index, unknown};
use crate::versions::{add_node, input_rank};
use crate::view::{dispatch, one};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{Attrs, DType, Dim, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("Range", &[11, 27], (3, 3), (1, 1)).with(&[("stash_type", int(1))]);

pub(crate) struct Range;

impl Op for Range {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let dtype = (0..3).find_map(|index| cx.tensor(index)).map(|ty| ty.dtype);
        let Some(dtype) = dtype else { return Ok(unknown(cx)) };
        let bound = |index: usize| {
            elements(cx, index).filter(|_| is_index(dtype)).and_then(|values| values.first().cloned())
        };
        let (start, limit, delta) = (bound(0), bound(1), bound(2).and_then(|delta| delta.value()));
        if delta == Some(0) {
            return Err(InferError::shape("a delta of 0 never ends"));
        }
        let (Some(start), Some(limit), Some(delta)) = (start, limit, delta) else {
            return Ok(vec![TensorType::new(dtype, [(cx.fresh)()]).into()]);
        };
        let (room, step) =
            if delta > 0 { (limit.sub(&start), delta) } else { (start.sub(&limit), delta.saturating_neg()) };
        let count = room.larger(&Dim::known(0)).ceil_div(&Dim::known(step));
        let nth = |index: i64| start.add(&Dim::known(index.saturating_mul(delta)));
        let dims = count.value().filter(|count| *count <= 64).map(|count| (0..count).map(nth).collect());
        Ok(vec![Inferred { ty: TensorType::new(dtype, [count]).into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (start, limit, delta) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        one(match start.dtype() {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
                dispatch!(floats, start.dtype(), T => floats::<T>(start, limit, delta))?
            }
            dtype => dispatch!(integers, dtype, T => integers::<T>(start, limit, delta))?,
        })
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        for index in 0..3 {
            scalar_bound(edit, index);
        }
        if edit.opset < 27 { drop_int(&SCHEMA, edit, "stash_type", 1) } else { Ok(()) }
    }
}

/// Bounds are scalars. Exporters also write vectors of one, which runtimes refuse as soon as a file says their shape.
fn scalar_bound(edit: &mut Edit<'_>, index: usize) {
    let Some(value) = edit.node().input(index).filter(|_| input_rank(edit, index) == Some(1)) else { return };
    let shape = edit.graph.add_constant("", Tensor::vector(Vec::<i64>::new()));
    let scalar = add_node(edit, "Reshape", &[value, shape], Attrs::new());
    set_input(edit, index, Some(scalar));
}

fn scalar<T: Number>(tensor: &Tensor) -> Result<T, EvalError> {
    let values = tensor.elements::<T>()?;
    values.first().copied().ok_or_else(|| EvalError::value("a bound of the range is empty"))
}

/// Half types are computed in f32, as the default `stash_type` says; f32 and f64 in themselves.
fn floats<T: Number>(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<Tensor, EvalError> {
    let (start, limit, delta) = (scalar::<T>(start)?, scalar::<T>(limit)?, scalar::<T>(delta)?);
    let (start, limit, delta) = (start.to_f64(), limit.to_f64(), delta.to_f64());
    let count = ((limit - start) / delta).ceil().max(0.0);
    if !count.is_finite() {
        return Err(EvalError::value(format!("the range {start}..{limit} by {delta} has no length")));
    }
    let count = checked_count(T::DTYPE, &[count as usize])?;
    let nth = |index: usize| match T::DTYPE {
        DType::F64 => T::from_f64(start + index as f64 * delta),
        _ => T::from_f64(f64::from(start as f32 + index as f32 * delta as f32)),
    };
    Ok(Tensor::vector((0..count).map(nth).collect::<Vec<T>>()))
}

fn integers<T: Number + TryInto<i128> + TryFrom<i128>>(
    start: &Tensor,
    limit: &Tensor,
    delta: &Tensor,
) -> Result<Tensor, EvalError> {
    let wide = |tensor: &Tensor| -> Result<i128, EvalError> {
        scalar::<T>(tensor)?.try_into().map_err(|_| EvalError::value("a bound of the range is too large"))
    };
    let (start, limit, delta) = (wide(start)?, wide(limit)?, wide(delta)?);
    if delta == 0 {
        return Err(EvalError::value("a delta of 0 never ends"));
    }
    let room = if delta > 0 { limit - start } else { start - limit };
    let count = room.max(0).unsigned_abs().div_ceil(delta.unsigned_abs());
    let count = checked_count(T::DTYPE, &[usize::try_from(count).unwrap_or(usize::MAX)])?;
    let nth = |index: usize| {
        // Inside the bounds, so of the type.
        T::try_from(start + index as i128 * delta).unwrap_or(T::ZERO)
    };
    Ok(Tensor::vector((0..count).map(nth).collect::<Vec<T>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run};
    use crate::sizes::testing::{infer_one, symbolic};
    use fusebox_ir::tensor::Element;

    fn range<T: Element>(start: T, limit: T, delta: T) -> Tensor {
        run(&Range, &Attrs::new(), &[start, limit, delta].map(Tensor::scalar))
    }

    #[test]
    fn vectors_of_one_are_written_as_scalars() {
        let inputs = [Tensor::scalar(0i64), Tensor::vector(vec![3i64]), Tensor::scalar(1i64)];
        let (mut graph, node) = crate::forms::testing::node(&Range, Attrs::new(), &inputs);
        graph.outputs.extend(graph.node(node).output(0));
        Range.downgrade(&mut Edit { graph: &mut graph, node, opset: 20 }).unwrap();
        let producer = |index| graph.value(graph.node(node).input(index).unwrap()).producer;
        assert_eq!((producer(0), producer(2)), (None, None));
        assert!(graph.node(producer(1).unwrap().0).op.is("Reshape"));
        let found = crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap();
        assert_eq!(found, [Tensor::vector(vec![0i64, 1, 2]).into()]);
    }

    #[test]
    fn limits_are_excluded() {
        assert_eq!(range(3i64, 9, 3), Tensor::vector(vec![3i64, 6]));
        assert_eq!(range(10i32, 4, -2), Tensor::vector(vec![10i32, 8, 6]));
        assert_eq!(range(1f32, 2.0, 0.25), Tensor::vector(vec![1f32, 1.25, 1.5, 1.75]));
        assert_eq!(range(5i64, 5, 1), Tensor::vector(Vec::<i64>::new()));
        assert_eq!(range(i64::MAX - 1, i64::MAX, 5), Tensor::vector(vec![i64::MAX - 1]));
        let refuse = |bounds: [i64; 3]| refusal(&Range, &Attrs::new(), &bounds.map(Tensor::scalar));
        assert!(refuse([0, 1, 0]).contains("never ends"));
        assert!(refuse([i64::MIN, i64::MAX, 1]).contains("more than 16 GiB"));
        let endless = [0f32, f32::INFINITY, 1.0].map(Tensor::scalar);
        assert!(refusal(&Range, &Attrs::new(), &endless).contains("no length"));
    }

    #[test]
    fn a_symbolic_limit_is_the_length() {
        let scalar = symbolic(DType::I64, &[]);
        let (zero, n, one) = ([Dim::known(0)], [Dim::symbol("n")], [Dim::known(1)]);
        let inputs = [(&scalar, Some(&zero[..])), (&scalar, Some(&n)), (&scalar, Some(&one))];
        assert_eq!(infer_one(&Range, &Attrs::new(), &inputs).unwrap().ty.to_string(), "i64[n]");
        let (past, total) = ([Dim::symbol("p")], [Dim::symbol("p").add(&Dim::symbol("n"))]);
        let inputs = [(&scalar, Some(&past[..])), (&scalar, Some(&total)), (&scalar, Some(&one))];
        assert_eq!(infer_one(&Range, &Attrs::new(), &inputs).unwrap().ty.to_string(), "i64[n]");
    }
}
