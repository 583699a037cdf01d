//! `NonZero`: coordinates of the elements that are not zero, one column per element.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__NonZero.html>.

use crate::movement::cast;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::strides;
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{DType, Dim, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("NonZero", &[9, 13], (1, 1), (1, 1));

pub(crate) struct NonZero;

impl Op for NonZero {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let rank = cx.tensor(0).and_then(TensorType::rank);
        let rows = rank.map_or_else(|| (cx.fresh)(), |rank| Dim::known(rank as i64));
        Ok(vec![TensorType::new(DType::I64, [rows, (cx.fresh)()]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let is_set = cast(x, DType::Bool)?;
        let found: Vec<usize> =
            is_set.data().iter().enumerate().filter(|(_, b)| **b != 0).map(|(i, _)| i).collect();
        let steps = strides(x.shape());
        let coordinate =
            |axis: usize, place: usize| (place / steps[axis].unsigned_abs() % x.shape()[axis]) as i64;
        let rows = (0..x.shape().len()).flat_map(|axis| found.iter().map(move |place| (axis, *place)));
        let values: Vec<i64> = rows.map(|(axis, place)| coordinate(axis, place)).collect();
        one(Tensor::from_vec(vec![x.shape().len(), found.len()], values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn coordinates_are_columns() {
        let x = t(&[2, 2], &[1f32, 0.0, f32::NAN, 1.0]);
        assert_eq!(run(&NonZero, &Attrs::new(), &[x]), t(&[2, 3], &[0i64, 1, 1, 0, 0, 1]));
        assert_eq!(run(&NonZero, &Attrs::new(), &[t(&[1], &[0i32])]).shape(), [1, 0]);
    }
}
