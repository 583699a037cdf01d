//! `MaxUnpool`: puts the elements of a max pool back where they came from, zeros elsewhere.
//!
//! Indices count in the shape that kernel, strides and pads imply; a larger `output_shape` puts that at its beginning.
//! Spec: <https://onnx.ai/onnx/operators/onnx__MaxUnpool.html>.

use crate::attributes::INTS;
use crate::inference::{FLOATS, expect};
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, checked_count, pick, span, strides, zero};
use crate::sizes::{copy_cost, fresh_dims, unknown};
use crate::view::one;
use crate::window::Window;
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::{Attrs, DType, Dim, TensorType};

static SCHEMA: Schema = Schema::onnx("MaxUnpool", &[9, 11, 22], (2, 3), (1, 1)).with(&[
    ("kernel_shape", INTS),
    ("pads", INTS),
    ("strides", INTS),
]);

pub(crate) struct MaxUnpool;

/// The shape of which a pool with these attributes gives `shape`.
fn pooled_from(attrs: &Attrs, shape: &[Dim]) -> Result<Vec<Dim>, InferError> {
    let kernel = Window::kernel_attribute(attrs)?;
    let window = Window::read(attrs, &kernel)?;
    if shape.len() != kernel.len() + 2 {
        let reason = format!("a kernel of {} axes does not fit a shape of {shape:?}", kernel.len());
        return Err(InferError::shape(reason));
    }
    let size = |(at, dim): (usize, &Dim)| {
        let travel = dim.sub(&Dim::known(1)).mul(&Dim::known(window.strides[at]));
        travel.sub(&Dim::known(window.begins[at] + window.ends[at])).add(&kernel[at])
    };
    Ok(shape[..2].iter().cloned().chain(shape[2..].iter().enumerate().map(size)).collect())
}

fn sizes(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(|dim| usize::try_from(dim.value()?).ok()).collect()
}

impl Op for MaxUnpool {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else { return Ok(vec![TensorType::unranked(x.dtype).into()]) };
        let implied = pooled_from(cx.attrs, shape)?;
        let dims = match cx.input(2) {
            None => implied,
            Some(_) => cx.dims(2).unwrap_or_else(|| fresh_dims(cx, shape.len()).into_vec()),
        };
        Ok(vec![TensorType::new(x.dtype, dims).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let indices = cx.integers(1)?.ok_or(InferError::MissingInput { index: 1 })?;
        let dims: Vec<Dim> = x.shape().iter().map(|size| Dim::known(*size as i64)).collect();
        let implied = pooled_from(cx.attrs, &dims)?;
        let negative = || EvalError::value(format!("the pads leave nothing of the shape {implied:?}"));
        let implied = sizes(&implied).ok_or_else(negative)?;
        let shape = match cx.integers(2)? {
            None => implied.clone(),
            Some(given) => {
                let shape: Option<Vec<usize>> =
                    given.iter().map(|size| usize::try_from(*size).ok()).collect();
                let holds = |shape: &Vec<usize>| {
                    shape.len() == implied.len() && shape.iter().zip(&implied).all(|(a, b)| a >= b)
                };
                shape.filter(holds).ok_or_else(|| {
                    EvalError::value(format!("output_shape {given:?} does not hold the shape {implied:?}"))
                })?
            }
        };
        checked_count(DType::U64, &implied)?;
        let mut sources = vec![(1usize, 0usize); checked_count(DType::U64, &shape)?];
        let places: Vec<usize> = Walk::new(0, &implied, &strides(&shape))?.collect();
        if indices.len() != x.len() {
            let reason = format!("{} indices are given for {} elements", indices.len(), x.len());
            return Err(EvalError::value(reason));
        }
        for (from, index) in indices.iter().enumerate() {
            let to = usize::try_from(*index).ok().and_then(|index| places.get(index));
            let outside =
                || EvalError::value(format!("index {index} is outside the {} elements", span(&implied)));
            sources[*to.ok_or_else(outside)?] = (0, from);
        }
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
    fn elements_return_to_their_places() {
        let attrs = Attrs::new().with("kernel_shape", vec![2i64, 2]).with("strides", vec![2i64, 2]);
        let (x, at) = (t(&[1, 1, 1, 2], &[5f32, 6.0]), t(&[1, 1, 1, 2], &[1i64, 6]));
        let found = run(&MaxUnpool, &attrs, &[x.clone(), at.clone()]);
        assert_eq!(found, t(&[1, 1, 2, 4], &[0f32, 5.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0]));
        let wider = run(&MaxUnpool, &attrs, &[x.clone(), at.clone(), t(&[4], &[1i64, 1, 2, 5])]);
        assert_eq!(wider, t(&[1, 1, 2, 5], &[0f32, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0, 0.0]));
        let message = refusal(&MaxUnpool, &attrs, &[x.clone(), at, t(&[4], &[1i64, 1, 1, 5])]);
        assert_eq!(message, "output_shape [1, 1, 1, 5] does not hold the shape [1, 1, 2, 4]");
        let message = refusal(&MaxUnpool, &attrs, &[x, t(&[1, 1, 1, 2], &[0i64, 8])]);
        assert_eq!(message, "index 8 is outside the 8 elements");
    }
}
