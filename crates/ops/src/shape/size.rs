//! `Size`: the number of elements of a tensor.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Size.html>.

use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::sizes::view_cost;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("Size", &[1, 13, 19, 21, 23, 24, 25], (1, 1), (1, 1));

pub(crate) struct Size;

impl Op for Size {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let dims = cx.tensor(0).and_then(TensorType::elements).map(|count| vec![count]);
        Ok(vec![Inferred { ty: TensorType::new(DType::I64, []).into(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        one(Tensor::scalar(i64::try_from(cx.tensor(0)?.len()).unwrap_or(i64::MAX)))
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn elements_are_counted() {
        assert_eq!(run(&Size, &Attrs::new(), &[t(&[2, 3], &[0u8; 6])]), Tensor::scalar(6i64));
        assert_eq!(run(&Size, &Attrs::new(), &[t::<f32>(&[0, 3], &[])]), Tensor::scalar(0i64));
    }
}
