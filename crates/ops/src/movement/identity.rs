//! `Identity`: its input, of any type.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Identity.html>.

use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::view_cost;
use crate::{Cost, Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("Identity", &[1, 13, 14, 16, 19, 21, 23, 24, 25], (1, 1), (1, 1));

pub(crate) struct Identity;

impl Op for Identity {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let x = cx.input(0).ok_or(InferError::MissingInput { index: 0 })?;
        let dims = crate::inference::elements(cx, 0).filter(|_| x.ty.tensor().is_some());
        let dims = dims.filter(|_| x.ty.tensor().is_some_and(|ty| crate::sizes::is_index(ty.dtype)));
        Ok(vec![Inferred { ty: x.ty.clone(), dims }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.inputs.first().copied().flatten().ok_or(InferError::MissingInput { index: 0 })?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn nothing_changes() {
        let x = t(&[2, 1], &[1i64, -2]);
        assert_eq!(run(&Identity, &Attrs::new(), std::slice::from_ref(&x)), x);
    }
}
