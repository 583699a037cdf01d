//! `Tile`: repeats a tensor along each axis.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Tile.html>.

use crate::forms::{constant_of, inexpressible, set_constant, set_input};
use crate::inference::elements;
use crate::op::{Edit, Eval, Infer, Inferred, Op, QuantRole, Schema};
use crate::select::{Walk, checked_count, select, strides};
use crate::sizes::{copy_cost, fresh_dims, unknown};
use crate::versions::input_rank;
use crate::view::one;
use crate::{Cost, Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Tensor, TensorType};

static SCHEMA: Schema = Schema::onnx("Tile", &[1, 6, 13], (2, 2), (1, 1));

pub(crate) struct Tile;

impl Op for Tile {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let Some(x) = cx.tensor(0) else { return Ok(unknown(cx)) };
        let shape = match (&x.shape, elements(cx, 1)) {
            (Some(shape), Some(repeats)) => {
                check(shape.len(), repeats.len())?;
                if let Some(bad) = repeats.iter().find(|r| r.value().is_some_and(|r| r < 0)) {
                    return Err(InferError::shape(format!("{bad} repeats are not possible")));
                }
                Some(shape.iter().zip(&repeats).map(|(size, repeat)| size.mul(repeat)).collect())
            }
            (Some(shape), None) => Some(fresh_dims(cx, shape.len())),
            _ => None,
        };
        Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, repeats) = (cx.tensor(0)?, cx.integers(1)?.unwrap_or_default());
        check(x.shape().len(), repeats.len())?;
        let own = strides(x.shape());
        let (mut sizes, mut steps, mut shape) = (Vec::new(), Vec::new(), Vec::new());
        for (axis, repeat) in repeats.iter().enumerate() {
            let wrong = || EvalError::value(format!("{repeat} repeats are not possible"));
            let repeat = usize::try_from(*repeat).map_err(|_| wrong())?;
            sizes.extend([repeat, x.shape()[axis]]);
            steps.extend([0, own[axis]]);
            shape.push(repeat.saturating_mul(x.shape()[axis]));
        }
        checked_count(x.dtype(), &shape)?;
        let walk = Walk::new(0, &sizes, &steps)?;
        one(select(x, shape, walk)?)
    }

    fn cost(&self, shapes: &Shapes<'_>) -> Cost {
        copy_cost(shapes)
    }

    fn quant_role(&self) -> QuantRole {
        QuantRole::Moves
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 6 {
            return Ok(());
        }
        // One axis, and how often: both of the tensor's own type.
        let whole = |edit: &Edit<'_>, position: usize| {
            let value = edit.graph.node(edit.node).input(position)?;
            let tensor = constant_of(edit.graph, value)?;
            let floats = || tensor.floats().map(|all| all.iter().map(|x| *x as i64).collect::<Vec<_>>());
            tensor.integers().or_else(floats)?.first().copied()
        };
        let rank =
            input_rank(edit, 0).ok_or_else(|| inexpressible(&SCHEMA, edit, "its rank must be known"))?;
        let (Some(repeats), Some(axis)) = (whole(edit, 1), whole(edit, 2)) else {
            return Err(inexpressible(&SCHEMA, edit, "its tiles and axis must be constant there"));
        };
        let mut all = vec![1i64; rank];
        all[crate::axis::normalize(axis, rank)?] = repeats;
        set_input(edit, 2, None);
        set_constant(edit, 1, Tensor::vector(all));
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset < 6 {
            Err(inexpressible(&SCHEMA, edit, "that form tiles a single axis"))
        } else {
            Ok(())
        }
    }
}

fn check(rank: usize, repeats: usize) -> Result<(), InferError> {
    if rank == repeats {
        return Ok(());
    }
    Err(InferError::shape(format!("{repeats} repeats are given for a tensor of rank {rank}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};
    use crate::forms::testing::{input_ints, upgraded};
    use fusebox_ir::Attrs;

    #[test]
    fn one_axis_was_tiled_by_numbers_of_the_own_type() {
        let inputs = [t(&[2, 3], &[0f32; 6]), t(&[], &[2f32]), t(&[], &[1f32])];
        let (graph, node) = upgraded(&Tile, Attrs::new(), &inputs, 1).unwrap();
        assert_eq!((input_ints(&graph, node, 1), graph.node(node).inputs.len()), (Some(vec![1, 2]), 2));
    }

    #[test]
    fn axes_repeat() {
        let x = t(&[1, 2], &[1i8, 2]);
        let times = |repeats: &[i64]| [x.clone(), Tensor::vector(repeats.to_vec())];
        assert_eq!(run(&Tile, &Attrs::new(), &times(&[2, 2])), t(&[2, 4], &[1i8, 2, 1, 2, 1, 2, 1, 2]));
        assert_eq!(run(&Tile, &Attrs::new(), &times(&[0, 1])).shape(), [0, 2]);
        assert!(refusal(&Tile, &Attrs::new(), &times(&[2])).contains("rank 2"));
        assert!(refusal(&Tile, &Attrs::new(), &times(&[1, -1])).contains("-1 repeats"));
        assert!(refusal(&Tile, &Attrs::new(), &times(&[i64::MAX, i64::MAX])).contains("more than 16 GiB"));
    }
}
