//! `Not`: logical negation, elementwise.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Not.html>.

use crate::inference::{BOOLS, map_elements, same_as_first, truth};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{one, tensor_bools, view_bools};
use crate::{Datum, EvalError, InferError};

static SCHEMA: Schema = Schema::onnx("Not", &[1], (1, 1), (1, 1));

pub(crate) struct Not;

impl Op for Not {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let mut outputs = same_as_first(cx, BOOLS)?;
        let ty = outputs[0].ty.clone();
        outputs[0].dims = map_elements(cx, &ty, |x| Some(truth(x[0].value()? == 0)));
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        one(tensor_bools(view_bools(cx.tensor(0)?)?.mapv(|x| x == 0))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn negates_booleans_only() {
        let x = Tensor::from_bools(vec![2], [true, false]).unwrap();
        assert_eq!(run(&Not, &Attrs::new(), &[x]), Tensor::from_bools(vec![2], [false, true]).unwrap());
        assert_eq!(refusal(&Not, &Attrs::new(), &[t(&[1], &[1u8])]), "expected a tensor of bool, found u8");
    }
}
