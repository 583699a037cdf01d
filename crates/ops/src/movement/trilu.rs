//! `Trilu`: keeps the upper or lower triangle of the last two axes, counted from diagonal `k`, and zeroes the rest.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Trilu.html>.

use crate::attributes::int;
use crate::op::{Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{pick, zero};
use crate::sizes::copy_cost;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::{TensorType, Type};

static SCHEMA: Schema = Schema::onnx("Trilu", &[14], (1, 2), (1, 1)).with(&[("upper", int(1))]);

pub(crate) struct Trilu;

impl Op for Trilu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        if cx.tensor(0).and_then(TensorType::rank).is_some_and(|rank| rank < 2) {
            return Err(InferError::shape("a triangle needs two axes"));
        }
        Ok(vec![cx.input(0).map_or(Type::Unknown, |arg| arg.ty.clone()).into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let x = cx.tensor(0)?;
        let k = cx.integers(1)?.and_then(|k| k.first().copied()).unwrap_or(0);
        let is_upper = cx.attrs.int_or("upper", 1) != 0;
        let [.., rows, columns] = x.shape() else {
            return Err(EvalError::value("a triangle needs two axes"));
        };
        let source = |index: usize| {
            let (row, column) = ((index / columns % rows) as i64, (index % columns) as i64);
            let above = column.saturating_sub(row);
            let keep = if is_upper { above >= k } else { above <= k };
            if keep { (0, index) } else { (1, 0) }
        };
        one(pick(&[x, &zero(x.dtype())?], x.shape().to_vec(), (0..x.len()).map(source))?)
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
    use fusebox_ir::{Attrs, Tensor};

    #[test]
    fn triangles_stay() {
        let x = t(&[2, 3], &[1i64, 2, 3, 4, 5, 6]);
        assert_eq!(run(&Trilu, &Attrs::new(), std::slice::from_ref(&x)), t(&[2, 3], &[1i64, 2, 3, 0, 5, 6]));
        let lower = Attrs::new().with("upper", 0);
        assert_eq!(run(&Trilu, &lower, std::slice::from_ref(&x)), t(&[2, 3], &[1i64, 0, 0, 4, 5, 0]));
        let k = Tensor::scalar(1i64);
        assert_eq!(run(&Trilu, &Attrs::new(), &[x, k]), t(&[2, 3], &[0i64, 2, 3, 0, 0, 6]));
        assert!(refusal(&Trilu, &Attrs::new(), &[t(&[2], &[1f32, 2.0])]).contains("two axes"));
    }
}
