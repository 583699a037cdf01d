//! `MatMul`: the matrix product, batched over leading axes with broadcasting (NumPy's `matmul`).
//!
//! A vector on the left is a row and on the right a column; its axis leaves the result.
//! Spec: <https://onnx.ai/onnx/operators/onnx__MatMul.html>.

use super::product::MatrixElement;
use crate::broadcast::{broadcast_dims, broadcast_sizes, broadcast_to, check_elements};
use crate::inference::{NUMBERS, expect, expect_same, first_is};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::versions::{input_type, refuse};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Dim, Shape, TensorType};
use ndarray::{ArrayD, ArrayView2, ArrayViewD, Axis, Dimension, Ix2, IxDyn};

static SCHEMA: Schema = Schema::onnx("MatMul", &[1, 9, 13], (2, 2), (1, 1));

pub(crate) struct MatMul;

/// Shape of the product of two shapes.
///
/// # Errors
/// When one is a scalar, the inner sizes differ, or the leading axes do not broadcast.
pub(crate) fn product_dims(a: &[Dim], b: &[Dim]) -> Result<Shape, InferError> {
    if a.is_empty() || b.is_empty() {
        let reason = format!("shapes {a:?} and {b:?} cannot be multiplied: a scalar is not a matrix");
        return Err(InferError::shape(reason));
    }
    let (columns, rows) = (&a[a.len() - 1], &b[b.len().saturating_sub(2)]);
    if columns.value().is_some() && rows.value().is_some() && columns != rows {
        return Err(InferError::shape(format!(
            "shapes {a:?} and {b:?} cannot be multiplied: the inner sizes {columns} and {rows} differ"
        )));
    }
    let mut shape = broadcast_dims(&[&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)]])?;
    if a.len() > 1 {
        shape.push(a[a.len() - 2].clone());
    }
    if b.len() > 1 {
        shape.push(b[b.len() - 1].clone());
    }
    Ok(shape)
}

/// The batched product of two arrays.
///
/// # Errors
/// As [`product_dims`].
pub(crate) fn batched_product<T: MatrixElement>(
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
) -> Result<ArrayD<T>, EvalError> {
    let dims = |shape: &[usize]| -> Vec<Dim> { shape.iter().map(|s| Dim::known(*s as i64)).collect() };
    let shape = product_dims(&dims(a.shape()), &dims(b.shape()))?;
    let shape: Vec<usize> = shape.iter().map(|d| d.value().unwrap_or(0) as usize).collect();
    check_elements(&shape)?;
    let a = if a.ndim() == 1 { a.insert_axis(Axis(0)) } else { a };
    let b = if b.ndim() == 1 { b.insert_axis(Axis(1)) } else { b };
    let product = if b.ndim() == 2 { fold_batch(&a, &b)? } else { loop_batch(&a, &b)? };
    Ok(product.into_shape_with_order(IxDyn(&shape))?)
}

fn matrix<'a, T>(array: &'a ArrayViewD<'_, T>) -> Result<ArrayView2<'a, T>, EvalError> {
    Ok(array.view().into_dimensionality::<Ix2>()?)
}

/// One product for all of the batch, where the right side has none.
fn fold_batch<T: MatrixElement>(
    a: &ArrayViewD<'_, T>,
    b: &ArrayViewD<'_, T>,
) -> Result<ArrayD<T>, EvalError> {
    let inner = a.shape()[a.ndim() - 1];
    let rows: usize = a.shape()[..a.ndim() - 1].iter().product();
    let flat = a.to_shape((rows, inner))?;
    // The product of two column-major matrices comes out column-major.
    Ok(T::product(flat.view(), matrix(b)?).as_standard_layout().into_owned().into_dyn())
}

fn loop_batch<T: MatrixElement>(
    a: &ArrayViewD<'_, T>,
    b: &ArrayViewD<'_, T>,
) -> Result<ArrayD<T>, EvalError> {
    let split = |x: &ArrayViewD<'_, T>| {
        let (batch, matrix) = x.shape().split_at(x.ndim() - 2);
        (batch.to_vec(), matrix.to_vec())
    };
    let ((batch_a, matrix_a), (batch_b, matrix_b)) = (split(a), split(b));
    let batch = broadcast_sizes(&[&batch_a, &batch_b])?;
    let (a, b) = (
        broadcast_to(a, &[&*batch, &*matrix_a].concat())?,
        broadcast_to(b, &[&*batch, &*matrix_b].concat())?,
    );
    let count: usize = batch.iter().product();
    let mut result = Vec::with_capacity(count * matrix_a[0] * matrix_b[1]);
    for index in ndarray::indices(IxDyn(&batch)) {
        let pick = |x: &ArrayViewD<'_, T>| {
            let mut view = x.clone();
            index.slice().iter().for_each(|i| view.index_axis_inplace(Axis(0), *i));
            view.into_dimensionality::<Ix2>().map(|m| m.to_owned())
        };
        result.extend(T::product(pick(&a)?.view(), pick(&b)?.view()).iter().copied());
    }
    Ok(ArrayD::from_shape_vec(IxDyn(&[count, matrix_a[0], matrix_b[1]]), result)?)
}

impl Op for MatMul {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, NUMBERS)?;
        expect_same(cx, 0, 1)?;
        let Some(dtype) = cx.dtype(0)?.or(cx.dtype(1)?) else { return Ok(first_is(cx, Inferred::default())) };
        let shapes = cx.tensor(0).zip(cx.tensor(1)).and_then(|(a, b)| a.shape.as_ref().zip(b.shape.as_ref()));
        let shape = shapes.map(|(a, b)| product_dims(a, b)).transpose()?;
        Ok(first_is(cx, TensorType { dtype, shape }.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        dispatch!(numbers, a.dtype(), T => {
            one(tensor(batched_product(view::<T>(a)?.view(), view::<T>(b)?.view())?)?)
        })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let inner = shapes.input(0).and_then(|sizes| sizes.last().copied()).unwrap_or(0.0);
        2.0 * inner * shapes.output_elements(0)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: 1, channel_axis: -1 }
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let integer = input_type(edit, 0).tensor().is_some_and(|ty| ty.dtype.is_integer());
        if edit.opset < 9 && integer {
            return Err(refuse(edit, "integers came with opset 9"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{from_fn, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn multiplies_matrices_and_vectors() {
        let a = t(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = t(&[3, 2], &[1f32, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let product = |a, b| run(&MatMul, &Attrs::new(), &[a, b]);
        assert_eq!(product(a.clone(), b), t(&[2, 2], &[4f32, 5.0, 10.0, 11.0]));
        let v = t(&[3], &[1f32, 1.0, 1.0]);
        assert_eq!(product(a.clone(), v.clone()), t(&[2], &[6f32, 15.0]));
        assert_eq!(product(t(&[2], &[1f32, 1.0]), a), t(&[3], &[5f32, 7.0, 9.0]));
        assert_eq!(product(v.clone(), v), t(&[], &[3f32]));
    }

    #[test]
    fn batches_broadcast() {
        let a = from_fn(&[2, 1, 1, 2], |i| i as f32);
        let b = from_fn(&[3, 2, 1], |i| i as f32);
        let expected = t(&[2, 3, 1, 1], &[1f32, 3.0, 5.0, 3.0, 13.0, 23.0]);
        assert_eq!(run(&MatMul, &Attrs::new(), &[a, b]), expected);
        let (a, b) = (from_fn(&[2, 2, 2], |i| i as f32), t(&[2, 1], &[1f32, 10.0]));
        assert_eq!(run(&MatMul, &Attrs::new(), &[a, b]), t(&[2, 2, 1], &[10f32, 32.0, 54.0, 76.0]));
    }

    #[test]
    fn empty_sums_are_zero_and_integers_wrap() {
        let empty = run(&MatMul, &Attrs::new(), &[t::<f32>(&[2, 0], &[]), t::<f32>(&[0, 1], &[])]);
        assert_eq!(empty, t(&[2, 1], &[0f32, 0.0]));
        let product = run(&MatMul, &Attrs::new(), &[t(&[1, 2], &[i32::MAX, 1]), t(&[2, 1], &[1, 1])]);
        assert_eq!(product, t(&[1, 1], &[i32::MIN]));
    }

    #[test]
    fn inner_sizes_must_agree() {
        let message = refusal(&MatMul, &Attrs::new(), &[t(&[1, 2], &[1f32; 2]), t(&[3, 1], &[1f32; 3])]);
        let expected = "shapes [1, 2] and [3, 1] cannot be multiplied: the inner sizes 2 and 3 differ";
        assert_eq!(message, expected);
    }
}
