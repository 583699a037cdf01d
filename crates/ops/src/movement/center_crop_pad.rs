//! `CenterCropPad`: cuts or pads axes around their middle until they have the sizes asked for.
//!
//! An odd element is cut from, or added to, the end. Spec: <https://onnx.ai/onnx/operators/onnx__CenterCropPad.html>.

use crate::attributes::INTS;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, checked_count, pick, strides, zero};
use crate::sizes::{copy_cost, fresh_dims, unknown};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, axis};
use fusebox_ir::{Attrs, DType, TensorType};

static SCHEMA: Schema = Schema::onnx("CenterCropPad", &[18], (2, 2), (1, 1)).with(&[("axes", INTS)]);

pub(crate) struct CenterCropPad;

/// The axes that change, in the order of the sizes.
fn axes(attrs: &Attrs, rank: usize) -> Result<Vec<usize>, InferError> {
    match attrs.ints("axes") {
        Some(axes) => axes.iter().map(|at| axis::normalize(*at, rank)).collect(),
        None => Ok((0..rank).collect()),
    }
}

fn check(axes: usize, sizes: usize) -> Result<(), InferError> {
    if axes == sizes {
        return Ok(());
    }
    Err(InferError::shape(format!("{sizes} sizes are given for {axes} axes")))
}

impl Op for CenterCropPad {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        let axes = axes(cx.attrs, shape.len())?;
        let mut result = shape.clone();
        let sizes = match cx.dims(1) {
            Some(sizes) => sizes,
            None => fresh_dims(cx, axes.len()).into_vec(),
        };
        check(axes.len(), sizes.len())?;
        axes.into_iter().zip(sizes).for_each(|(at, size)| result[at] = size);
        Ok(vec![TensorType { dtype: x.dtype, shape: Some(result) }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let axes = axes(cx.attrs, x.shape().len())?;
        let sizes = cx.integers(1)?.ok_or(InferError::MissingInput { index: 1 })?;
        check(axes.len(), sizes.len())?;
        let mut shape = x.shape().to_vec();
        for (at, size) in axes.into_iter().zip(&sizes) {
            shape[at] = usize::try_from(*size)
                .map_err(|_| EvalError::value(format!("sizes cannot be negative, they are {sizes:?}")))?;
        }
        // Where the part that stays begins, in the result and in the input.
        let begins: Vec<(usize, usize)> = shape
            .iter()
            .zip(x.shape())
            .map(|(new, old)| (new.saturating_sub(*old) / 2, old.saturating_sub(*new) / 2))
            .collect();
        let kept: Vec<usize> = shape.iter().zip(x.shape()).map(|(new, old)| *new.min(old)).collect();
        let offset = |steps: &[isize], of: &dyn Fn(&(usize, usize)) -> usize| {
            begins.iter().zip(steps).map(|(begin, step)| of(begin).cast_signed() * step).sum::<isize>()
        };
        let (to, from) = (strides(&shape), strides(x.shape()));
        let mut sources = vec![(1usize, 0usize); checked_count(DType::U64, &shape)?];
        let targets = Walk::new(offset(&to, &|begin| begin.0), &kept, &to)?;
        let origins = Walk::new(offset(&from, &|begin| begin.1), &kept, &from)?;
        targets.zip(origins).for_each(|(to, from)| sources[to] = (0, from));
        one(pick(&[x, &zero(x.dtype())?], shape, sources)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn the_middle_stays() {
        let x = t(&[2, 5], &[1i32, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let both = run(&CenterCropPad, &Attrs::new(), &[x.clone(), t(&[2], &[3i64, 2])]);
        assert_eq!(both, t(&[3, 2], &[2i32, 3, 7, 8, 0, 0]));
        let wide =
            run(&CenterCropPad, &Attrs::new().with("axes", vec![-1i64]), &[x.clone(), t(&[1], &[8i64])]);
        assert_eq!(wide.elements::<i32>().unwrap()[..8], [0, 1, 2, 3, 4, 5, 0, 0]);
        let message = refusal(&CenterCropPad, &Attrs::new(), &[x, t(&[1], &[1i64])]);
        assert_eq!(message, "1 sizes are given for 2 axes");
    }
}
