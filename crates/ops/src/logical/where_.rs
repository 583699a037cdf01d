//! `Where`: `x` where the condition holds, `y` elsewhere, all three broadcast; any element type.
//!
//! Elements are moved as words of their width. Also selects among symbolic sizes, for the shape arithmetic of Expand.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Where.html>.

use crate::broadcast::{broadcast_sizes, broadcast_to, check_elements};
use crate::inference::{BOOLS, broadcast_type, expect, expect_same, first_is, map_elements};
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::view::{dispatch, one, tensor_raw, tensor_strings, view_bools, view_raw, view_strings};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{DType, Dim};
use ndarray::{ArrayD, CowArray, IxDyn, Zip};

static SCHEMA: Schema = Schema::onnx("Where", &[9, 16], (3, 3), (1, 1));

pub(crate) struct Where;

fn select<T: Clone>(
    condition: &CowArray<'_, u8, IxDyn>,
    x: &CowArray<'_, T, IxDyn>,
    y: &CowArray<'_, T, IxDyn>,
) -> Result<ArrayD<T>, EvalError> {
    let shape = broadcast_sizes(&[condition.shape(), x.shape(), y.shape()])?;
    check_elements(&shape)?;
    let condition = broadcast_to(condition, &shape)?;
    let (x, y) = (broadcast_to(x, &shape)?, broadcast_to(y, &shape)?);
    let pick = |c: &u8, x: &T, y: &T| if *c != 0 { x.clone() } else { y.clone() };
    Ok(Zip::from(condition).and(x).and(y).map_collect(pick))
}

/// The selected size, also when the condition is open but both choices agree.
fn select_size(choice: &[&Dim]) -> Option<Dim> {
    match choice[0].value() {
        Some(0) => Some(choice[2].clone()),
        Some(_) => Some(choice[1].clone()),
        None => (choice[1] == choice[2]).then(|| choice[1].clone()),
    }
}

impl Op for Where {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, BOOLS)?;
        expect_same(cx, 1, 2)?;
        let dtype = cx.dtype(1)?.or(cx.dtype(2)?);
        let ty = broadcast_type(cx, &[0, 1, 2], dtype)?;
        let dims = map_elements(cx, &ty, select_size);
        Ok(first_is(cx, Inferred { ty, dims }))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let condition = view_bools(cx.tensor(0)?)?;
        let (x, y) = (cx.tensor(1)?, cx.tensor(2)?);
        if x.dtype() != y.dtype() {
            let expected = format!("{} like input 1", x.dtype());
            return Err(InferError::DType { index: 2, expected, found: y.dtype() }.into());
        }
        if x.dtype() == DType::String {
            return one(tensor_strings(select(&condition, &view_strings(x)?, &view_strings(y)?)?)?);
        }
        dispatch!(widths, x.dtype(), T => {
            one(tensor_raw(x.dtype(), select(&condition, &view_raw::<T>(x)?, &view_raw::<T>(y)?)?)?)
        })
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn selects_with_broadcasting() {
        let condition = Tensor::from_bools(vec![2, 1], [true, false]).unwrap();
        let inputs = [condition, t(&[2], &[1f32, 2.0]), t(&[], &[f32::NEG_INFINITY])];
        let expected = t(&[2, 2], &[1f32, 2.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        assert_eq!(run(&Where, &Attrs::new(), &inputs), expected);
    }

    #[test]
    fn both_choices_have_one_type() {
        let condition = Tensor::from_bools(vec![1], [true]).unwrap();
        let message = refusal(&Where, &Attrs::new(), &[condition, t(&[1], &[1f32]), t(&[1], &[1i64])]);
        assert_eq!(message, "input 2 must be f32 like input 1, found i64");
    }
}
