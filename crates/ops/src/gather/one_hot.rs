//! `OneHot`: for each index a vector of `depth` elements with the on-value at the index and the off-value elsewhere.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__OneHot.html>. Indices out of range give only off-values.

use super::index::to_index;
use crate::attributes::int;
use crate::inference::elements;
use crate::movement::cast;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::{checked_count, pick, span};
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError, axis};
use fusebox_ir::{DType, TensorType};

static SCHEMA: Schema = Schema::onnx("OneHot", &[9, 11, 28], (3, 3), (1, 1)).with(&[("axis", int(-1))]);

pub(crate) struct OneHot;

impl Op for OneHot {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(values) = cx.tensor(2) else { return Ok(unknown(cx)) };
        let Some(shape) = cx.tensor(0).and_then(|ty| ty.shape.as_ref()) else {
            return Ok(vec![TensorType::unranked(values.dtype).into()]);
        };
        let at = axis::normalize(cx.attrs.int_or("axis", -1), shape.len() + 1)?;
        let depth = elements(cx, 1).and_then(|depth| depth.first().cloned()).unwrap_or_else(|| (cx.fresh)());
        let mut result = shape.clone();
        result.insert(at, depth);
        Ok(vec![TensorType { dtype: values.dtype, shape: Some(result) }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (indices, values) = (cx.tensor(0)?, cx.tensor(2)?);
        if values.len() != 2 {
            return Err(EvalError::value(format!("{} values are given, expected off and on", values.len())));
        }
        let depth = cast(cx.tensor(1)?, DType::I64)?.integers().and_then(|depth| depth.first().copied());
        let depth = depth.and_then(|depth| usize::try_from(depth).ok());
        let depth =
            depth.ok_or_else(|| EvalError::value("the depth must be one number that is not negative"))?;
        let at = axis::normalize(cx.attrs.int_or("axis", -1), indices.shape().len() + 1)?;
        let mut shape = indices.shape().to_vec();
        shape.insert(at, depth);
        let count = checked_count(values.dtype(), &shape)?;
        let inner = span(&shape[at + 1..]);
        let picked = cast(indices, DType::I64)?.integers().unwrap_or_default();
        let is_on = |place: usize| {
            let (outer, level, within) = (place / (inner * depth), place / inner % depth, place % inner);
            to_index(picked[outer * inner + within], depth) == Some(level)
        };
        one(pick(&[values], shape, (0..count).map(|place| (0, usize::from(is_on(place)))))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn the_index_is_on() {
        let inputs = [t(&[3], &[0i64, -1, 5]), Tensor::scalar(3i64), t(&[2], &[0f32, 1.0])];
        let rows = run(&OneHot, &Attrs::new(), &inputs);
        assert_eq!(rows, t(&[3, 3], &[1f32, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]));
        let first = run(&OneHot, &Attrs::new().with("axis", 0), &inputs);
        assert_eq!(first, t(&[3, 3], &[1f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]));
        let huge = [inputs[0].clone(), Tensor::scalar(i64::MAX), inputs[2].clone()];
        assert!(refusal(&OneHot, &Attrs::new(), &huge).contains("more than 16 GiB"));
    }
}
