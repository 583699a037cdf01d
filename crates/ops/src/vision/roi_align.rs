//! `RoiAlign`: regions of a feature map, each divided into bins whose interpolated samples are averaged or maximised.
//!
//! Until opset 15 samples were not shifted by half a pixel. `max` takes the largest *weighted* neighbour, as the
//! specification's reference does. Spec: <https://onnx.ai/onnx/operators/onnx__RoiAlign.html>.

use crate::attributes::{float, int, text};
use crate::inference::{FLOATS, expect, expect_same};
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::unknown;
use crate::versions::{exists, refuse};
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, DType, Dim, TensorType};
use ndarray::{ArrayD, IxDyn};

static SCHEMA: Schema = Schema::onnx("RoiAlign", &[10, 16, 22], (3, 3), (1, 1)).with(&[
    ("coordinate_transformation_mode", text("half_pixel")),
    ("mode", text("avg")),
    ("output_height", int(1)),
    ("output_width", int(1)),
    ("sampling_ratio", int(0)),
    ("spatial_scale", float(1.0)),
]);

/// Samples per bin and axis beyond which a region is refused.
const MAX_SAMPLES: f64 = 4096.0;

pub(crate) struct RoiAlign;

struct Options {
    height: usize,
    width: usize,
    sampling_ratio: i64,
    scale: f64,
    shifts: bool,
    averages: bool,
}

fn attribute(name: &str, expected: &str) -> InferError {
    InferError::Attribute { name: name.into(), expected: expected.into() }
}

fn read(attrs: &Attrs) -> Result<Options, InferError> {
    let size = |name: &str| {
        let size = usize::try_from(attrs.int_or(name, 1)).ok().filter(|size| *size > 0);
        size.ok_or_else(|| attribute(name, "at least 1"))
    };
    let mode = attrs.str("mode").unwrap_or("avg").to_ascii_lowercase();
    let shift = attrs.str("coordinate_transformation_mode").unwrap_or("half_pixel").to_ascii_lowercase();
    if mode != "avg" && mode != "max" {
        return Err(attribute("mode", "avg or max"));
    }
    if shift != "half_pixel" && shift != "output_half_pixel" {
        return Err(attribute("coordinate_transformation_mode", "half_pixel or output_half_pixel"));
    }
    Ok(Options {
        height: size("output_height")?,
        width: size("output_width")?,
        sampling_ratio: attrs.int_or("sampling_ratio", 0),
        scale: f64::from(attrs.float_or("spatial_scale", 1.0)),
        shifts: shift == "half_pixel",
        averages: mode == "avg",
    })
}

/// The two elements that a place lies between, with their weights; `None` outside.
fn neighbours(place: f64, size: usize) -> Option<[(usize, f64); 2]> {
    if !(-1.0..=size as f64).contains(&place) || size == 0 {
        return None;
    }
    let place = place.max(0.0);
    let low = (place as usize).min(size - 1);
    if low + 1 >= size {
        return Some([(size - 1, 1.0), (size - 1, 0.0)]);
    }
    let rest = place - low as f64;
    Some([(low, 1.0 - rest), (low + 1, rest)])
}

/// Places of the samples of every bin along one axis.
fn samples(start: f64, end: f64, bins: usize, options: &Options) -> Result<Vec<Vec<f64>>, EvalError> {
    let length = if options.shifts { end - start } else { (end - start).max(1.0) };
    let bin = length / bins as f64;
    let count = if options.sampling_ratio > 0 { options.sampling_ratio as f64 } else { bin.ceil().max(0.0) };
    if count.is_nan() || count > MAX_SAMPLES {
        let reason = format!("a region from {start} to {end} takes more than {MAX_SAMPLES} samples per bin");
        return Err(EvalError::value(reason));
    }
    let place = |index: usize, i: usize| start + index as f64 * bin + (i as f64 + 0.5) * bin / count;
    Ok((0..bins).map(|index| (0..count as usize).map(|i| place(index, i)).collect()).collect())
}

/// Average or maximum over the samples of one bin.
fn pool(plane: &[f64], [height, width]: [usize; 2], ys: &[f64], xs: &[f64], averages: bool) -> f64 {
    let (mut sum, mut largest) = (0f64, f64::NEG_INFINITY);
    for (y, x) in ys.iter().flat_map(|y| xs.iter().map(move |x| (*y, *x))) {
        let terms = match (neighbours(y, height), neighbours(x, width)) {
            (Some(rows), Some(columns)) => {
                rows.map(|(row, a)| columns.map(|(column, b)| a * b * plane[row * width + column]))
            }
            _ => [[0.0; 2]; 2],
        };
        let terms = terms.as_flattened();
        sum += terms.iter().sum::<f64>();
        largest = terms.iter().copied().fold(largest, f64::max);
    }
    let count = ys.len() * xs.len();
    match (averages, count) {
        (_, 0) => 0.0,
        (true, _) => sum / count as f64,
        (false, _) => largest,
    }
}

impl Op for RoiAlign {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let options = read(cx.attrs)?;
        expect(cx, 0, FLOATS)?;
        expect_same(cx, 0, 1)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let axis = |index: usize, axis: usize| {
            let dim = cx.tensor(index).and_then(|ty| ty.shape.as_ref()?.get(axis).cloned());
            dim.unwrap_or_else(|| (cx.fresh)())
        };
        let (height, width) = (Dim::known(options.height as i64), Dim::known(options.width as i64));
        Ok(vec![TensorType::new(x.dtype, [axis(1, 0), axis(0, 1), height, width]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let options = read(cx.attrs)?;
        let (x, rois) = (cx.tensor(0)?, cx.tensor(1)?);
        let batches = cx.integers(2)?.ok_or(InferError::MissingInput { index: 2 })?;
        let (&[batch, channels, height, width], &[count, 4]) = (x.shape(), rois.shape()) else {
            let (x, rois) = (x.shape(), rois.shape());
            let reason =
                format!("X must have 4 axes and rois 4 numbers each, their shapes are {x:?} and {rois:?}");
            return Err(EvalError::value(reason));
        };
        let batches: Option<Vec<usize>> =
            batches.iter().map(|n| usize::try_from(*n).ok().filter(|n| *n < batch)).collect();
        let batches = batches.filter(|batches| batches.len() == count).ok_or_else(|| {
            EvalError::value(format!(
                "batch_indices must hold {count} numbers from 0 to {}",
                batch.max(1) - 1
            ))
        })?;
        let shape = [count, channels, options.height, options.width];
        let mut y = Vec::with_capacity(checked_count(DType::F64, &shape)?);
        let (elements, rois) = (to_f64(x)?.into_iter().collect::<Vec<f64>>(), to_f64(rois)?);
        let offset = if options.shifts { 0.5 } else { 0.0 };
        for (number, n) in batches.into_iter().enumerate() {
            let edge = |index: usize| rois[[number, index]] * options.scale - offset;
            let columns = samples(edge(0), edge(2), options.width, &options)?;
            let rows = samples(edge(1), edge(3), options.height, &options)?;
            for channel in 0..channels {
                let plane = &elements[(n * channels + channel) * height * width..][..height * width];
                for (ys, xs) in rows.iter().flat_map(|ys| columns.iter().map(move |xs| (ys, xs))) {
                    y.push(pool(plane, [height, width], ys, xs, options.averages));
                }
            }
        }
        one(from_f64(x.dtype(), &ArrayD::from_shape_vec(IxDyn(&shape), y)?)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let samples = shapes.attrs.int_or("sampling_ratio", 0).max(2) as f64;
        8.0 * samples * samples * shapes.output_elements(0)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 16 {
            edit.node().attrs.set("coordinate_transformation_mode", "output_half_pixel");
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        exists(self, edit)?;
        if edit.opset < 16 {
            if read(&edit.node().attrs)?.shifts {
                return Err(refuse(edit, "the shift by half a pixel came with opset 16"));
            }
            edit.node().attrs.remove("coordinate_transformation_mode");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, refusal, run, t};
    use crate::forms::testing::{downgraded, upgraded};

    #[test]
    fn bins_average_their_samples() {
        let x = from_fn(&[1, 1, 4, 4], |i| i as f32);
        let attrs = Attrs::new()
            .with("output_height", 2)
            .with("output_width", 2)
            .with("sampling_ratio", 1)
            .with("coordinate_transformation_mode", "output_half_pixel");
        let whole = t(&[1, 4], &[0f32, 0., 2., 2.]);
        let found = run(&RoiAlign, &attrs, &[x.clone(), whole.clone(), t(&[1], &[0i64])]);
        assert_eq!(found.shape(), [1, 1, 2, 2]);
        close(&found, &[2.5, 3.5, 6.5, 7.5]);
        let largest =
            run(&RoiAlign, &attrs.clone().with("mode", "max"), &[x.clone(), whole.clone(), t(&[1], &[0i64])]);
        close(&largest, &[1.25, 1.5, 2.25, 2.5]);
        let message = refusal(&RoiAlign, &attrs, &[x, whole, t(&[1], &[1i64])]);
        assert_eq!(message, "batch_indices must hold 1 numbers from 0 to 0");
    }

    #[test]
    fn older_samples_were_not_shifted() {
        let inputs = [t(&[1, 1, 1, 1], &[1f32]), t(&[1, 4], &[0f32; 4]), t(&[1], &[0i64])];
        let (graph, node) = upgraded(&RoiAlign, Attrs::new(), &inputs, 10).unwrap();
        let newest = graph.node(node).attrs.clone();
        assert_eq!(newest.str("coordinate_transformation_mode"), Some("output_half_pixel"));
        let (graph, node) = downgraded(&RoiAlign, newest, &inputs, 15).unwrap();
        assert!(graph.node(node).attrs.is_empty());
        assert!(downgraded(&RoiAlign, Attrs::new(), &inputs, 15).is_err());
    }
}
