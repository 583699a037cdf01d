//! `Compress`: the slices along an axis (or the elements, without one) whose condition is true.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Compress.html>.

use crate::attributes::INT;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{select, span};
use crate::sizes::{copy_cost, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, axis};
use fusebox_ir::{DType, TensorType};

static SCHEMA: Schema = Schema::onnx("Compress", &[9, 11, 28], (2, 2), (1, 1)).with(&[("axis", INT)]);

pub(crate) struct Compress;

impl Op for Compress {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        crate::inference::expect(cx, 1, crate::inference::BOOLS)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(at) = cx.attrs.int("axis") else {
            return Ok(vec![TensorType::new(x.dtype, [(cx.fresh)()]).into()]);
        };
        let Some(mut shape) = x.shape.clone() else { return Ok(vec![x.clone().into()]) };
        let at = axis::normalize(at, shape.len())?;
        shape[at] = (cx.fresh)();
        Ok(vec![TensorType { dtype: x.dtype, shape: Some(shape) }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, condition) = (cx.tensor(0)?, cx.tensor(1)?);
        if condition.dtype() != DType::Bool || condition.shape().len() != 1 {
            return Err(EvalError::value("the condition must be a vector of bool"));
        }
        let (outer, size, inner, mut shape, at) = match cx.attrs.int("axis") {
            None => (1, x.len(), 1, vec![0], 0),
            Some(at) => {
                let at = axis::normalize(at, x.shape().len())?;
                let (before, after) = (&x.shape()[..at], &x.shape()[at + 1..]);
                (span(before), x.shape()[at], span(after), x.shape().to_vec(), at)
            }
        };
        let kept: Vec<usize> = condition
            .data()
            .iter()
            .take(size)
            .enumerate()
            .filter(|(_, c)| **c != 0)
            .map(|(i, _)| i)
            .collect();
        shape[at] = kept.len();
        let rows =
            (0..outer).flat_map(|row: usize| kept.iter().map(move |index| (row * size + index) * inner));
        one(select(x, shape, rows.flat_map(|start| start..start + inner))?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn true_slices_stay() {
        let x = t(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
        let condition = |bits: &[bool]| Tensor::from_bools(vec![bits.len()], bits.iter().copied()).unwrap();
        let columns = Attrs::new().with("axis", 1);
        let result = run(&Compress, &columns, &[x.clone(), condition(&[true, false, true])]);
        assert_eq!(result, t(&[2, 2], &[1i32, 3, 4, 6]));
        let result = run(&Compress, &Attrs::new(), &[x, condition(&[false, true, false, false, true])]);
        assert_eq!(result, t(&[2], &[2i32, 5]));
    }
}
