//! `ScatterND`: writes each slice of updates to the place that a tuple of indices addresses.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ScatterND.html>.

use super::gather_nd::slices;
use super::index::{Reduction, expect_indices, scatter};
use super::scatter_elements::check_reduction;
use crate::attributes::text;
use crate::forms::existed;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::TensorType;

static SCHEMA: Schema =
    Schema::onnx("ScatterND", &[11, 13, 16, 18], (3, 3), (1, 1)).with(&[("reduction", text("none"))]);

pub(crate) struct ScatterNd;

impl Op for ScatterNd {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        Reduction::from_attrs(cx.attrs)?;
        expect_indices(cx, 1)?;
        crate::inference::expect_same(cx, 0, 2)?;
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        Ok(vec![TensorType { dtype: x.dtype, shape: x.shape.clone() }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, indices, updates) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let slices = slices(x, indices, 0)?;
        let size = slices.size;
        let tuples = &indices.shape()[..indices.shape().len() - 1];
        let tail = &x.shape()[x.shape().len() - slices.rank..];
        if updates.shape() != [tuples, tail].concat() {
            let found = updates.shape();
            return Err(EvalError::value(format!(
                "updates have shape {found:?}, expected {:?}",
                [tuples, tail].concat()
            )));
        }
        let write = |(place, start): (usize, usize)| (0..size).map(move |i| (start + i, place * size + i));
        let writes = slices.starts.into_iter().enumerate().flat_map(write);
        one(scatter(x, updates, writes, Reduction::from_attrs(cx.attrs)?)?)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        check_reduction(&SCHEMA, edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn slices_are_written_and_reduced() {
        let x = t(&[2, 2], &[1i32, 2, 3, 4]);
        let rows = [x.clone(), t(&[1, 1], &[-1i64]), t(&[1, 2], &[8i32, 9])];
        assert_eq!(run(&ScatterNd, &Attrs::new(), &rows), t(&[2, 2], &[1i32, 2, 8, 9]));
        let twice = [x.clone(), t(&[2, 2], &[0i64, 1, 0, 1]), t(&[2], &[5i32, 7])];
        let truths = |bools: &[bool]| Tensor::from_bools(vec![bools.len()], bools.iter().copied()).unwrap();
        let inputs = [truths(&[true, false]), t(&[2, 1], &[0i64, 1]), truths(&[false, true])];
        let reduced = |name: &str| run(&ScatterNd, &Attrs::new().with("reduction", name), &inputs);
        assert_eq!(["add", "mul", "max", "min"].map(reduced), {
            let (any, all) = (truths(&[true, true]), truths(&[false, false]));
            [any.clone(), all.clone(), any, all]
        });
        let add = Attrs::new().with("reduction", "add");
        assert_eq!(run(&ScatterNd, &add, &twice), t(&[2, 2], &[1i32, 14, 3, 4]));
        let wrong = [x, t(&[1, 1], &[0i64]), t(&[1, 3], &[0i32; 3])];
        assert!(refusal(&ScatterNd, &Attrs::new(), &wrong).contains("expected [1, 2]"));
    }
}
