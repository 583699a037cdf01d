//! `SequenceMap`: runs its subgraph on each element of a sequence and collects each output in a sequence.
//!
//! Further inputs that are sequences give an element each, tensors are the same every time.
//! Spec: <https://onnx.ai/onnx/operators/onnx__SequenceMap.html>.

use super::body::{Iterations, infer, region, run};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::Type;

static SCHEMA: Schema = Schema::onnx("SequenceMap", &[17], (1, usize::MAX), (1, usize::MAX));

pub(crate) struct SequenceMap;

impl Op for SequenceMap {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let graph = &region(cx.regions, "body")?.1.graph;
        let formal = |arg: &Option<crate::Arg<'_>>| match arg.map(|arg| arg.ty) {
            Some(Type::Sequence(inner)) => (**inner).clone(),
            Some(other) => other.clone(),
            None => Type::Unknown,
        };
        let formals: Vec<Type> = cx.inputs.iter().map(formal).collect();
        // A symbol among an element's sizes is another number for each element: `SequenceAt` reads it so.
        let sequence = |inferred: Inferred| match inferred.ty {
            Type::Unknown => Inferred::default(),
            ty => Type::Sequence(Box::new(ty)).into(),
        };
        let mut outputs: Vec<Inferred> = infer(graph, &formals)?.into_iter().map(sequence).collect();
        outputs.resize(cx.outputs, Inferred::default());
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let inputs: Option<Vec<&Datum>> = cx.inputs.iter().copied().collect();
        let inputs = inputs.ok_or_else(|| EvalError::value("every input must be present"))?;
        let Some(Datum::Sequence(first)) = inputs.first().copied() else {
            return Err(EvalError::value("the first input must be a sequence"));
        };
        let lengths: Vec<usize> = inputs
            .iter()
            .filter_map(|datum| if let Datum::Sequence(items) = datum { Some(items.len()) } else { None })
            .collect();
        if lengths.iter().any(|length| *length != first.len()) {
            return Err(EvalError::value(format!("the sequences have different lengths {lengths:?}")));
        }
        let count = region(cx.regions, "body")?.1.graph.outputs.len();
        let mut results: Vec<Vec<Datum>> = vec![Vec::new(); count];
        let mut iterations = Iterations::begin();
        for position in 0..first.len() {
            iterations.next()?;
            let element = |datum: &&Datum| match datum {
                Datum::Sequence(items) => items[position].clone(),
                other => (*other).clone(),
            };
            let outputs = run(cx, "body", inputs.iter().map(element).collect())?;
            for (list, value) in results.iter_mut().zip(outputs) {
                iterations.collect(&value)?;
                list.push(value);
            }
        }
        Ok(results.into_iter().map(Datum::Sequence).collect())
    }

    /// The body is not seen here: what it computes is counted where it is lowered.
    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        Cost::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Outer;
    use super::*;
    use fusebox_ir::{Attrs, Builder, DType, Tensor, TensorType};

    /// Adds what is given to every element, and gives the element itself.
    fn body() -> fusebox_ir::Graph {
        let mut b = Builder::new();
        let element = b.input("element", TensorType::unranked(DType::F32));
        let added = b.input("added", TensorType::unranked(DType::F32));
        let (sum, same) = (b.op("Add", &[element, added]), b.op("Identity", &[element]));
        b.finish(&[sum, same])
    }

    fn scalar(value: f32) -> Datum {
        Tensor::scalar(value).into()
    }

    #[test]
    fn elements_pass_one_by_one() {
        let mut outer = Outer::new("SequenceMap", Attrs::new());
        let any = TensorType::unranked(DType::F32);
        let inputs = [outer.input("sequence", any.clone()), outer.input("added", any)];
        outer.region("body", body(), vec![]);
        let graph = outer.finish(&inputs, 2);
        let run = |added: Datum| {
            let sequence = Datum::Sequence(vec![scalar(1.0), scalar(2.0)]);
            crate::Interpreter::new(&[]).run(&graph, &[Some(sequence), Some(added)], &[])
        };
        let same = Datum::Sequence(vec![scalar(1.0), scalar(2.0)]);
        assert_eq!(
            run(scalar(10.0)).unwrap(),
            [Datum::Sequence(vec![scalar(11.0), scalar(12.0)]), same.clone()]
        );
        let paired = run(Datum::Sequence(vec![scalar(10.0), scalar(20.0)])).unwrap();
        assert_eq!(paired[0], Datum::Sequence(vec![scalar(11.0), scalar(22.0)]));
        let error = run(Datum::Sequence(vec![scalar(1.0)])).unwrap_err().to_string();
        assert!(error.contains("the sequences have different lengths [2, 1]"), "{error}");
    }
}
