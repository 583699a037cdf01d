//! `PRelu`: `x` above zero, `slope · x` below, with a slope tensor that broadcasts to `x`.
//!
//! Before opset 7 a vector of slopes belonged to the channels (axis 1) instead.
//! Spec: <https://onnx.ai/onnx/operators/onnx__PRelu.html>.

use crate::broadcast::broadcast_to;
use crate::forms::set_input;
use crate::inference::{NUMBERS, elementwise, expect_same, same_as_first};
use crate::number::Number;
use crate::op::{Edit, Eval, Infer, Inferred, Op, Schema};
use crate::versions::{add_node, input_rank, input_type, refuse};
use crate::view::{dispatch, one, tensor, view};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{Attrs, Tensor, TensorType};
use ndarray::Zip;

static SCHEMA: Schema = Schema::onnx("PRelu", &[1, 6, 7, 9, 16], (2, 2), (1, 1));

pub(crate) struct PRelu;

fn leak<T: Number>(x: T, slope: T) -> T {
    if x < T::ZERO { x.times(slope) } else { x }
}

impl Op for PRelu {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        expect_same(cx, 0, 1)?;
        // Only for its check: the slope broadcasts to `x`, never the other way round.
        elementwise(cx, NUMBERS)?;
        same_as_first(cx, NUMBERS)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let (x, slope) = (cx.tensor(0)?, cx.tensor(1)?);
        dispatch!(numbers, x.dtype(), T => {
            let mut result = view::<T>(x)?.into_owned();
            let slope = view::<T>(slope)?;
            Zip::from(&mut result).and(broadcast_to(&slope, x.shape())?).for_each(|x, slope| *x = leak(*x, *slope));
            one(tensor(result)?)
        })
    }

    fn upgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        if edit.opset >= 7 {
            return Ok(());
        }
        let (Some(rank), Some(of_slope)) = (input_rank(edit, 0), input_rank(edit, 1)) else {
            return Err(refuse(edit, "the ranks of its inputs must be known: slopes belonged to axis 1"));
        };
        let is_one = input_type(edit, 1).tensor().and_then(TensorType::sizes).is_some_and(|s| s == [1]);
        if of_slope != 1 || rank < 2 || is_one {
            return Ok(());
        }
        if let Some(slope) = edit.node().input(1) {
            let mut dims = vec![1i64; rank - 1];
            dims[0] = -1;
            let dims = edit.graph.add_constant("", Tensor::vector(dims));
            let slope = add_node(edit, "Reshape", &[slope, dims], Attrs::new());
            set_input(edit, 1, Some(slope));
        }
        Ok(())
    }

    fn downgrade(&self, edit: &mut Edit<'_>) -> Result<(), VersionError> {
        let one = input_type(edit, 1).tensor().and_then(TensorType::sizes);
        if edit.opset >= 7 || one.is_some_and(|sizes| sizes == [1]) {
            return Ok(());
        }
        Err(refuse(edit, "slopes broadcast since opset 7"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{refusal, run, t};

    #[test]
    fn old_slopes_belong_to_the_channels() {
        let x = t(&[1, 2, 2], &[-1f32, -2.0, -3.0, 4.0]);
        let inputs = [x, t(&[2], &[0.5f32, 0.1])];
        let (mut graph, node) = crate::forms::testing::node(&PRelu, Attrs::new(), &inputs);
        graph.outputs.extend(graph.node(node).output(0));
        PRelu.upgrade(&mut Edit { graph: &mut graph, node, opset: 6 }).unwrap();
        let found = crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap();
        crate::check::close(found[0].tensor().unwrap(), &[-0.5, -1.0, -0.3, 4.0]);
        assert!(PRelu.downgrade(&mut Edit { graph: &mut graph, node, opset: 6 }).is_err());
        assert!(PRelu.downgrade(&mut Edit { graph: &mut graph, node, opset: 7 }).is_ok());
    }

    #[test]
    fn slopes_broadcast_to_the_input_only() {
        let x = t(&[2, 2], &[-1f32, 2.0, -3.0, -4.0]);
        let result = run(&PRelu, &Attrs::new(), &[x.clone(), t(&[2, 1], &[0.5f32, 0.1])]);
        crate::check::close(&result, &[-0.5, 2.0, -0.3, -0.4]);
        let message = refusal(&PRelu, &Attrs::new(), &[x, t(&[3, 1, 1], &[0f32; 3])]);
        assert_eq!(message, "shape [3, 1, 1] does not broadcast to [2, 2]");
    }
}
