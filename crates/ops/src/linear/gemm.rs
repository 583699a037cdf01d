//! `Gemm`: `alpha · A' · B' + beta · C` for matrices, `'` a transposition where asked for.
//!
//! `C` broadcasts to the product. The product accumulates in the element type (half types in f32); scaling and adding
//! round once. Spec: <https://onnx.ai/onnx/operators/onnx__Gemm.html>.

use super::product::MatrixElement;
use crate::attributes::{float, int};
use crate::broadcast::{broadcast_dims, broadcast_to, check_elements};
use crate::forms::set_constant;
use crate::inference::{NUMBERS, expect, expect_same, first_is};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::versions::{input_type, refuse};
use crate::view::{dispatch, from_f64, one, tensor, view};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, Dim, Shape, TensorType};
use ndarray::{ArrayD, Ix2, Zip};

static SCHEMA: Schema = Schema::onnx("Gemm", &[1, 6, 7, 9, 11, 13], (2, 3), (1, 1)).with(&[
    ("alpha", float(1.0)),
    ("beta", float(1.0)),
    ("transA", int(0)),
    ("transB", int(0)),
]);

pub(crate) struct Gemm;

fn transposed(attrs: &Attrs, name: &str) -> bool {
    attrs.int_or(name, 0) != 0
}

/// Rows and columns of a matrix as the product sees it.
fn oriented(shape: &[Dim], transpose: bool, index: usize) -> Result<(Dim, Dim), InferError> {
    match shape {
        [rows, columns] if transpose => Ok((columns.clone(), rows.clone())),
        [rows, columns] => Ok((rows.clone(), columns.clone())),
        _ => Err(InferError::shape(format!("input {index} must be a matrix, its shape is {shape:?}"))),
    }
}

fn output_shape(attrs: &Attrs, a: &[Dim], b: &[Dim], c: Option<&[Dim]>) -> Result<Shape, InferError> {
    let (rows, inner) = oriented(a, transposed(attrs, "transA"), 0)?;
    let (other, columns) = oriented(b, transposed(attrs, "transB"), 1)?;
    if inner.value().is_some() && other.value().is_some() && inner != other {
        return Err(InferError::shape(format!(
            "shapes {a:?} and {b:?} cannot be multiplied: the inner sizes {inner} and {other} differ"
        )));
    }
    let shape: Shape = [rows, columns].into_iter().collect();
    if let Some(c) = c {
        let joined = broadcast_dims(&[&shape, c])?;
        let grows = |(to, from): (&Dim, &Dim)| from.value() == Some(1) && to.value() != Some(1);
        if joined.len() != 2 || joined.iter().zip(&shape).any(grows) {
            return Err(InferError::shape(format!("input 2 of shape {c:?} does not broadcast to {shape:?}")));
        }
    }
    Ok(shape)
}

impl Op for Gemm {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, NUMBERS)?;
        expect_same(cx, 0, 1)?;
        expect_same(cx, 0, 2)?;
        let Some(dtype) = cx.dtype(0)?.or(cx.dtype(1)?) else { return Ok(first_is(cx, Inferred::default())) };
        let shape = |index| cx.tensor(index).and_then(|ty| ty.shape.as_deref());
        let shape = match (shape(0), shape(1)) {
            (Some(a), Some(b)) => Some(output_shape(cx.attrs, a, b, shape(2))?),
            _ => None,
        };
        Ok(first_is(cx, TensorType { dtype, shape }.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (a, b, c) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional(2)?);
        let types = (a.ty(), b.ty(), c.map(fusebox_ir::Tensor::ty));
        let dims = |ty: &TensorType| ty.shape.clone().unwrap_or_default();
        output_shape(cx.attrs, &dims(&types.0), &dims(&types.1), types.2.as_ref().map(dims).as_deref())?;
        let (alpha, beta) =
            (f64::from(cx.attrs.float_or("alpha", 1.0)), f64::from(cx.attrs.float_or("beta", 1.0)));
        dispatch!(numbers, a.dtype(), T => {
            let (a, b) = (view::<T>(a)?.into_dimensionality::<Ix2>()?, view::<T>(b)?.into_dimensionality::<Ix2>()?);
            let a = if transposed(cx.attrs, "transA") { a.reversed_axes() } else { a };
            let b = if transposed(cx.attrs, "transB") { b.reversed_axes() } else { b };
            check_elements(&[a.nrows(), b.ncols()])?;
            let mut result: ArrayD<T> = T::product(a.view(), b.view()).into_dyn();
            if alpha != 1.0 {
                result.mapv_inplace(|x| T::from_f64(alpha * x.to_f64()));
            }
            if let Some(c) = c {
                let c = view::<T>(c)?;
                let c = broadcast_to(&c, result.shape())?;
                let scaled = |c: T| if beta == 1.0 { c } else { T::from_f64(beta * c.to_f64()) };
                Zip::from(&mut result).and(c).for_each(|x, c| *x = x.plus(scaled(*c)));
            }
            one(tensor(result)?)
        })
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let inner_axis = usize::from(!transposed(shapes.attrs, "transA"));
        let inner = shapes.input(0).and_then(|sizes| sizes.get(inner_axis).copied()).unwrap_or(0.0);
        let bias = f64::from(u8::from(shapes.inputs.len() > 2));
        (2.0 * inner + bias) * shapes.output_elements(0)
    }

    /// The channel axis is that of the untransposed form; `transB` swaps it.
    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: 1, channel_axis: -1 }
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 11 || edit.node().input(2).is_some() {
            return Ok(());
        }
        let Some(dtype) = input_type(edit, 0).tensor().map(|ty| ty.dtype) else {
            return Err(refuse(
                edit,
                "input 2 became optional with opset 11, and its element type is not known",
            ));
        };
        match from_f64(dtype, &ArrayD::zeros(vec![1])) {
            Ok(zero) => set_constant(edit, 2, zero),
            Err(error) => return Err(refuse(edit, error.to_string())),
        }
        Ok(())
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 7 {
            // Where it was 0, C had the shape of the product already.
            edit.node().attrs.remove("broadcast");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};

    #[test]
    fn scales_transposes_and_adds() {
        let a = t(&[3, 2], &[1f32, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let b = t(&[2, 3], &[1f32, 0.0, 1.0, 0.0, 1.0, 1.0]);
        let attrs =
            Attrs::new().with("transA", 1i64).with("transB", 1i64).with("alpha", 0.5f32).with("beta", 2f32);
        let result = run(&Gemm, &attrs, &[a, b, t(&[2], &[10f32, 20.0])]);
        close(&result, &[22.0, 42.5, 25.0, 45.5]);
    }

    #[test]
    fn the_bias_may_be_absent_or_a_column_but_not_larger() {
        let (a, b) = (t(&[2, 1], &[1f32, 2.0]), t(&[1, 1], &[3f32]));
        assert_eq!(run(&Gemm, &Attrs::new(), &[a.clone(), b.clone()]), t(&[2, 1], &[3f32, 6.0]));
        let column = t(&[2, 1], &[1f32, 1.0]);
        assert_eq!(run(&Gemm, &Attrs::new(), &[a.clone(), b.clone(), column]), t(&[2, 1], &[4f32, 7.0]));
        let message = refusal(&Gemm, &Attrs::new(), &[a, b, t(&[2, 3], &[0f32; 6])]);
        assert_eq!(message, "input 2 of shape [2, 3] does not broadcast to [2, 1]");
    }

    #[test]
    fn old_opsets_need_the_bias() {
        let inputs = [t(&[1, 1], &[2f32]), t(&[1, 1], &[3f32])];
        let (mut graph, node) = crate::forms::testing::node(&Gemm, Attrs::new(), &inputs);
        Gemm.downgrade(&mut Edit { graph: &mut graph, node, opset: 9 }).unwrap();
        let bias = graph.node(node).input(2).and_then(|v| graph.constant(v).cloned());
        assert_eq!(bias, Some(t(&[1], &[0f32])));
    }
}
