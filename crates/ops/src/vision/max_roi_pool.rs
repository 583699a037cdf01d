//! `MaxRoiPool`: regions of a feature map, rounded to elements, divided into bins of which the largest element is kept.
//!
//! Edges round half away from zero and a bin without elements gives 0, as in Caffe, which the operator was taken from.
//! Spec: <https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html>.

use crate::attributes::{INTS, float};
use crate::inference::{FLOATS, expect, expect_same};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Attrs, DType, Dim, TensorType};
use ndarray::{ArrayD, IxDyn};
use std::ops::Range;

static SCHEMA: Schema = Schema::onnx("MaxRoiPool", &[1, 22], (2, 2), (1, 1))
    .with(&[("pooled_shape", INTS), ("spatial_scale", float(1.0))]);

pub(crate) struct MaxRoiPool;

fn pooled(attrs: &Attrs) -> Result<[usize; 2], InferError> {
    let wrong =
        || InferError::Attribute { name: "pooled_shape".into(), expected: "two sizes of at least 1".into() };
    match attrs.ints("pooled_shape") {
        Some(&[height, width]) if height > 0 && width > 0 => {
            Ok([usize::try_from(height).map_err(|_| wrong())?, usize::try_from(width).map_err(|_| wrong())?])
        }
        _ => Err(wrong()),
    }
}

/// Elements of bin `index` of `bins` over a region from `start` to `end`.
fn bin(index: usize, bins: usize, start: f64, end: f64, size: usize) -> Range<usize> {
    let length = (end - start + 1.0).max(1.0) / bins as f64;
    let edge = |place: f64| (place + start).clamp(0.0, size as f64) as usize;
    edge((index as f64 * length).floor())..edge(((index + 1) as f64 * length).ceil())
}

impl Op for MaxRoiPool {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let [height, width] = pooled(cx.attrs)?.map(|size| Dim::known(size as i64));
        expect(cx, 0, FLOATS)?;
        expect_same(cx, 0, 1)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let axis = |index: usize, axis: usize| {
            let dim = cx.tensor(index).and_then(|ty| ty.shape.as_ref()?.get(axis).cloned());
            dim.unwrap_or_else(|| (cx.fresh)())
        };
        Ok(vec![TensorType::new(x.dtype, [axis(1, 0), axis(0, 1), height, width]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, rois) = (cx.tensor(0)?, cx.tensor(1)?);
        let [rows, columns] = pooled(cx.attrs)?;
        let (&[batch, channels, height, width], &[count, 5]) = (x.shape(), rois.shape()) else {
            let (x, rois) = (x.shape(), rois.shape());
            let reason =
                format!("X must have 4 axes and rois 5 numbers each, their shapes are {x:?} and {rois:?}");
            return Err(EvalError::value(reason));
        };
        let scale = f64::from(cx.attrs.float_or("spatial_scale", 1.0));
        let shape = [count, channels, rows, columns];
        let mut y = Vec::with_capacity(checked_count(DType::F64, &shape)?);
        let (elements, rois) = (to_f64(x)?, to_f64(rois)?);
        for number in 0..count {
            let n = rois[[number, 0]];
            if !(n >= 0.0 && n < batch as f64) {
                return Err(EvalError::value(format!(
                    "region {number} names image {n} of a batch of {batch}"
                )));
            }
            let edge = |index: usize| (rois[[number, index]] * scale).round();
            for channel in 0..channels {
                for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                    let ys = bin(row, rows, edge(2), edge(4), height);
                    let xs = bin(column, columns, edge(1), edge(3), width);
                    let places = ys.flat_map(|y| xs.clone().map(move |x| [n as usize, channel, y, x]));
                    y.push(places.map(|place| elements[place]).reduce(f64::max).unwrap_or(0.0));
                }
            }
        }
        one(from_f64(x.dtype(), &ArrayD::from_shape_vec(IxDyn(&shape), y)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, refusal, run, t};

    #[test]
    fn bins_keep_their_largest() {
        let x = from_fn(&[1, 1, 4, 4], |i| i as f32);
        let attrs = Attrs::new().with("pooled_shape", vec![2i64, 2]);
        let found =
            run(&MaxRoiPool, &attrs, &[x.clone(), t(&[2, 5], &[0f32, 0., 0., 3., 3., 0., 1., 1., 1., 1.])]);
        close(&found, &[5., 7., 13., 15., 5., 5., 5., 5.]);
        let outside = run(&MaxRoiPool, &attrs, &[x.clone(), t(&[1, 5], &[0f32, 9., 9., 12., 12.])]);
        close(&outside, &[0.; 4]);
        let message = refusal(&MaxRoiPool, &attrs, &[x, t(&[1, 5], &[1f32, 0., 0., 1., 1.])]);
        assert_eq!(message, "region 0 names image 1 of a batch of 1");
    }
}
