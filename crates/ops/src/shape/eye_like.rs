//! `EyeLike`: a matrix of the shape of another with ones on diagonal `k`.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__EyeLike.html>.

use crate::attributes::{INT, int};
use crate::movement::{cast, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Tensor, TensorType};

static SCHEMA: Schema =
    Schema::onnx("EyeLike", &[9, 22], (1, 1), (1, 1)).with(&[("dtype", INT), ("k", int(0))]);

pub(crate) struct EyeLike;

impl Op for EyeLike {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let given = dtype_attr(cx.attrs, "dtype")?;
        let Some(x) = cx.tensor(0) else {
            return Ok(given.map_or_else(|| unknown(cx), |dtype| vec![TensorType::unranked(dtype).into()]));
        };
        if x.rank().is_some_and(|rank| rank != 2) {
            return Err(InferError::shape(format!("{x} is not a matrix")));
        }
        Ok(vec![TensorType { dtype: given.unwrap_or(x.dtype), shape: x.shape.clone() }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let [rows, columns] = x.shape() else {
            return Err(EvalError::value(format!("a tensor of shape {:?} is not a matrix", x.shape())));
        };
        let k = cx.attrs.int_or("k", 0);
        let is_one = |index: usize| {
            let (row, column) = ((index / columns) as i64, (index % columns) as i64);
            column - row == k
        };
        let eye = Tensor::from_bools(vec![*rows, *columns], (0..x.len()).map(is_one))?;
        one(cast(&eye, dtype_attr(cx.attrs, "dtype")?.unwrap_or(x.dtype()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::{Attrs, DType};

    #[test]
    fn the_diagonal_is_one() {
        let x = t(&[2, 3], &[9f32; 6]);
        assert_eq!(
            run(&EyeLike, &Attrs::new(), std::slice::from_ref(&x)),
            t(&[2, 3], &[1f32, 0.0, 0.0, 0.0, 1.0, 0.0])
        );
        let above = Attrs::new().with("k", 1).with("dtype", i64::from(DType::I32.to_onnx()));
        assert_eq!(run(&EyeLike, &above, &[x]), t(&[2, 3], &[0i32, 1, 0, 0, 0, 1]));
        assert!(refusal(&EyeLike, &Attrs::new(), &[t(&[2], &[0f32; 2])]).contains("not a matrix"));
    }
}
