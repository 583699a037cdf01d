//! `Transpose`: permutes the axes of a tensor; without `perm` it reverses them.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Transpose.html>.

use crate::attributes::INTS;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, select, strides};
use crate::sizes::copy_cost;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, axis};
use fusebox_ir::{Attrs, TensorType};

static SCHEMA: Schema =
    Schema::onnx("Transpose", &[1, 13, 21, 23, 24, 25], (1, 1), (1, 1)).with(&[("perm", INTS)]);

pub(crate) struct Transpose;

impl Op for Transpose {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(vec![Inferred::default(); cx.outputs]) };
        let Some(shape) = &x.shape else {
            // The permutation gives the rank even where the input does not.
            let rank = cx.attrs.ints("perm").map(<[i64]>::len);
            let fresh = rank.map(|rank| (0..rank).map(|_| (cx.fresh)()).collect());
            return Ok(vec![TensorType { dtype: x.dtype, shape: fresh }.into()]);
        };
        let perm = permutation(cx.attrs, shape.len())?;
        let ty = TensorType::new(x.dtype, perm.iter().map(|axis| shape[*axis].clone()));
        let dims = cx.input(0).and_then(|arg| arg.dims).map(<[_]>::to_vec);
        Ok(vec![Inferred { ty: ty.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let perm = permutation(cx.attrs, x.shape().len())?;
        let from = strides(x.shape());
        let shape: Vec<usize> = perm.iter().map(|axis| x.shape()[*axis]).collect();
        let strides: Vec<isize> = perm.iter().map(|axis| from[*axis]).collect();
        let walk = Walk::new(0, &shape, &strides)?;
        one(select(x, shape, walk)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

/// Axis of the input that each axis of the output is.
fn permutation(attrs: &Attrs, rank: usize) -> Result<Vec<usize>, InferError> {
    let Some(perm) = attrs.ints("perm") else { return Ok((0..rank).rev().collect()) };
    axis::normalize_all(perm, rank)?;
    if perm.len() != rank {
        let reason = format!("perm {perm:?} has {} axes but the input has {rank}", perm.len());
        return Err(InferError::shape(reason));
    }
    perm.iter().map(|axis| axis::normalize(*axis, rank)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::Tensor;

    #[test]
    fn axes_move() {
        let x = t(&[1, 2, 3], &[1i32, 2, 3, 4, 5, 6]);
        let perm = Attrs::new().with("perm", vec![2, 0, 1]);
        assert_eq!(run(&Transpose, &perm, std::slice::from_ref(&x)), t(&[3, 1, 2], &[1i32, 4, 2, 5, 3, 6]));
        assert_eq!(run(&Transpose, &Attrs::new(), &[x]), t(&[3, 2, 1], &[1i32, 4, 2, 5, 3, 6]));
        assert_eq!(run(&Transpose, &Attrs::new(), &[Tensor::scalar(1f32)]), Tensor::scalar(1f32));
    }

    #[test]
    fn what_is_no_permutation_is_refused() {
        let x = [t(&[1, 2], &[1f32, 2.0])];
        let refuse = |perm: Vec<i64>| refusal(&Transpose, &Attrs::new().with("perm", perm), &x);
        assert!(refuse(vec![0, 0]).contains("name axis 0 twice"));
        assert!(refuse(vec![0]).contains("has 1 axes but the input has 2"));
        assert!(refuse(vec![0, 2]).contains("out of range"));
    }
}
