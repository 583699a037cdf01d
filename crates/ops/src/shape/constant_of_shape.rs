//! `ConstantOfShape`: a tensor of a given shape, every element the attribute `value` (f32 zero by default).
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html>.

use crate::attributes::OTHER;
use crate::inference::elements;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::select;
use crate::sizes::{fresh_dims, is_index, length_of};
use crate::view::one;
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Attr, Attrs, Dim, Tensor, TensorType};

static SCHEMA: Schema =
    Schema::onnx("ConstantOfShape", &[9, 20, 21, 23, 24, 25], (1, 1), (1, 1)).with(&[("value", OTHER)]);

pub(crate) struct ConstantOfShape;

impl Op for ConstantOfShape {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let value = value(cx.attrs)?;
        let shape = match elements(cx, 0) {
            Some(sizes) => {
                if let Some(bad) = sizes.iter().find(|size| size.value().is_some_and(|size| size < 0)) {
                    return Err(InferError::shape(format!("the shape holds the negative size {bad}")));
                }
                Some(sizes.into())
            }
            None => length_of(cx, 0).map(|rank| fresh_dims(cx, rank)),
        };
        let ty = TensorType { dtype: value.dtype(), shape };
        let count = match ty.shape.as_deref() {
            Some([]) => Some(1),
            Some([length]) => length.value().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= 64),
            _ => None,
        };
        let fill = value.integers().filter(|_| is_index(ty.dtype)).and_then(|values| values.first().copied());
        let dims = count.zip(fill).map(|(count, fill)| vec![Dim::known(fill); count]);
        Ok(vec![Inferred { ty: ty.into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let sizes = cx.integers(0)?.unwrap_or_default();
        let size = |size: &i64| {
            usize::try_from(*size).map_err(|_| EvalError::value(format!("negative size {size}")))
        };
        let shape: Vec<usize> = sizes.iter().map(size).collect::<Result<_, _>>()?;
        one(select(&value(cx.attrs)?, shape, std::iter::repeat(0))?)
    }
}

fn value(attrs: &Attrs) -> Result<Tensor, InferError> {
    match attrs.get("value") {
        None => Ok(Tensor::scalar(0f32)),
        Some(Attr::Tensor(value)) if value.len() == 1 => Ok(value.clone()),
        Some(_) => {
            Err(InferError::Attribute { name: "value".into(), expected: "a tensor of one element".into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn the_value_fills_the_shape() {
        let shape = Tensor::vector(vec![2i64, 1]);
        assert_eq!(
            run(&ConstantOfShape, &Attrs::new(), std::slice::from_ref(&shape)),
            t(&[2, 1], &[0f32, 0.0])
        );
        let ones = Attrs::new().with("value", Tensor::vector(vec![1i64]));
        assert_eq!(run(&ConstantOfShape, &ones, &[shape]), t(&[2, 1], &[1i64, 1]));
        assert_eq!(run(&ConstantOfShape, &ones, &[Tensor::vector(Vec::<i64>::new())]), Tensor::scalar(1i64));
        let refuse =
            |sizes: &[i64]| refusal(&ConstantOfShape, &Attrs::new(), &[Tensor::vector(sizes.to_vec())]);
        assert!(refuse(&[-1]).contains("negative size -1"));
        assert!(refuse(&[1 << 40, 1 << 40]).contains("more than 16 GiB"));
    }
}
