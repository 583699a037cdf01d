//! `Bernoulli`: 1 with the probability that each element gives, else 0.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Bernoulli.html>. Drawn as the other random operators draw.

use super::source::Source;
use crate::attributes::{FLOAT, INT};
use crate::movement::{cast, dtype_attr};
use crate::op::{Eval, Infer, Inferred, Op, Purity, Schema};
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Tensor, TensorType};

static SCHEMA: Schema = Schema {
    purity: Purity::Random,
    ..Schema::onnx("Bernoulli", &[15, 22], (1, 1), (1, 1)).with(&[("dtype", INT), ("seed", FLOAT)])
};

pub(crate) struct Bernoulli;

impl Op for Bernoulli {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        crate::inference::expect(cx, 0, crate::inference::FLOATS)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let dtype = dtype_attr(cx.attrs, "dtype")?.unwrap_or(x.dtype);
        Ok(vec![TensorType { dtype, shape: x.shape.clone() }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let found = x.dtype();
        let wrong = || InferError::DType { index: 0, expected: "a float type".into(), found };
        let chances = x.floats().ok_or_else(wrong)?;
        let mut source = Source::new(cx.attrs);
        let drawn = Tensor::from_bools(x.shape().to_vec(), chances.iter().map(|p| source.uniform() < *p))?;
        one(cast(&drawn, dtype_attr(cx.attrs, "dtype")?.unwrap_or(found))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::{Attrs, DType};

    #[test]
    fn chances_are_kept() {
        let x = t(&[3, 1000], &[[0f32; 1000], [1f32; 1000], [0.25f32; 1000]].concat());
        let attrs = Attrs::new().with("dtype", i64::from(DType::I32.to_onnx()));
        let drawn = run(&Bernoulli, &attrs, &[x]);
        let drawn = drawn.elements::<i32>().unwrap();
        let ones: Vec<i32> = drawn.chunks(1000).map(|row| row.iter().sum()).collect();
        assert_eq!(&ones[..2], [0, 1000]);
        assert!((200..300).contains(&ones[2]), "{ones:?}");
    }
}
