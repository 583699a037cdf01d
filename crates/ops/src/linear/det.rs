//! `Det`: determinants of square matrices, by elimination with row pivots in f64.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Det.html>.

use crate::inference::{FLOATS, expect};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::sizes::{same_size, unknown};
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::TensorType;
use ndarray::{ArrayD, IxDyn};

static SCHEMA: Schema = Schema::onnx("Det", &[11, 22], (1, 1), (1, 1));

pub(crate) struct Det;

/// Determinant of a row-major matrix, which is destroyed.
fn determinant(matrix: &mut [f64], size: usize) -> f64 {
    let mut result = 1f64;
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|a, b| matrix[a * size + column].abs().total_cmp(&matrix[b * size + column].abs()))
            .unwrap_or(column);
        if pivot != column {
            (0..size).for_each(|k| matrix.swap(column * size + k, pivot * size + k));
            result = -result;
        }
        let head = matrix[column * size + column];
        result *= head;
        if head == 0.0 {
            return result;
        }
        for row in column + 1..size {
            let factor = matrix[row * size + column] / head;
            (column..size).for_each(|k| matrix[row * size + k] -= factor * matrix[column * size + k]);
        }
    }
    result
}

fn not_square(shape: &dyn std::fmt::Debug) -> InferError {
    InferError::shape(format!("the last two axes must be equal, the shape is {shape:?}"))
}

impl Op for Det {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        let [batch @ .., rows, columns] = &shape[..] else { return Err(not_square(shape)) };
        same_size(rows, columns).ok_or_else(|| not_square(shape))?;
        Ok(vec![TensorType::new(x.dtype, batch.iter().cloned()).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let [batch @ .., rows, columns] = x.shape() else { return Err(not_square(&x.shape()).into()) };
        if rows != columns {
            return Err(not_square(&x.shape()).into());
        }
        let (area, size) = (rows * columns, *rows);
        let count: usize = batch.iter().product();
        let mut elements: Vec<f64> = to_f64(x)?.into_iter().collect();
        // The matrix without elements has the determinant 1.
        let values = (0..count).map(|n| determinant(&mut elements[n * area..][..area], size)).collect();
        one(from_f64(x.dtype(), &ArrayD::from_shape_vec(IxDyn(batch), values)?)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let size = shapes.input(0).and_then(|sizes| sizes.last().copied()).unwrap_or(0.0);
        shapes.input_elements(0) * size * 2.0 / 3.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn determinants_of_a_batch() {
        let x = t(&[2, 3, 3], &[0f32, 2., 1., 1., 0., 0., 3., 1., 4., 1., 2., 3., 4., 5., 6., 7., 8., 9.]);
        let found = run(&Det, &Attrs::new(), &[x]);
        assert_eq!(found.shape(), [2]);
        close(&found, &[-7.0, 0.0]);
        close(&run(&Det, &Attrs::new(), &[t(&[0, 0], &[0f64; 0])]), &[1.0]);
        let message = refusal(&Det, &Attrs::new(), &[t(&[1, 2], &[0f32; 2])]);
        assert_eq!(message, "the last two axes must be equal, the shape is [1, 2]");
    }
}
