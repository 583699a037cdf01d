//! `If`: one of two subgraphs, as a condition says.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__If.html>.

use super::body::{condition, infer, join, known_condition, region, run};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Cost, Datum, EvalError, InferError, Shapes};

static SCHEMA: Schema = Schema::onnx("If", &[1, 11, 13, 16, 19, 21, 23, 24, 25], (1, 1), (1, usize::MAX));

pub(crate) struct If;

impl Op for If {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let branch = |name: &str| infer(&region(cx.regions, name)?.1.graph, &[]);
        let (yes, no) = (branch("then_branch")?, branch("else_branch")?);
        let chosen = known_condition(cx, 0);
        let mut outputs: Vec<Inferred> = match chosen {
            Some(true) => yes,
            Some(false) => no,
            None => yes.iter().zip(&no).map(|(a, b)| join(&a.ty, &b.ty, cx).into()).collect(),
        };
        outputs.resize(cx.outputs, Inferred::default());
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let datum = cx.inputs.first().copied().flatten().ok_or(InferError::MissingInput { index: 0 })?;
        let name = if condition(datum)? { "then_branch" } else { "else_branch" };
        run(cx, name, Vec::new())
    }

    /// The branches are not seen here: what they compute is counted where they are lowered.
    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        Cost::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::control::testing::{Outer, branch};
    use fusebox_ir::{Attrs, DType, Tensor, TensorType};

    #[test]
    fn the_condition_chooses() {
        let mut outer = Outer::new("If", Attrs::new());
        let x = outer.constant(Tensor::vector(vec![1f32, -2.0]));
        let condition = outer.input("c", TensorType::new(DType::Bool, []));
        let ty = TensorType::known(DType::F32, &[2]);
        outer.region("then_branch", branch(&ty, |b, x| b.op("Neg", &[x])), vec![x]);
        outer.region("else_branch", branch(&ty, |b, x| b.op("Abs", &[x])), vec![x]);
        let mut graph = outer.finish(&[condition], 1);
        let typing = crate::infer_graph(&mut graph, &[]).unwrap();
        assert!(typing.untyped.is_empty());
        assert_eq!(graph.value(graph.outputs[0]).ty.to_string(), "f32[2]");
        let run = |c: bool| {
            let c = Tensor::from_bools(vec![], [c]).unwrap();
            crate::Interpreter::new(&[]).run(&graph, &[Some(c.into())], &[]).unwrap().remove(0)
        };
        assert_eq!(run(true), Tensor::vector(vec![-1f32, 2.0]).into());
        assert_eq!(run(false), Tensor::vector(vec![1f32, 2.0]).into());
    }
}
