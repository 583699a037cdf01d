//! `Loop`: runs its subgraph until a trip count or a condition ends it; carries values and collects others.
//!
//! Spec: <https://onnx.ai/onnx/operators/onnx__Loop.html>. Loops that never end are refused by a count.

use super::body::{Iterations, condition, join, known_condition, region, run, stabilize, stack};
use crate::op::{Eval, Infer, Inferred, Op, Schema};
use crate::{Cost, Datum, EvalError, InferError, Shapes};
use fusebox_ir::{DType, Dim, Graph, Tensor, TensorType, Type};

static SCHEMA: Schema =
    Schema::onnx("Loop", &[1, 11, 13, 16, 19, 21, 23, 24, 25], (0, usize::MAX), (1, usize::MAX));

pub(crate) struct Loop;

impl Op for Loop {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn infer(&self, cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
        let graph = &region(cx.regions, "body")?.1.graph;
        let carried: Vec<Type> =
            cx.inputs.iter().skip(2).map(|arg| arg.map_or(Type::Unknown, |a| a.ty.clone())).collect();
        let own = [TensorType::new(DType::I64, []).into(), TensorType::new(DType::Bool, []).into()];
        let (formals, types) = stabilize(cx, graph, &own, carried)?;
        let counted = match cx.input(1) {
            None => true,
            Some(_) => known_condition(cx, 1) == Some(true) && always_goes_on(graph, &types),
        };
        let trips = cx.dims(0).and_then(|dims| dims.first().cloned()).filter(|_| counted);
        let trips = trips.unwrap_or_else(|| (cx.fresh)());
        let output = |(position, inferred): (usize, Inferred)| match formals.get(position) {
            // With no iteration at all the result is what was carried in.
            Some(before) => join(before, &inferred.ty, cx).into(),
            None => stacked(&inferred.ty, &trips).into(),
        };
        let mut outputs: Vec<Inferred> = types.into_iter().skip(1).enumerate().map(output).collect();
        outputs.resize(cx.outputs, Inferred::default());
        Ok(outputs)
    }

    fn eval(&self, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
        let limit = cx.integers(0)?.and_then(|limit| limit.first().copied());
        let mut go_on = match cx.inputs.get(1).copied().flatten() {
            Some(datum) => condition(datum)?,
            None => true,
        };
        let has_condition = cx.inputs.get(1).copied().flatten().is_some();
        let absent = |index: usize| EvalError::Infer(InferError::MissingInput { index });
        let carried = cx.inputs.iter().enumerate().skip(2);
        let carried = carried.map(|(index, datum)| datum.cloned().ok_or_else(|| absent(index)));
        let mut carried: Vec<Datum> = carried.collect::<Result<_, _>>()?;
        let graph = &region(cx.regions, "body")?.1.graph;
        let count = graph.outputs.len().checked_sub(1 + carried.len());
        let count = count.ok_or_else(|| EvalError::value("the body gives fewer values than it carries"))?;
        let mut collected: Vec<Vec<Datum>> = vec![Vec::new(); count];
        let (mut iterations, mut iteration) = (Iterations::begin(), 0usize);
        while go_on && limit.is_none_or(|limit| i64::try_from(iteration).is_ok_and(|i| i < limit)) {
            iterations.next()?;
            let own = [Tensor::scalar(iteration as i64), Tensor::from_bools(vec![], [go_on])?];
            let inputs = own.into_iter().map(Datum::from).chain(carried).collect();
            let mut results = run(cx, "body", inputs)?.into_iter();
            let again = results.next().map(|datum| condition(&datum)).transpose()?.unwrap_or(false);
            // Without a condition going in, a trip count alone ends the loop.
            go_on = again || !has_condition && limit.is_some();
            carried = results.by_ref().take(graph.outputs.len() - 1 - count).collect();
            for (list, value) in collected.iter_mut().zip(results) {
                iterations.collect(&value)?;
                list.push(value);
            }
            iteration += 1;
        }
        let declared = |position: usize| &graph.value(graph.outputs[1 + carried.len() + position]).ty;
        let scans = collected.into_iter().enumerate().map(|(at, values)| stack(values, 0, declared(at)));
        let scans: Vec<Datum> = scans.collect::<Result<_, _>>()?;
        Ok(carried.into_iter().chain(scans).collect())
    }

    /// The body is not seen here: what it computes is counted where it is lowered.
    fn cost(&self, _shapes: &Shapes<'_>) -> Cost {
        Cost::default()
    }
}

/// Whether the body hands on the condition that it was given, or one that is always true.
fn always_goes_on(graph: &Graph, types: &[Inferred]) -> bool {
    let known = types.first().and_then(|c| c.dims.as_ref()).and_then(|d| d.first()).and_then(Dim::value);
    let Some(mut value) = graph.outputs.first().copied() else { return false };
    while let Some((producer, _)) = graph.value(value).producer
        && graph.node(producer).op.is("Identity")
        && let Some(source) = graph.node(producer).input(0)
    {
        value = source;
    }
    let holds =
        |tensor: &Tensor| tensor.dtype() == DType::Bool && tensor.data().iter().all(|byte| *byte != 0);
    known == Some(1) || graph.inputs.get(1) == Some(&value) || graph.constant(value).is_some_and(holds)
}

fn stacked(ty: &Type, trips: &Dim) -> Type {
    let Some(tensor) = ty.tensor() else { return Type::Unknown };
    let shape = tensor.shape.as_ref().map(|shape| [trips].into_iter().chain(shape).cloned().collect());
    TensorType { dtype: tensor.dtype, shape }.into()
}

#[cfg(test)]
mod tests {
    use crate::control::testing::Outer;
    use fusebox_ir::{Attrs, Builder, DType, Graph, Tensor, TensorType, ValueId};

    /// Doubles what it carries and collects it before; goes on while it is below 10.
    fn body() -> Graph {
        let mut b = Builder::new();
        b.input("i", TensorType::new(DType::I64, []));
        b.input("c", TensorType::new(DType::Bool, []));
        let x = b.input("x", TensorType::new(DType::F32, []));
        let (two, ten) = (b.f32(2.0), b.f32(10.0));
        let doubled = b.op("Mul", &[x, two]);
        let again = b.op("Less", &[doubled, ten]);
        let seen = b.op("Identity", &[x]);
        b.finish(&[again, doubled, seen])
    }

    fn outer(inputs: impl FnOnce(&mut Outer) -> [Option<ValueId>; 3]) -> Graph {
        let mut outer = Outer::new("Loop", Attrs::new());
        let inputs = inputs(&mut outer);
        outer.region("body", body(), vec![]);
        outer.finish_optional(&inputs, 2)
    }

    fn run(graph: &Graph) -> Vec<Tensor> {
        let outputs = crate::Interpreter::new(&[]).run(graph, &[], &[]).unwrap();
        outputs.into_iter().map(|datum| datum.into_tensor().unwrap()).collect()
    }

    #[test]
    fn a_condition_ends_it() {
        let graph = outer(|o| {
            let go = o.constant(Tensor::from_bools(vec![], [true]).unwrap());
            [None, Some(go), Some(o.constant(Tensor::scalar(1f32)))]
        });
        assert_eq!(run(&graph), [Tensor::scalar(16f32), Tensor::vector(vec![1f32, 2.0, 4.0, 8.0])]);
    }

    #[test]
    fn a_trip_count_ends_it() {
        let mut graph = outer(|o| {
            let (trips, one) = (o.constant(Tensor::scalar(5i64)), o.constant(Tensor::scalar(1f32)));
            [Some(trips), None, Some(one)]
        });
        let expected = [Tensor::scalar(32f32), Tensor::vector(vec![1f32, 2.0, 4.0, 8.0, 16.0])];
        assert_eq!(run(&graph), expected);
        crate::infer_graph(&mut graph, &[]).unwrap();
        let types: Vec<String> = graph.outputs.iter().map(|id| graph.value(*id).ty.to_string()).collect();
        assert_eq!(types, ["f32[]", "f32[5]"]);
    }

    /// A loop of so many trips around `body`, which takes what it carries and gives one output.
    fn around(inner: Graph) -> Graph {
        let mut outer = Outer::new("Loop", Attrs::new());
        let x = outer.input("x", TensorType::new(DType::F32, []));
        let trips = outer.constant(Tensor::scalar(i64::MAX));
        outer.region("body", inner, vec![]);
        outer.finish(&[trips, trips, x], 1)
    }

    #[test]
    fn loops_that_do_not_end_are_refused_also_inside_each_other() {
        let mut graph = Graph::new();
        for depth in 0..4 {
            let mut body = if depth == 0 { Graph::new() } else { around(graph) };
            let x = body.inputs.pop().unwrap_or_else(|| body.add_typed(TensorType::new(DType::F32, [])));
            let [i, go] = [DType::I64, DType::Bool].map(|dtype| body.add_typed(TensorType::new(dtype, [])));
            body.inputs = vec![i, go, x];
            let y = body.outputs.pop().unwrap_or(x);
            body.outputs = vec![go, y];
            for id in body.node_ids() {
                body.node_mut(id).inputs[1] = None;
            }
            graph = body;
        }
        let mut graph = around(graph);
        let id = graph.node_ids()[0];
        graph.node_mut(id).inputs[1] = None;
        let start = crate::Datum::from(Tensor::scalar(1f32));
        let error = crate::Interpreter::new(&[]).run(&graph, &[Some(start)], &[]).unwrap_err();
        assert!(error.to_string().contains("has not ended after 1000000 iterations"), "{error}");
    }

    #[test]
    fn no_iteration_gives_what_went_in() {
        let graph = outer(|o| {
            let (trips, one) = (o.constant(Tensor::scalar(0i64)), o.constant(Tensor::scalar(1f32)));
            [Some(trips), None, Some(one)]
        });
        let mut graph = graph;
        let region = &mut graph.node_mut(fusebox_ir::NodeId(0)).regions[0].graph;
        let collected = region.outputs[2];
        region.value_mut(collected).ty = TensorType::new(DType::F32, []).into();
        assert_eq!(run(&graph), [Tensor::scalar(1f32), Tensor::vector(Vec::<f32>::new())]);
    }
}
