//! `ScatterElements`: writes each update to the place whose coordinate along one axis is its index.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__ScatterElements.html>. `Scatter` of opset 9 is the same operator under its
//! old name.

use super::gather_elements::addresses;
use super::index::{Reduction, expect_indices, scatter};
use crate::attributes::{int, text};
use crate::forms::{existed, inexpressible};
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::sizes::unknown;
use crate::view::one;
use crate::{Datum, EvalError, InferError, VersionError, axis};
use fusebox_ir::{OpName, TensorType};

static SCHEMA: Schema = Schema::onnx("ScatterElements", &[11, 13, 16, 18], (3, 3), (1, 1))
    .with(&[("axis", int(0)), ("reduction", text("none"))]);
static OLD_SCHEMA: Schema = Schema::onnx("Scatter", &[9, 11], (3, 3), (1, 1)).with(&[("axis", int(0))]);

pub(crate) struct ScatterElements;

/// The old name.
pub(crate) struct Scatter;

impl Op for ScatterElements {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        eval(cx)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        existed(&SCHEMA, edit)?;
        check_reduction(&SCHEMA, edit)
    }
}

impl Op for Scatter {
    fn schema(&self) -> &'static Schema {
        &OLD_SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        infer(cx)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        eval(cx)
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        edit.node().op = OpName::onnx("ScatterElements");
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 11 {
            edit.node().op = OpName::onnx("ScatterElements");
        }
        existed(&OLD_SCHEMA, edit)
    }
}

/// Checks that the reduction exists in the opset, and drops the attribute where none does.
pub(super) fn check_reduction(schema: &'static Schema, edit: &mut Edit<'_>) -> Result<(), VersionError> {
    let reduction = Reduction::from_attrs(&edit.node().attrs)?;
    if edit.opset < reduction.since() {
        return Err(inexpressible(
            schema,
            edit,
            format!("{reduction:?} exists since opset {}", reduction.since()),
        ));
    }
    if edit.opset < 16 {
        edit.node().attrs.remove("reduction");
    }
    Ok(())
}

fn infer(cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    Reduction::from_attrs(cx.attrs)?;
    expect_indices(cx, 1)?;
    crate::inference::expect_same(cx, 0, 2)?;
    let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
    if let Some(rank) = x.rank() {
        axis::normalize(cx.attrs.int_or("axis", 0), rank)?;
    }
    Ok(vec![TensorType { dtype: x.dtype, shape: x.shape.clone() }.into()])
}

fn eval(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let (x, indices, updates) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
    if indices.shape() != updates.shape() {
        let (a, b) = (indices.shape(), updates.shape());
        return Err(EvalError::value(format!("indices {a:?} and updates {b:?} differ in shape")));
    }
    let at = axis::normalize(cx.attrs.int_or("axis", 0), x.shape().len())?;
    let writes = addresses(x, indices, at)?.into_iter().enumerate().map(|(from, to)| (to, from));
    one(scatter(x, updates, writes, Reduction::from_attrs(cx.attrs)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::{downgraded, upgraded};
    use fusebox_ir::Attrs;

    #[test]
    fn updates_are_written_and_reduced() {
        let inputs =
            [t(&[1, 4], &[1f32, 2.0, 3.0, 4.0]), t(&[1, 2], &[1i64, -1]), t(&[1, 2], &[10f32, 20.0])];
        let columns = Attrs::new().with("axis", 1);
        assert_eq!(run(&ScatterElements, &columns, &inputs), t(&[1, 4], &[1f32, 10.0, 3.0, 20.0]));
        let doubled = [inputs[0].clone(), t(&[1, 2], &[1i64, 1]), inputs[2].clone()];
        let reduce = |name: &str| run(&ScatterElements, &columns.clone().with("reduction", name), &doubled);
        assert_eq!(reduce("add"), t(&[1, 4], &[1f32, 32.0, 3.0, 4.0]));
        assert_eq!(reduce("max"), t(&[1, 4], &[1f32, 20.0, 3.0, 4.0]));
        let wrong = [inputs[0].clone(), inputs[1].clone(), t(&[1, 1], &[1f32])];
        assert!(refusal(&ScatterElements, &columns, &wrong).contains("differ in shape"));
    }

    #[test]
    fn forms_change() {
        let inputs = [t(&[1], &[1f32]), t(&[1], &[0i64]), t(&[1], &[2f32])];
        let (graph, node) = upgraded(&Scatter, Attrs::new(), &inputs, 9).unwrap();
        assert!(graph.node(node).op.is("ScatterElements"));
        let max = Attrs::new().with("reduction", "max");
        assert!(downgraded(&ScatterElements, max, &inputs, 16).is_err());
    }
}
