//! `Flatten`: a matrix whose rows are the axes before `axis` and whose columns are the others.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Flatten.html>.

use crate::attributes::int;
use crate::forms::inexpressible;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::{fresh_dims, unknown, view_cost};
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError, axis};
use fusebox_ir::{Dim, TensorType};

static SCHEMA: Schema =
    Schema::onnx("Flatten", &[1, 9, 11, 13, 21, 23, 24, 25], (1, 1), (1, 1)).with(&[("axis", int(1))]);

pub(crate) struct Flatten;

impl Op for Flatten {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let Some(shape) = &x.shape else {
            return Ok(vec![TensorType { dtype: x.dtype, shape: Some(fresh_dims(cx, 2)) }.into()]);
        };
        let at = axis::normalize_end(cx.attrs.int_or("axis", 1), shape.len())?;
        let product = |dims: &[Dim]| dims.iter().fold(Dim::known(1), |product, dim| product.mul(dim));
        Ok(vec![TensorType::new(x.dtype, [product(&shape[..at]), product(&shape[at..])]).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let at = axis::normalize_end(cx.attrs.int_or("axis", 1), x.shape().len())?;
        let (rows, columns) = x.shape().split_at(at);
        let too_large = || EvalError::value(format!("shape {:?} overflows when flattened", x.shape()));
        let count = |sizes: &[usize]| fusebox_ir::tensor::element_count(sizes).ok_or_else(too_large);
        one(x.reshaped(vec![count(rows)?, count(columns)?])?)
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let at = edit.node().attrs.int_or("axis", 1);
        if edit.opset < 11 && at < 0 {
            let ty = edit.node().input(0).and_then(|value| edit.graph.value(value).ty.tensor());
            let rank = ty.and_then(TensorType::rank);
            let rank =
                rank.ok_or_else(|| inexpressible(&SCHEMA, edit, "axes do not count from the end there"))?;
            edit.node().attrs.set("axis", axis::normalize(at, rank)? as i64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::downgraded;
    use fusebox_ir::Attrs;

    #[test]
    fn axes_from_the_end_are_counted_for_old_opsets() {
        let attrs = Attrs::new().with("axis", -1);
        let (graph, node) = downgraded(&Flatten, attrs, &[t(&[2, 3, 4], &[0f32; 24])], 9).unwrap();
        assert_eq!(graph.node(node).attrs.int("axis"), Some(2));
    }

    #[test]
    fn the_axis_splits_rows_from_columns() {
        let x = t(&[2, 3, 4], &[0f32; 24]);
        let shape = |axis: i64| {
            run(&Flatten, &Attrs::new().with("axis", axis), std::slice::from_ref(&x)).shape().to_vec()
        };
        assert_eq!(
            (shape(0), shape(2), shape(3), shape(-1)),
            (vec![1, 24], vec![6, 4], vec![24, 1], vec![6, 4])
        );
        assert_eq!(run(&Flatten, &Attrs::new(), std::slice::from_ref(&x)).shape(), [2, 12]);
        assert!(refusal(&Flatten, &Attrs::new().with("axis", 4), &[x]).contains("out of range"));
    }
}
