//! `CumSum`: the running sum along an axis, optionally without the element itself and from the back.
//!
//! Floats accumulate in f64 and round at each element; integers wrap.
//! Spec: <https://onnx.ai/onnx/operators/onnx__CumSum.html>.

use crate::attributes::int;
use crate::axis::normalize;
use crate::inference::{NUMBERS, same_as_first};
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};
use ndarray::{ArrayViewMut1, Axis};

static SCHEMA: Schema =
    Schema::onnx("CumSum", &[11, 14], (2, 2), (1, 1)).with(&[("exclusive", int(0)), ("reverse", int(0))]);

pub(crate) struct CumSum;

fn accumulate<T: Number>(mut lane: ArrayViewMut1<'_, T>, is_float: bool, exclusive: bool) {
    let (mut wide, mut exact) = (0f64, T::ZERO);
    for slot in &mut lane {
        let before = if is_float { T::from_f64(wide) } else { exact };
        wide += slot.to_f64();
        exact = exact.plus(*slot);
        let after = if is_float { T::from_f64(wide) } else { exact };
        *slot = if exclusive { before } else { after };
    }
}

impl Op for CumSum {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let rank = cx.tensor(0).and_then(fusebox_ir::TensorType::rank);
        if let (Some(rank), Some([axis])) = (rank, cx.integers(1).as_deref()) {
            normalize(*axis, rank)?;
        }
        same_as_first(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = cx.integers(1)?.and_then(|axes| axes.first().copied());
        let axis =
            axis.ok_or_else(|| EvalError::value("input 1 must hold one axis, it is empty or absent"))?;
        let axis = Axis(normalize(axis, x.shape().len())?);
        let exclusive = cx.attrs.int_or("exclusive", 0) != 0;
        let reverse = cx.attrs.int_or("reverse", 0) != 0;
        dispatch!(numbers, x.dtype(), T => {
            let mut sums = view::<T>(x)?.into_owned();
            for mut lane in sums.lanes_mut(axis) {
                if reverse {
                    lane.invert_axis(Axis(0));
                }
                accumulate(lane, x.dtype().is_float(), exclusive);
            }
            one(tensor(sums)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn runs_along_either_axis_and_from_the_back() {
        let x = t(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let sums = |attrs: &Attrs, axis: i64| run(&CumSum, attrs, &[x.clone(), t(&[], &[axis])]);
        assert_eq!(sums(&Attrs::new(), 0), t(&[2, 3], &[1f32, 2.0, 3.0, 5.0, 7.0, 9.0]));
        assert_eq!(sums(&Attrs::new(), -1), t(&[2, 3], &[1f32, 3.0, 6.0, 4.0, 9.0, 15.0]));
        let both = Attrs::new().with("exclusive", 1i64).with("reverse", 1i64);
        assert_eq!(sums(&both, 1), t(&[2, 3], &[5f32, 3.0, 0.0, 11.0, 6.0, 0.0]));
    }

    #[test]
    fn a_bad_axis_is_refused() {
        let message = refusal(&CumSum, &Attrs::new(), &[t(&[1], &[1i64]), t(&[], &[4i64])]);
        assert!(message.contains("axis 4 is out of range"), "{message}");
    }
}
