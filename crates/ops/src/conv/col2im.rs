//! `Col2Im`: adds up the columns of sliding blocks where they lay in the image: the inverse of gathering them.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Col2Im.html>.

use crate::attributes::INTS;
use crate::movement::cast;
use crate::number::Number;
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::{checked_count, span};
use crate::sizes::{sizes_or_fresh, unknown};
use crate::view::{dispatch, one};
use crate::window::{Axis, Window};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Dim, Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("Col2Im", &[18], (3, 3), (1, 1)).with(&[
    ("dilations", INTS),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct Col2Im;

/// Position in the image of element `tap` of block `block`, `None` in the padding.
fn position(axes: &[Axis], mut tap: usize, mut block: usize) -> Option<usize> {
    let (mut at, mut stride) = (0usize, 1usize);
    for axis in axes.iter().rev() {
        let (kernel, count) = (axis.kernel as usize, axis.output as usize);
        let place = axis.position((block % count) as i64, (tap % kernel) as i64);
        let place = usize::try_from(place).ok().filter(|_| place < axis.input)?;
        (tap, block) = (tap / kernel, block / count);
        at += place * stride;
        stride *= axis.input as usize;
    }
    Some(at)
}

fn sizes(cx: &Eval<'_>, index: usize, name: &str) -> Result<Vec<usize>, EvalError> {
    let given = cx.integers(index)?.ok_or(InferError::MissingInput { index })?;
    let sizes: Option<Vec<usize>> = given.iter().map(|size| usize::try_from(*size).ok()).collect();
    let sizes = sizes.filter(|sizes| !sizes.is_empty() && (index == 1 || !sizes.contains(&0)));
    sizes.ok_or_else(|| EvalError::value(format!("{name} must hold sizes, it is {given:?}")))
}

/// The image of columns of numbers.
fn assemble(cx: &Eval<'_>, x: &Tensor) -> Result<Tensor, EvalError> {
    let (image, block) = (sizes(cx, 1, "image_shape")?, sizes(cx, 2, "block_shape")?);
    let &[batch, rows, blocks] = x.shape() else {
        return Err(EvalError::value(format!("the columns need three axes, they have {:?}", x.shape())));
    };
    let kernel: Vec<Dim> = block.iter().map(|size| Dim::known(*size as i64)).collect();
    let axes = Window::read(cx.attrs, &kernel)?.axes(&image)?;
    let taps = span(&block);
    let expected = axes.iter().fold(1usize, |count, axis| count.saturating_mul(axis.output.max(0) as usize));
    if rows % taps != 0 || blocks != expected {
        let reason = format!(
            "columns of shape {:?} do not fit: rows must be a multiple of {taps}, blocks {expected}",
            x.shape()
        );
        return Err(EvalError::value(reason));
    }
    let (channels, area) = (rows / taps, span(&image));
    let shape: Vec<usize> = [batch, channels].iter().chain(&image).copied().collect();
    let count = checked_count(x.dtype(), &shape)?;
    dispatch!(numbers, x.dtype(), T => {
        let elements = x.elements::<T>()?;
        let mut sums = vec![<T as Number>::ZERO; count];
        for tap in 0..taps {
            for block in 0..blocks {
                let Some(at) = position(&axes, tap, block) else { continue };
                for plane in 0..batch * channels {
                    let slot = &mut sums[plane * area + at];
                    *slot = slot.plus(elements[(plane * taps + tap) * blocks + block]);
                }
            }
        }
        Ok(Tensor::from_vec(shape, sums)?)
    })
}

impl Op for Col2Im {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let (Some(image), Some(block)) = (sizes_or_fresh(cx, 1), sizes_or_fresh(cx, 2)) else {
            return Ok(vec![TensorType::unranked(x.dtype).into()]);
        };
        if x.rank().is_some_and(|rank| rank != 3) || image.len() != block.len() {
            let reason =
                format!("the columns need three axes, and image {image:?} and block {block:?} one rank");
            return Err(InferError::shape(reason));
        }
        let batch = x.shape.as_ref().map_or_else(|| (cx.fresh)(), |shape| shape[0].clone());
        let taps = block.iter().fold(Dim::known(1), |taps, size| taps.mul(size));
        let channels = x.shape.as_ref().and_then(|shape| {
            let is_known = taps.value().is_some_and(|taps| taps > 0);
            is_known.then(|| shape[1].floor_div(&taps))
        });
        let channels = channels.unwrap_or_else(|| (cx.fresh)());
        Ok(vec![TensorType::new(x.dtype, [batch, channels].into_iter().chain(image)).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        if x.dtype() == DType::Bool {
            // The sum of truths is whether any is.
            return one(cast(&assemble(cx, &cast(x, DType::I64)?)?, DType::Bool)?);
        }
        one(assemble(cx, x)?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        shapes.input_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn blocks_that_overlap_add_up() {
        let x = t(&[1, 2, 3], &[1f32, 2., 3., 10., 20., 30.]);
        let (image, block) = (t(&[1], &[4i64]), t(&[1], &[2i64]));
        let found = run(&Col2Im, &Attrs::new(), &[x.clone(), image.clone(), block.clone()]);
        assert_eq!(found, t(&[1, 1, 4], &[1f32, 12., 23., 30.]));
        let spread = Attrs::new().with("pads", vec![1i64, 1]).with("strides", vec![2i64]);
        let found = run(&Col2Im, &spread, &[x.clone(), image, block.clone()]);
        assert_eq!(found, t(&[1, 1, 4], &[10f32, 2., 20., 3.]));
        let message = refusal(&Col2Im, &Attrs::new(), &[x, t(&[1], &[5i64]), block]);
        assert!(message.contains("rows must be a multiple of 2, blocks 4"), "{message}");
    }
}
