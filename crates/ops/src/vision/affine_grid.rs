//! `AffineGrid`: places in a normalised image, moved by a matrix: what GridSample samples at.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__AffineGrid.html>.

use crate::attributes::int;
use crate::inference::{FLOATS, expect};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::select::checked_count;
use crate::sizes::sizes_or_fresh;
use crate::view::{from_f64, one, to_f64};
use crate::{Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Dim, TensorType};
use ndarray::{Array, IxDyn};

static SCHEMA: Schema = Schema::onnx("AffineGrid", &[20], (2, 2), (1, 1)).with(&[("align_corners", int(0))]);

pub(crate) struct AffineGrid;

/// Place of element `index` of `count` in -1..=1: the ends are centres of elements, or their outer edges.
fn place(index: usize, count: usize, align_corners: bool) -> f64 {
    match (align_corners, count) {
        (true, 0 | 1) => 0.0,
        (true, _) => 2.0 * index as f64 / (count - 1) as f64 - 1.0,
        (false, _) => (2.0 * index as f64 + 1.0) / count as f64 - 1.0,
    }
}

impl Op for AffineGrid {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect(cx, 0, FLOATS)?;
        let Some(theta) = cx.tensor(0) else { return Ok(crate::sizes::unknown(cx)) };
        let Some(size) = sizes_or_fresh(cx, 1) else {
            return Ok(vec![TensorType::unranked(theta.dtype).into()]);
        };
        if size.len() != 4 && size.len() != 5 {
            let reason = format!("size must hold batch, channels and 2 or 3 sizes, it holds {}", size.len());
            return Err(InferError::shape(reason));
        }
        let spatial = size[2..].iter().cloned();
        let batch = theta.shape.as_ref().map_or(&size[0], |shape| &shape[0]);
        let dims = [batch.clone()].into_iter().chain(spatial).chain([Dim::known(size.len() as i64 - 2)]);
        Ok(vec![TensorType::new(theta.dtype, dims).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let theta = cx.tensor(0)?;
        let given = cx.integers(1)?.unwrap_or_default();
        let sizes: Option<Vec<usize>> = given.iter().map(|size| usize::try_from(*size).ok()).collect();
        let sizes = sizes.filter(|sizes| matches!(sizes.len(), 4 | 5)).ok_or_else(|| {
            EvalError::value(format!("size must be batch, channels and 2 or 3 sizes, it is {given:?}"))
        })?;
        let (batch, spatial) = (sizes[0], &sizes[2..]);
        let rank = spatial.len();
        if theta.shape() != [batch, rank, rank + 1] {
            let (expected, found) = ([batch, rank, rank + 1], theta.shape());
            return Err(EvalError::value(format!("theta must have shape {expected:?}, found {found:?}")));
        }
        let shape: Vec<usize> = [batch].iter().chain(spatial).chain([&rank]).copied().collect();
        checked_count(DType::F64, &shape)?;
        let align_corners = cx.attrs.int_or("align_corners", 0) != 0;
        let theta = to_f64(theta)?;
        let at = |index: IxDyn| {
            let (n, row) = (index[0], index[rank + 1]);
            // Columns of the matrix count axes from the last, sizes from the first.
            let moved = (0..rank).map(|column| {
                let axis = rank - 1 - column;
                theta[[n, row, column]] * place(index[1 + axis], spatial[axis], align_corners)
            });
            moved.sum::<f64>() + theta[[n, row, rank]]
        };
        one(from_f64(cx.tensor(0)?.dtype(), &Array::from_shape_fn(IxDyn(&shape), at))?)
    }

    fn flops(&self, shapes: &Shapes<'_>) -> f64 {
        6.0 * shapes.output_elements(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, refusal, run, t};
    use fusebox_ir::Attrs;

    #[test]
    fn the_identity_gives_the_places_themselves() {
        let theta = t(&[1, 2, 3], &[1f32, 0., 0., 0., 1., 0.5]);
        let size = t(&[4], &[1i64, 1, 2, 2]);
        let edges = run(&AffineGrid, &Attrs::new(), &[theta.clone(), size.clone()]);
        assert_eq!(edges.shape(), [1, 2, 2, 2]);
        close(&edges, &[-0.5, 0.0, 0.5, 0.0, -0.5, 1.0, 0.5, 1.0]);
        let centres = run(&AffineGrid, &Attrs::new().with("align_corners", 1), &[theta.clone(), size]);
        close(&centres, &[-1., -0.5, 1., -0.5, -1., 1.5, 1., 1.5]);
        let message = refusal(&AffineGrid, &Attrs::new(), &[theta, t(&[5], &[1i64, 1, 2, 2, 2])]);
        assert_eq!(message, "theta must have shape [1, 3, 4], found [1, 2, 3]");
    }
}
