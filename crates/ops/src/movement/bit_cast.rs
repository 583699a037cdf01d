//! `BitCast`: the same bits read as another element type of the same width.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__BitCast.html>.

use super::dtype_attr;
use crate::attributes::INT;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::view_cost;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("BitCast", &[26], (1, 1), (1, 1)).with(&[("to", INT)]);

pub(crate) struct BitCast;

fn target(attrs: &Attrs) -> Result<DType, InferError> {
    let wrong = || InferError::Attribute { name: "to".into(), expected: "an element type but string".into() };
    dtype_attr(attrs, "to")?.filter(|dtype| *dtype != DType::String).ok_or_else(wrong)
}

fn check(from: DType, to: DType) -> Result<(), InferError> {
    if from != DType::String && from.bits() == to.bits() {
        return Ok(());
    }
    let expected = format!("as wide as {to} ({} bits)", to.bits());
    Err(InferError::DType { index: 0, expected, found: from })
}

impl Op for BitCast {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let dtype = target(cx.attrs)?;
        let Some(x) = cx.tensor(0) else { return Ok(vec![TensorType::unranked(dtype).into()]) };
        check(x.dtype, dtype)?;
        Ok(vec![TensorType { dtype, shape: x.shape.clone() }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, dtype) = (cx.tensor(0)?, target(cx.attrs)?);
        check(x.dtype(), dtype)?;
        one(Tensor::from_bytes(dtype, x.shape().to_vec(), x.data().clone())?)
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }

    fn quant_role(&self) -> QuantRole {
        // A type of another width has other bits.
        QuantRole::StaysFloat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn bits_stay() {
        let to = |dtype: DType| Attrs::new().with("to", i64::from(dtype.to_onnx()));
        let one = t(&[1], &[1f32]);
        assert_eq!(run(&BitCast, &to(DType::U32), std::slice::from_ref(&one)), t(&[1], &[0x3f80_0000u32]));
        let message = refusal(&BitCast, &to(DType::F64), &[one]);
        assert_eq!(message, "input 0 must be as wide as f64 (64 bits), found f32");
        assert!(
            refusal(&BitCast, &to(DType::String), &[t(&[1], &[1u8])]).contains("an element type but string")
        );
    }
}
