//! The unfused reference: every operator by its own evaluation.

use fusebox_ir::{Graph, Tensor};
use fusebox_ops::{Datum, EvalError, Interpreter};

/// Evaluates a graph without functions on inputs in the graph's order.
///
/// # Errors
/// The first node that fails, by name.
pub fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let inputs: Vec<Option<Datum>> = inputs.iter().cloned().map(|t| Some(Datum::Tensor(t))).collect();
    Interpreter::new(&[]).run(graph, &inputs, &[])?.into_iter().map(Datum::into_tensor).collect()
}
