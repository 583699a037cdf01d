//! `Shape`: the sizes of a tensor, or of its axes `start..end`.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Shape.html>.

use crate::attributes::{INT, int};
use crate::forms::inexpressible;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::sizes::view_cost;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attrs, DType, Dim, Tensor, TensorType};
use std::ops::Range;

static SCHEMA: Schema = Schema::onnx("Shape", &[1, 13, 15, 19, 21, 23, 24, 25], (1, 1), (1, 1))
    .with(&[("end", INT), ("start", int(0))]);

pub(crate) struct Shape;

impl Op for Shape {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(shape) = cx.tensor(0).and_then(|ty| ty.shape.as_ref()) else {
            return Ok(vec![TensorType::new(DType::I64, [(cx.fresh)()]).into()]);
        };
        let dims = shape[part(cx.attrs, shape.len())].to_vec();
        let ty = TensorType::new(DType::I64, [Dim::known(dims.len() as i64)]);
        Ok(vec![Inferred { ty: ty.into(), dims: Some(dims) }])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let shape = cx.tensor(0)?.shape();
        let sizes = shape[part(cx.attrs, shape.len())].iter();
        one(Tensor::vector(sizes.map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect::<Vec<_>>()))
    }

    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        view_cost()
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 15 {
            let attrs = &mut edit.node().attrs;
            if attrs.int_or("start", 0) != 0 || attrs.int("end").is_some() {
                return Err(inexpressible(&SCHEMA, edit, "start and end do not exist there"));
            }
            attrs.remove("start");
        }
        Ok(())
    }
}

/// Axes that are asked for; bounds are clamped.
fn part(attrs: &Attrs, rank: usize) -> Range<usize> {
    let size = i64::try_from(rank).unwrap_or(i64::MAX);
    let bound = |value: i64| {
        let value = if value < 0 { value.saturating_add(size) } else { value };
        usize::try_from(value.clamp(0, size)).unwrap_or(0)
    };
    let (start, end) = (bound(attrs.int_or("start", 0)), bound(attrs.int_or("end", size)));
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{run, t};
    use crate::sizes::testing::{infer_one, symbolic};

    #[test]
    fn sizes_and_parts_of_them() {
        let x = t(&[2, 3, 4], &[0f32; 24]);
        assert_eq!(run(&Shape, &Attrs::new(), std::slice::from_ref(&x)), Tensor::vector(vec![2i64, 3, 4]));
        let part = Attrs::new().with("start", -2).with("end", 100);
        assert_eq!(run(&Shape, &part, std::slice::from_ref(&x)), Tensor::vector(vec![3i64, 4]));
        let none = Attrs::new().with("start", 2).with("end", 1);
        assert_eq!(run(&Shape, &none, &[x]), Tensor::vector(Vec::<i64>::new()));
    }

    #[test]
    fn symbols_are_sizes() {
        let x = symbolic(DType::F32, &[Dim::symbol("b"), Dim::symbol("s")]);
        let attrs = Attrs::new().with("start", 1);
        assert_eq!(infer_one(&Shape, &attrs, &[(&x, None)]).unwrap().dims.unwrap(), [Dim::symbol("s")]);
    }
}
