//! What Min, Max, Sum and Mean share: any number of inputs, broadcast together.
//!
//! Before opset 8 they did not broadcast, which a downgrade has to respect.

use crate::broadcast::{broadcast_sizes, broadcast_to, check_elements};
use crate::number::Number;
use crate::op::{Edit, Eval};
use crate::versions::{input_type, refuse};
use crate::view::{dispatch, from_f64, one, tensor, to_f64, view};
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::Tensor;
use ndarray::{ArrayD, IxDyn, Zip};

/// A function that folds two elements into one.
pub(super) trait Fold {
    /// On elements.
    fn apply<T: Number>(a: T, b: T) -> T;
}

fn inputs<'a>(cx: &Eval<'a>) -> Result<Vec<&'a Tensor>, EvalError> {
    if cx.inputs.is_empty() {
        return Err(InferError::MissingInput { index: 0 }.into());
    }
    (0..cx.inputs.len()).map(|index| cx.tensor(index)).collect()
}

/// Folds all inputs in their own type.
pub(super) fn eval<F: Fold>(cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let inputs = inputs(cx)?;
    let shape = broadcast_sizes(&inputs.iter().map(|t| t.shape()).collect::<Vec<_>>())?;
    check_elements(&shape)?;
    dispatch!(numbers, inputs[0].dtype(), T => {
        let mut result = broadcast_to(&view::<T>(inputs[0])?, &shape)?.to_owned();
        for input in &inputs[1..] {
            let next = view::<T>(input)?;
            Zip::from(&mut result).and(broadcast_to(&next, &shape)?).for_each(|a, b| *a = F::apply(*a, *b));
        }
        one(tensor(result)?)
    })
}

/// The f64 sum of all float inputs times `scale(count)`, rounded once.
pub(super) fn eval_sum(cx: &Eval<'_>, scale: impl Fn(f64) -> f64) -> Result<Vec<Datum>, EvalError> {
    let inputs = inputs(cx)?;
    let shape = broadcast_sizes(&inputs.iter().map(|t| t.shape()).collect::<Vec<_>>())?;
    check_elements(&shape)?;
    let mut sum = ArrayD::<f64>::zeros(IxDyn(&shape));
    for input in &inputs {
        sum += &to_f64(input)?;
    }
    let factor = scale(inputs.len() as f64);
    sum.mapv_inplace(|x| x * factor);
    one(from_f64(inputs[0].dtype(), &sum)?)
}

/// Refuses opsets without broadcasting where the inputs may differ in shape.
pub(super) fn downgrade(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset >= 8 {
        return Ok(());
    }
    let count = edit.node().inputs.len();
    let types: Vec<_> = (0..count).map(|index| input_type(edit, index)).collect();
    let shaped = types.iter().all(|ty| ty.tensor().is_some_and(|t| t.shape.is_some()));
    let equal = types.windows(2).all(|pair| pair[0] == pair[1]);
    if count == 1 || (shaped && equal) {
        return Ok(());
    }
    Err(refuse(edit, "its inputs do not provably have one shape, and it broadcasts since opset 8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::t;
    use crate::elementwise::max::Max;
    use fusebox_ir::Attrs;

    #[test]
    fn broadcasting_needs_opset_8() {
        let refused = |inputs: &[Tensor]| {
            let (mut graph, node) = crate::forms::testing::node(&Max, Attrs::new(), inputs);
            downgrade(&mut Edit { graph: &mut graph, node, opset: 7 }).is_err()
        };
        let (vector, scalar) = (t(&[2], &[1f32, 2.0]), t(&[], &[1f32]));
        assert!(refused(&[vector.clone(), scalar]));
        assert!(!refused(&[vector.clone(), vector]));
    }
}
