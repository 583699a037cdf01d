//! `DeformConv`: a convolution whose taps are moved by offsets that are data, and weighted by an optional mask.
//!
//! Between elements the input is interpolated, outside it is zero. Any number of spatial axes.
//! Spec: <https://onnx.ai/onnx/operators/onnx__DeformConv.html>.

use super::geometry::{agree, groups, kernel_agrees, shapes};
use crate::attributes::{INTS, int};
use crate::inference::{FLOATS, expect, expect_same, first_is};
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{checked_count, span};
use crate::view::{from_f64, one, to_f64};
use crate::window::{Axis, Window};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Attrs, DType, Dim, TensorType};
use ndarray::{ArrayD, IxDyn};

static SCHEMA: Schema = Schema::onnx("DeformConv", &[19, 22], (3, 5), (1, 1)).with(&[
    ("dilations", INTS),
    ("group", int(1)),
    ("kernel_shape", INTS),
    ("offset_group", int(1)),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct DeformConv;

fn output(attrs: &Attrs, x: &[Dim], w: &[Dim]) -> Result<Vec<Dim>, InferError> {
    kernel_agrees(attrs, &w[2..])?;
    let inputs = w[1].mul(&Dim::known(groups(attrs)?));
    agree("channels of the data over those of the weights times groups", &inputs, &x[1])?;
    let spatial = Window::read(attrs, &w[2..])?.outputs(&x[2..])?;
    Ok([x[0].clone(), w[0].clone()].into_iter().chain(spatial).collect())
}

fn offset_groups(attrs: &Attrs) -> Result<usize, InferError> {
    let count = usize::try_from(attrs.int_or("offset_group", 1)).ok().filter(|count| *count > 0);
    count.ok_or_else(|| InferError::Attribute { name: "offset_group".into(), expected: "at least 1".into() })
}

/// Interpolation of a plane at a place, as element positions with their weights.
fn taps(place: &[f64], axes: &[Axis]) -> Vec<(usize, f64)> {
    let mut found = vec![(0usize, 1f64)];
    for (place, axis) in place.iter().zip(axes) {
        let size = axis.input as usize;
        // Farther out than one element everything is zero; NaN is nowhere.
        if !(-1.0..=size as f64).contains(place) {
            return Vec::new();
        }
        let (first, rest) = (place.floor(), place - place.floor());
        let ends = [(first as i64, 1.0 - rest), (first as i64 + 1, rest)];
        let inside = |(at, weight): &(i64, f64)| {
            usize::try_from(*at).ok().filter(|at| *at < size).map(|at| (at, *weight))
        };
        let ends: Vec<(usize, f64)> = ends.iter().filter_map(inside).collect();
        let extend = |(base, share): &(usize, f64)| {
            let (base, share) = (*base, *share);
            ends.iter().map(move |(at, weight)| (base * size + at, share * weight)).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(extend).collect();
    }
    found
}

/// Digits of a row-major index.
fn digits(mut index: usize, sizes: impl DoubleEndedIterator<Item = usize>) -> Vec<usize> {
    let mut digits: Vec<usize> = sizes
        .rev()
        .map(|size| {
            let digit = index % size;
            index /= size;
            digit
        })
        .collect();
    digits.reverse();
    digits
}

/// An input with its shape checked.
fn floats(cx: &Eval<'_>, index: usize, name: &str, shape: &[usize]) -> Result<Vec<f64>, EvalError> {
    let tensor = cx.tensor(index)?;
    if tensor.shape() != shape {
        let found = tensor.shape();
        return Err(EvalError::value(format!("{name} must have shape {shape:?}, found {found:?}")));
    }
    Ok(to_f64(tensor)?.into_iter().collect())
}

impl Op for DeformConv {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        (1..5).try_for_each(|index| expect_same(cx, 0, index))?;
        offset_groups(cx.attrs)?;
        let Some(x) = cx.tensor(0) else { return Ok(first_is(cx, Inferred::default())) };
        let ty = match shapes(cx.tensor(0), cx.tensor(1))? {
            Some((data, weights)) => TensorType::new(x.dtype, output(cx.attrs, data, weights)?),
            None => TensorType::unranked(x.dtype),
        };
        Ok(first_is(cx, ty.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let types = (x.ty(), w.ty());
        let Some((x_dims, w_dims)) = shapes(Some(&types.0), Some(&types.1))? else {
            return Err(EvalError::value("the shapes of a convolution are not known"));
        };
        let shape = output(cx.attrs, x_dims, w_dims)?;
        let shape: Vec<usize> = shape.iter().map(|dim| dim.value().unwrap_or(0).max(0) as usize).collect();
        let axes = Window::read(cx.attrs, &w_dims[2..])?.axes(&x.shape()[2..])?;
        let (groups, parts) = (groups(cx.attrs)? as usize, offset_groups(cx.attrs)?);
        let (batch, channels, outputs) = (x.shape()[0], x.shape()[1], w.shape()[0]);
        let (per_group, kernel) = (w.shape()[1], &w.shape()[2..]);
        if channels % parts != 0 || outputs % groups != 0 {
            let reason = format!(
                "{channels} input channels do not split into {parts} offset groups or {outputs} output channels into {groups} groups"
            );
            return Err(EvalError::value(reason));
        }
        let (rank, count) = (kernel.len(), span(kernel));
        let (area, pixels) = (span(&x.shape()[2..]), span(&shape[2..]));
        let spatial = |channels: usize| -> Vec<usize> {
            [batch, channels].iter().chain(&shape[2..]).copied().collect()
        };
        let offsets = floats(cx, 2, "offset", &spatial(parts.saturating_mul(count).saturating_mul(rank)))?;
        let mask = match cx.optional(4)? {
            Some(_) => Some(floats(cx, 4, "mask", &spatial(parts * count))?),
            None => None,
        };
        let bias = match cx.optional(3)? {
            Some(_) => floats(cx, 3, "B", &[outputs])?,
            None => vec![0.0; outputs],
        };
        let mut y = vec![0f64; checked_count(DType::F64, &shape)?];
        y.chunks_exact_mut(pixels.max(1))
            .enumerate()
            .for_each(|(plane, row)| row.fill(bias[plane % outputs.max(1)]));
        let data: Vec<f64> = to_f64(x)?.into_iter().collect();
        let weights: Vec<f64> = to_f64(w)?.into_iter().collect();
        for (n, pixel) in (0..batch).flat_map(|n| (0..pixels).map(move |pixel| (n, pixel))) {
            let window = digits(pixel, shape[2..].iter().copied());
            for (part, tap) in (0..parts).flat_map(|part| (0..count).map(move |tap| (part, tap))) {
                let at = (n * parts + part) * count + tap;
                let within = digits(tap, kernel.iter().copied());
                let place = |axis: usize| {
                    let fixed = axes[axis].position(window[axis] as i64, within[axis] as i64) as f64;
                    fixed + offsets[(at * rank + axis) * pixels + pixel]
                };
                let taps = taps(&(0..rank).map(place).collect::<Vec<_>>(), &axes);
                let share = mask.as_ref().map_or(1.0, |mask| mask[at * pixels + pixel]);
                for channel in part * (channels / parts)..(part + 1) * (channels / parts) {
                    let plane = &data[(n * channels + channel) * area..][..area];
                    let value = share * taps.iter().map(|(at, weight)| plane[*at] * weight).sum::<f64>();
                    let group = channel / per_group;
                    for output in group * (outputs / groups)..(group + 1) * (outputs / groups) {
                        let weight = weights[(output * per_group + channel % per_group) * count + tap];
                        y[(n * outputs + output) * pixels + pixel] += weight * value;
                    }
                }
            }
        }
        one(from_f64(x.dtype(), &ArrayD::from_shape_vec(IxDyn(&shape), y)?)?)
    }

    fn flops(&self, shapes: &crate::Shapes<'_>) -> f64 {
        let weights = shapes.input(1).unwrap_or_default();
        2.0 * weights.iter().skip(1).product::<f64>() * shapes.output_elements(0)
    }

    fn quant_role(&self) -> QuantRole {
        // Its input is interpolated, not only multiplied.
        QuantRole::StaysFloat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, refusal, run, run_all, t};
    use fusebox_ir::Tensor;

    fn inputs(shift: f32) -> [Tensor; 3] {
        let x = from_fn(&[1, 1, 3, 3], |i| i as f32);
        let mut offset = vec![0f32; 32];
        // The second tap of the first window moves along both axes.
        (offset[8], offset[12]) = (shift, shift);
        [x, from_fn(&[1, 1, 2, 2], |_| 1.0), t(&[1, 8, 2, 2], &offset)]
    }

    #[test]
    fn without_offsets_it_is_a_convolution() {
        close(&run(&DeformConv, &Attrs::new(), &inputs(0.0)), &[8., 12., 20., 24.]);
    }

    #[test]
    fn moved_taps_interpolate_and_masks_weigh() {
        close(&run(&DeformConv, &Attrs::new(), &inputs(0.5)), &[10., 12., 20., 24.]);
        close(&run(&DeformConv, &Attrs::new(), &inputs(-9.0)), &[7., 12., 20., 24.]);
        let mut all = inputs(0.0).map(Some).to_vec();
        all.push(Some(t(&[1], &[100f32])));
        all.push(Some(from_fn(&[1, 4, 2, 2], |i| if i < 4 { 0.0 } else { 1.0 })));
        let found = run_all(&DeformConv, &Attrs::new(), &all, 1).unwrap();
        close(&found[0], &[108., 111., 117., 120.]);
        let [x, w, _] = inputs(0.0);
        let message = refusal(&DeformConv, &Attrs::new(), &[x, w, t(&[1, 4, 2, 2], &[0f32; 16])]);
        assert_eq!(message, "offset must have shape [1, 8, 2, 2], found [1, 4, 2, 2]");
    }
}
