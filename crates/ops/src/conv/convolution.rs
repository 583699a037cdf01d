//! `Conv`: convolution (cross-correlation) over any number of spatial axes, grouped, strided, dilated and padded.
//!
//! Evaluated as matrix products of weights with gathered columns, per image and group; half types accumulate in f32.
//! Spec: <https://onnx.ai/onnx/operators/onnx__Conv.html>.

use super::columns::Columns;
use super::geometry::{agree, groups, kernel_agrees, shapes};
use crate::attributes::{INTS, int, text};
use crate::broadcast::check_elements;
use crate::inference::{FLOATS, expect, expect_same, first_is};
use crate::linear::product::MatrixElement;
use crate::movement::cast;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::view::one;
use crate::window::{Axis, Window};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, Shape, Tensor, TensorType};
use ndarray::ArrayView2;

static SCHEMA: Schema = Schema::onnx("Conv", &[1, 11, 22], (2, 3), (1, 1)).with(&[
    ("auto_pad", text("NOTSET")),
    ("dilations", INTS),
    ("group", int(1)),
    ("kernel_shape", INTS),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct Conv;

fn output_dims(
    attrs: &Attrs,
    data: &[Dim],
    weights: &[Dim],
    bias: Option<&[Dim]>,
) -> Result<Shape, InferError> {
    let groups = groups(attrs)?;
    kernel_agrees(attrs, &weights[2..])?;
    agree(
        "channels of the data over those of the weights times groups",
        &weights[1].mul(&Dim::known(groups)),
        &data[1],
    )?;
    if weights[0].value().is_some_and(|m| m % groups != 0) {
        return Err(InferError::shape(format!(
            "{} output channels do not split into {groups} groups",
            weights[0]
        )));
    }
    if let Some(bias) = bias {
        let [size] = bias else {
            return Err(InferError::shape(format!("the bias must be a vector, its shape is {bias:?}")));
        };
        agree("elements of the bias, one per output channel", &weights[0], size)?;
    }
    let spatial = Window::read(attrs, &weights[2..])?.outputs(&data[2..])?;
    Ok([data[0].clone(), weights[0].clone()].into_iter().chain(spatial).collect())
}

/// Sizes of one convolution.
struct Sizes {
    batch: usize,
    groups: usize,
    /// Input channels of a group.
    inputs: usize,
    /// Output channels of a group.
    outputs: usize,
}

fn convolve<T: MatrixElement>(
    data: &[T],
    weights: &[T],
    bias: Option<&[T]>,
    sizes: &Sizes,
    axes: &[Axis],
) -> Vec<T> {
    let Some(columns) = Columns::new(axes) else { return Vec::new() };
    let (taps, area, pixels) = (columns.taps(), columns.inputs(), columns.outputs());
    let mut result = vec![T::ZERO; sizes.batch * sizes.groups * sizes.outputs * pixels];
    let step = columns.rows_at_once(sizes.inputs);
    for image in 0..sizes.batch {
        for group in 0..sizes.groups {
            let at = image * sizes.groups + group;
            let input = &data[at * sizes.inputs * area..][..sizes.inputs * area];
            let filter = &weights[group * sizes.outputs * sizes.inputs * taps..]
                [..sizes.outputs * sizes.inputs * taps];
            let filter = ArrayView2::from_shape((sizes.outputs, sizes.inputs * taps), filter)
                .expect("sliced to the size of one group");
            let output = &mut result[at * sizes.outputs * pixels..][..sizes.outputs * pixels];
            for first in (0..columns.rows()).step_by(step) {
                let rows = first..(first + step).min(columns.rows());
                let start = first * columns.row_width();
                let product = T::product(filter, columns.gather(input, sizes.inputs, rows).view());
                for (channel, row) in product.outer_iter().enumerate() {
                    let offset = bias.map_or(T::ZERO, |b| b[group * sizes.outputs + channel]);
                    let target = &mut output[channel * pixels + start..][..row.len()];
                    target.iter_mut().zip(row).for_each(|(slot, sum)| *slot = sum.plus(offset));
                }
            }
        }
    }
    result
}

/// Convolves tensors of one element type under the attributes of Conv.
///
/// # Errors
/// When shapes or attributes contradict each other.
pub(crate) fn convolution<T: MatrixElement>(
    attrs: &Attrs,
    data: &Tensor,
    weights: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, EvalError> {
    let (types, bias_type) = ((data.ty(), weights.ty()), bias.map(Tensor::ty));
    let Some((x, w)) = shapes(Some(&types.0), Some(&types.1))? else {
        return Err(EvalError::value("the shapes of a convolution are not known"));
    };
    let dims = output_dims(attrs, x, w, bias_type.as_ref().and_then(|ty| ty.shape.as_deref()))?;
    let shape: Vec<usize> = dims.iter().map(|d| d.value().unwrap_or(0) as usize).collect();
    check_elements(&shape)?;
    let axes = Window::read(attrs, &w[2..])?.axes(&data.shape()[2..])?;
    let groups = groups(attrs)? as usize;
    let (inputs, outputs) = (weights.shape()[1], weights.shape()[0] / groups);
    let sizes = Sizes { batch: data.shape()[0], groups, inputs, outputs };
    let (x, w) = (data.elements::<T>()?, weights.elements::<T>()?);
    let b = bias.map(Tensor::elements::<T>).transpose()?;
    Ok(Tensor::from_vec(shape, convolve(&x, &w, b.as_deref(), &sizes, &axes))?)
}

/// Type of a convolution's result of element type `dtype`, where the shapes of data and weights are known.
///
/// # Errors
/// When shapes or attributes contradict each other.
pub(crate) fn convolution_type(
    attrs: &Attrs,
    data: Option<&TensorType>,
    weights: Option<&TensorType>,
    bias: Option<&TensorType>,
    dtype: DType,
) -> Result<TensorType, InferError> {
    let bias = bias.and_then(|ty| ty.shape.as_deref());
    let shape =
        shapes(data, weights)?.map(|(data, weights)| output_dims(attrs, data, weights, bias)).transpose()?;
    Ok(TensorType { dtype, shape })
}

impl Op for Conv {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        expect_same(cx, 0, 1)?;
        expect_same(cx, 0, 2)?;
        let Some(dtype) = cx.dtype(0)?.or(cx.dtype(1)?) else { return Ok(first_is(cx, Inferred::default())) };
        let ty = convolution_type(cx.attrs, cx.tensor(0), cx.tensor(1), cx.tensor(2), dtype)?;
        Ok(first_is(cx, ty.into()))
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (data, weights, bias) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional(2)?);
        if data.dtype() == DType::F64 {
            return one(convolution::<f64>(cx.attrs, data, weights, bias)?);
        }
        let wide = |tensor: &Tensor| cast(tensor, DType::F32);
        let bias = bias.map(wide).transpose()?;
        let result = convolution::<f32>(cx.attrs, &wide(data)?, &wide(weights)?, bias.as_ref())?;
        one(cast(&result, data.dtype())?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        let window: f64 = shapes.input(1).map_or(0.0, |sizes| sizes.iter().skip(1).product());
        let bias = f64::from(u8::from(shapes.inputs.len() > 2));
        (2.0 * window + bias) * shapes.output_elements(0)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Weighted { weight: 1, channel_axis: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, from_fn, refusal, run, t};

    fn image() -> Tensor {
        from_fn(&[1, 1, 5, 5], |i| i as f32)
    }

    #[test]
    fn sums_windows_with_and_without_padding() {
        let ones = t(&[1, 1, 3, 3], &[1f32; 9]);
        let valid = run(&Conv, &Attrs::new(), &[image(), ones.clone()]);
        close(&valid, &[54.0, 63.0, 72.0, 99.0, 108.0, 117.0, 144.0, 153.0, 162.0]);
        let padded = Attrs::new().with("pads", vec![1i64; 4]).with("strides", vec![2i64, 2]);
        let result = run(&Conv, &padded, &[image(), ones]);
        close(&result, &[12.0, 27.0, 24.0, 63.0, 108.0, 81.0, 72.0, 117.0, 84.0]);
    }

    #[test]
    fn groups_dilations_and_bias() {
        let x = from_fn(&[1, 2, 4], |i| i as f32);
        let w = t(&[2, 1, 2], &[1f32, -1.0, 1.0, 1.0]);
        let attrs = Attrs::new().with("group", 2i64).with("dilations", vec![2i64]);
        let result = run(&Conv, &attrs, &[x, w, t(&[2], &[0f32, 100.0])]);
        assert_eq!(result.shape(), [1, 2, 2]);
        close(&result, &[-2.0, -2.0, 110.0, 112.0]);
    }

    #[test]
    fn large_images_are_cut_into_ranges_of_rows() {
        let x = from_fn(&[1, 64, 200, 300], |i| (i % 7) as f32);
        let w = from_fn(&[1, 64, 3, 3], |i| (i % 5) as f32);
        let whole = run(&Conv, &Attrs::new(), &[x.clone(), w.clone()]);
        let pixel = |y: usize, column: usize| -> f64 {
            let at = |c: usize, i: usize, j: usize| (((c * 200 + y + i) * 300 + column + j) % 7) as f64;
            (0..576).map(|k| at(k / 9, k / 3 % 3, k % 3) * (k % 5) as f64).sum()
        };
        let found = whole.floats().unwrap();
        for (y, column) in [(0, 0), (96, 150), (97, 0), (197, 297)] {
            assert_eq!(found[y * 298 + column], pixel(y, column));
        }
    }

    #[test]
    fn halves_and_doubles_agree() {
        let half = |x: f32| half::f16::from_f32(x);
        let result =
            run(&Conv, &Attrs::new(), &[t(&[1, 1, 2], &[half(1.5), half(2.0)]), t(&[1, 1, 1], &[half(2.0)])]);
        assert_eq!(result, t(&[1, 1, 2], &[half(3.0), half(4.0)]));
        let result = run(&Conv, &Attrs::new(), &[t(&[1, 1, 2], &[1.5f64, 2.0]), t(&[1, 1, 1], &[2f64])]);
        assert_eq!(result, t(&[1, 1, 2], &[3f64, 4.0]));
    }

    #[test]
    fn channels_must_agree() {
        let message = refusal(&Conv, &Attrs::new(), &[image(), t(&[1, 2, 1, 1], &[1f32, 1.0])]);
        assert!(message.contains("expected 2, found 1"), "{message}");
        let message = refusal(&Conv, &Attrs::new(), &[image(), t(&[1, 1, 6, 1], &[1f32; 6])]);
        assert!(message.contains("does not fit into spatial axis 0"), "{message}");
    }
}
