//! `ConvTranspose`: the transpose of a convolution, which spreads each input element over a window of the output.
//!
//! Evaluated as matrix products whose columns are added back to the output (col2im).
//! Spec: <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>.

use super::columns::Columns;
use super::geometry::{agree, groups, kernel_agrees, shapes};
use crate::attributes::{INTS, int, text};
use crate::broadcast::check_elements;
use crate::inference::{FLOATS, expect, expect_same, first_is};
use crate::linear::product::MatrixElement;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::view::{from_f32, one, to_f32};
use crate::window::{AutoPad, Axis, Window};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, Shape, Tensor, TensorType};
use ndarray::ArrayView2;

static SCHEMA: Schema = Schema::onnx("ConvTranspose", &[1, 11, 22], (2, 3), (1, 1)).with(&[
    ("auto_pad", text("NOTSET")),
    ("dilations", INTS),
    ("group", int(1)),
    ("kernel_shape", INTS),
    ("output_padding", INTS),
    ("output_shape", INTS),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct ConvTranspose;

/// A list attribute of one entry per spatial axis.
fn per_axis(attrs: &Attrs, name: &str, rank: usize) -> Result<Option<Vec<i64>>, InferError> {
    match attrs.ints(name) {
        // Some exporters give the whole output shape, batch and channels included.
        Some(values) if values.len() == rank + 2 && name == "output_shape" => Ok(Some(values[2..].to_vec())),
        Some(values) if values.len() != rank || values.iter().any(|v| !(0..=1 << 32).contains(v)) => {
            let expected = format!("{rank} sizes, it is {values:?}");
            Err(InferError::Attribute { name: name.into(), expected })
        }
        values => Ok(values.map(<[i64]>::to_vec)),
    }
}

/// Output size and padding before the output, per spatial axis.
fn spatial(attrs: &Attrs, window: &Window, data: &[Dim]) -> Result<Vec<(Dim, Option<i64>)>, InferError> {
    let rank = data.len();
    let extra = per_axis(attrs, "output_padding", rank)?.unwrap_or_else(|| vec![0; rank]);
    let wanted = per_axis(attrs, "output_shape", rank)?;
    let one = Dim::known(1);
    let axis = |index: usize| {
        let (stride, dilation) = (Dim::known(window.strides[index]), Dim::known(window.dilations[index]));
        let extent = window.kernel[index].sub(&one).mul(&dilation).add(&one);
        let full = data[index].sub(&one).mul(&stride).add(&Dim::known(extra[index])).add(&extent);
        let same = matches!(window.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
        let output = match &wanted {
            Some(sizes) => Dim::known(sizes[index]),
            None if same => data[index].mul(&stride),
            None => {
                let output = full.sub(&Dim::known(window.begins[index] + window.ends[index]));
                return Ok((checked(output, index)?, Some(window.begins[index])));
            }
        };
        // An output larger than the full one grows at its end.
        let total = full.sub(&output).value().map(|total| total.max(0));
        let before =
            |total: i64| if window.auto_pad == AutoPad::SameUpper { total / 2 } else { total - total / 2 };
        Ok((checked(output, index)?, total.map(before)))
    };
    (0..rank).map(axis).collect()
}

fn checked(output: Dim, axis: usize) -> Result<Dim, InferError> {
    if output.value().is_some_and(|v| v < 0) {
        let reason = format!("padding leaves {output} elements along spatial axis {axis} of the output");
        return Err(InferError::shape(reason));
    }
    Ok(output)
}

fn output_dims(attrs: &Attrs, data: &[Dim], weights: &[Dim]) -> Result<Shape, InferError> {
    let groups = groups(attrs)?;
    kernel_agrees(attrs, &weights[2..])?;
    agree("channels of the data and of the weights", &weights[0], &data[1])?;
    if data[1].value().is_some_and(|c| c % groups != 0) {
        return Err(InferError::shape(format!("{} channels do not split into {groups} groups", data[1])));
    }
    let window = Window::read(attrs, &weights[2..])?;
    let sizes = spatial(attrs, &window, &data[2..])?.into_iter().map(|(size, _)| size);
    Ok([data[0].clone(), weights[1].mul(&Dim::known(groups))].into_iter().chain(sizes).collect())
}

/// The convolution that a transposed one is the transpose of, per spatial axis: its input is our output. `data` and
/// `weights` are the shapes of the operands, of one rank of at least 3.
///
/// # Errors
/// Attributes that do not fit the shapes.
pub fn transposed_axes(attrs: &Attrs, data: &[usize], weights: &[usize]) -> Result<Vec<Axis>, InferError> {
    let known = |sizes: &[usize]| sizes[2..].iter().map(|size| Dim::known(*size as i64)).collect::<Vec<_>>();
    let window = Window::read(attrs, &known(weights))?;
    let dims = known(data);
    let sizes = spatial(attrs, &window, &dims)?;
    let axis = |(index, (size, begin)): (usize, (Dim, Option<i64>))| Axis {
        input: size.value().unwrap_or(0),
        output: data[index + 2] as i64,
        kernel: window.kernel[index].value().unwrap_or(0),
        stride: window.strides[index],
        dilation: window.dilations[index],
        begin: begin.unwrap_or(0),
        end: 0,
    };
    Ok(sizes.into_iter().enumerate().map(axis).collect())
}

/// `data` is `[batch, groups · inputs, …]`, `weights` `[groups · inputs, outputs, …]`, the result
/// `[batch, groups · outputs, …]`.
fn spread<T: MatrixElement>(data: &[T], weights: &[T], shape: [usize; 4], axes: &[Axis]) -> Vec<T> {
    let [batch, groups, inputs, outputs] = shape;
    let Some(columns) = Columns::new(axes) else { return Vec::new() };
    let (taps, area, pixels) = (columns.taps(), columns.inputs(), columns.outputs());
    let mut result = vec![T::ZERO; batch * groups * outputs * area];
    for image in 0..batch {
        for group in 0..groups {
            let at = image * groups + group;
            let x = &data[at * inputs * pixels..][..inputs * pixels];
            let w = &weights[group * inputs * outputs * taps..][..inputs * outputs * taps];
            let x = ArrayView2::from_shape((inputs, pixels), x).expect("sliced to the size of one group");
            let w =
                ArrayView2::from_shape((inputs, outputs * taps), w).expect("sliced to the size of one group");
            let product = T::product(w.reversed_axes(), x);
            columns.scatter(&product.view(), outputs, &mut result[at * outputs * area..][..outputs * area]);
        }
    }
    result
}

fn add_bias<T: MatrixElement>(result: &mut [T], bias: &[T], area: usize) {
    if area == 0 {
        return;
    }
    for (channel, plane) in result.chunks_mut(area).enumerate() {
        let offset = bias[channel % bias.len()];
        plane.iter_mut().for_each(|x| *x = x.plus(offset));
    }
}

impl Op for ConvTranspose {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        expect_same(cx, 0, 1)?;
        expect_same(cx, 0, 2)?;
        let Some(dtype) = cx.dtype(0)?.or(cx.dtype(1)?) else { return Ok(first_is(cx, Inferred::default())) };
        let shape = shapes(cx.tensor(0), cx.tensor(1))?
            .map(|(data, weights)| output_dims(cx.attrs, data, weights))
            .transpose()?;
        Ok(first_is(cx, TensorType { dtype, shape }.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (data, weights, bias) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional(2)?);
        let types = (data.ty(), weights.ty());
        let Some((x, w)) = shapes(Some(&types.0), Some(&types.1))? else { return Ok(Vec::new()) };
        let shape: Vec<usize> =
            output_dims(cx.attrs, x, w)?.iter().map(|d| d.value().unwrap_or(0) as usize).collect();
        check_elements(&shape)?;
        if bias.is_some_and(|b| b.shape() != [shape[1]]) {
            let reason = format!("the bias must have one element per output channel ({})", shape[1]);
            return Err(InferError::shape(reason).into());
        }
        let axes = transposed_axes(cx.attrs, data.shape(), weights.shape())?;
        let groups = groups(cx.attrs)? as usize;
        let sizes = [data.shape()[0], groups, data.shape()[1] / groups, weights.shape()[1]];
        let area: usize = shape[2..].iter().product();
        if data.dtype() == DType::F64 {
            let mut result = spread(&data.elements::<f64>()?, &weights.elements::<f64>()?, sizes, &axes);
            if let Some(bias) = bias {
                add_bias(&mut result, &bias.elements::<f64>()?, area);
            }
            return one(Tensor::from_vec(shape, result)?);
        }
        let flat = |t: &Tensor| -> Result<Vec<f32>, EvalError> { Ok(to_f32(t)?.iter().copied().collect()) };
        let mut result = spread(&flat(data)?, &flat(weights)?, sizes, &axes);
        if let Some(bias) = bias {
            add_bias(&mut result, &flat(bias)?, area);
        }
        one(from_f32(data.dtype(), shape, result)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let window: f64 = shapes.input(1).map_or(0.0, |sizes| sizes.iter().skip(1).product());
        2.0 * window * shapes.input_elements(0)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: 1, channel_axis: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, run, t};

    #[test]
    fn spreads_and_overlaps() {
        let x = from_fn(&[1, 1, 2, 2], |i| i as f32);
        let w = t(&[1, 1, 2, 2], &[1f32; 4]);
        close(
            &run(&ConvTranspose, &Attrs::new(), &[x.clone(), w.clone()]),
            &[0.0, 1.0, 1.0, 2.0, 6.0, 4.0, 2.0, 5.0, 3.0],
        );
        let strided = Attrs::new().with("strides", vec![2i64, 2]).with("output_padding", vec![0i64, 1]);
        let result = run(&ConvTranspose, &strided, &[x, w, t(&[1], &[10f32])]);
        assert_eq!(result.shape(), [1, 1, 4, 5]);
        close(
            &result,
            &[
                10.0, 10.0, 11.0, 11.0, 10.0, 10.0, 10.0, 11.0, 11.0, 10.0, 12.0, 12.0, 13.0, 13.0, 10.0,
                12.0, 12.0, 13.0, 13.0, 10.0,
            ],
        );
    }

    #[test]
    fn groups_and_padding() {
        let x = t(&[1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
        let w = t(&[2, 1, 3], &[1f32, 2.0, 3.0, 1.0, 1.0, 1.0]);
        let attrs = Attrs::new().with("group", 2i64).with("pads", vec![1i64, 1]);
        close(&run(&ConvTranspose, &attrs, &[x, w]), &[4.0, 7.0, 7.0, 7.0]);
    }

    #[test]
    fn the_output_shape_may_be_given() {
        let x = t(&[1, 1, 2], &[1f32, 2.0]);
        let w = t(&[1, 1, 3], &[1f32, 1.0, 1.0]);
        let attrs = Attrs::new().with("output_shape", vec![4i64]).with("strides", vec![2i64]);
        close(&run(&ConvTranspose, &attrs, &[x.clone(), w.clone()]), &[1.0, 3.0, 2.0, 2.0]);
        let same = attrs.with("auto_pad", "SAME_UPPER");
        close(&run(&ConvTranspose, &same, &[x.clone(), w.clone()]), &[1.0, 1.0, 3.0, 2.0]);
        let larger = Attrs::new().with("output_shape", vec![6i64]).with("strides", vec![2i64]);
        close(&run(&ConvTranspose, &larger, &[x, w]), &[1.0, 1.0, 3.0, 2.0, 2.0, 0.0]);
    }
}
