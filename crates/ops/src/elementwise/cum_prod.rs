//! `CumProd`: the running product along an axis, optionally without the element itself and from the back.
//!
//! Floats accumulate in f64 and round at each element; integers wrap.
//! Spec: <https://onnx.ai/onnx/operators/onnx__CumProd.html>.

use crate::attributes::int;
use crate::axis::normalize;
use crate::inference::{NUMBERS, same_as_first};
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError};
use ndarray::{ArrayViewMut1, Axis};

static SCHEMA: Schema =
    Schema::onnx("CumProd", &[26], (2, 2), (1, 1)).with(&[("exclusive", int(0)), ("reverse", int(0))]);

pub(crate) struct CumProd;

fn accumulate<T: Number>(mut lane: ArrayViewMut1<'_, T>, is_float: bool, exclusive: bool) {
    let (mut wide, mut exact) = (1f64, T::ONE);
    for slot in &mut lane {
        let before = if is_float { T::from_f64(wide) } else { exact };
        wide *= slot.to_f64();
        exact = exact.times(*slot);
        let after = if is_float { T::from_f64(wide) } else { exact };
        *slot = if exclusive { before } else { after };
    }
}

impl Op for CumProd {
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
            let mut products = view::<T>(x)?.into_owned();
            for mut lane in products.lanes_mut(axis) {
                if reverse {
                    lane.invert_axis(Axis(0));
                }
                accumulate(lane, x.dtype().is_float(), exclusive);
            }
            one(tensor(products)?)
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
        let products = |attrs: &Attrs, axis: i64| run(&CumProd, attrs, &[x.clone(), t(&[], &[axis])]);
        assert_eq!(products(&Attrs::new(), 0), t(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 10.0, 18.0]));
        assert_eq!(products(&Attrs::new(), -1), t(&[2, 3], &[1f32, 2.0, 6.0, 4.0, 20.0, 120.0]));
        let both = Attrs::new().with("exclusive", 1i64).with("reverse", 1i64);
        assert_eq!(products(&both, 1), t(&[2, 3], &[6f32, 3.0, 1.0, 30.0, 6.0, 1.0]));
        let wrapped = run(&CumProd, &Attrs::new(), &[t(&[2], &[1u32 << 31, 2]), t(&[], &[0i64])]);
        assert_eq!(wrapped, t(&[2], &[1u32 << 31, 0]));
    }

    #[test]
    fn a_bad_axis_is_refused() {
        let message = refusal(&CumProd, &Attrs::new(), &[t(&[1], &[1i64]), t(&[], &[4i64])]);
        assert!(message.contains("axis 4 is out of range"), "{message}");
    }
}
