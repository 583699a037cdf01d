//! What Softmax, LogSoftmax and Hardmax share: the axis, evaluation along it, and the old meaning before opset 13.
//!
//! Before opset 13 they flattened the input to a matrix at `axis` (default 1) and worked on its rows. Where the axis is
//! the last one both meanings agree; elsewhere nodes around the operator express the one by the other.

use crate::axis::normalize;
use crate::inference::{FLOATS, same_as_first};
use crate::lanes::map_lanes;
use crate::op::{Edit, Eval, Infer, Inferred};
use crate::versions::{add_node, append_node, input_rank, refuse};
use crate::view::one;
use crate::{Datum, EvalError, InferError, VersionError};
use fusebox_ir::{Attr, Attrs, TensorType};

/// Opset in which the axis got its present meaning.
const SINGLE_AXIS_SINCE: i64 = 13;

/// Types of the outputs.
pub(super) fn infer(cx: &Infer<'_>) -> Result<Vec<Inferred>, InferError> {
    if let Some(rank) = cx.tensor(0).and_then(TensorType::rank) {
        normalize(cx.attrs.int_or("axis", -1), rank)?;
    }
    same_as_first(cx, FLOATS)
}

/// `f` on every lane along the axis.
pub(super) fn eval(cx: &Eval<'_>, f: impl Fn(&mut [f64])) -> Result<Vec<Datum>, EvalError> {
    let x = cx.tensor(0)?;
    let axis = normalize(cx.attrs.int_or("axis", -1), x.shape().len())?;
    one(map_lanes(x, axis, f)?)
}

/// Largest element of a lane.
pub(super) fn shift(lane: &[f64]) -> f64 {
    lane.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Expresses rows of the flattened matrix by the last axis.
pub(super) fn upgrade(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset >= SINGLE_AXIS_SINCE {
        return Ok(());
    }
    let axis = edit.node().attrs.int_or("axis", 1);
    let rank = input_rank(edit, 0);
    edit.node().attrs.set("axis", -1i64);
    let last = match rank {
        Some(rank) => normalize(axis, rank)? + 1 == rank,
        None => axis == -1,
    };
    let Some(input) = edit.node().input(0).filter(|_| !last) else { return Ok(()) };
    let shape = add_node(edit, "Shape", &[input], Attrs::new());
    let flat = add_node(edit, "Flatten", &[input], Attrs::new().with("axis", axis));
    edit.node().inputs[0] = Some(flat);
    append_node(edit, "Reshape", &[shape], Attrs::new());
    Ok(())
}

/// Expresses one axis by rows of the flattened matrix: the axis is moved to the back and returned.
pub(super) fn downgrade(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset >= SINGLE_AXIS_SINCE {
        return Ok(());
    }
    let axis = edit.node().attrs.int_or("axis", -1);
    let Some(rank) = input_rank(edit, 0) else {
        if axis == -1 && edit.opset >= 11 {
            edit.node().attrs.set("axis", -1i64);
            return Ok(());
        }
        return Err(refuse(edit, "the axis meant a flattening before opset 13, and the rank is not known"));
    };
    let (axis, last) = (normalize(axis, rank)?, rank - 1);
    edit.node().attrs.set("axis", last as i64);
    let Some(input) = edit.node().input(0).filter(|_| axis != last) else { return Ok(()) };
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(axis, last);
    let swap = Attrs::new().with("perm", Attr::Ints(order));
    let moved = add_node(edit, "Transpose", &[input], swap.clone());
    edit.node().inputs[0] = Some(moved);
    append_node(edit, "Transpose", &[], swap);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::softmax::Softmax;
    use crate::check::{close, t};
    use crate::forms::testing::node;
    use crate::op::{Edit, Op};
    use crate::{Interpreter, VersionError};
    use fusebox_ir::{Attrs, Graph, NodeId, Tensor, Type};

    fn old_form(axis: Option<i64>) -> (Graph, NodeId) {
        let attrs = axis.map_or(Attrs::new(), |axis| Attrs::new().with("axis", axis));
        let (mut graph, id) = node(&Softmax, attrs, &[t(&[1, 2, 2], &[0f32, 0.0, 0.0, 3f32.ln()])]);
        graph.outputs = vec![graph.node(id).output(0).unwrap()];
        (graph, id)
    }

    fn forget_type(graph: &mut Graph, id: NodeId) {
        let input = graph.node(id).input(0).unwrap();
        graph.value_mut(input).ty = Type::Unknown;
    }

    fn value(graph: &Graph) -> Tensor {
        graph.verify().unwrap();
        Interpreter::new(&[]).run(graph, &[], &[]).unwrap().remove(0).into_tensor().unwrap()
    }

    #[test]
    fn the_flattening_meaning_is_written_out() {
        for forget in [false, true] {
            let (mut graph, id) = old_form(None);
            if forget {
                forget_type(&mut graph, id);
            }
            Softmax.upgrade(&mut Edit { graph: &mut graph, node: id, opset: 11 }).unwrap();
            let result = value(&graph);
            assert_eq!(result.shape(), [1, 2, 2]);
            close(&result, &[1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 0.5]);
        }
    }

    #[test]
    fn on_the_last_axis_nothing_is_added() {
        let (mut graph, id) = old_form(Some(2));
        Softmax.upgrade(&mut Edit { graph: &mut graph, node: id, opset: 12 }).unwrap();
        assert_eq!(graph.node_count(), 1);
        close(&value(&graph), &[0.5, 0.5, 0.25, 0.75]);
    }

    #[test]
    fn another_axis_is_moved_to_the_back_for_old_opsets() {
        let (mut graph, id) = old_form(Some(1));
        let expected = value(&graph);
        Softmax.downgrade(&mut Edit { graph: &mut graph, node: id, opset: 9 }).unwrap();
        let names: Vec<String> = graph.nodes().map(|(_, n)| n.op.to_string()).collect();
        assert_eq!(names, ["Softmax", "Transpose", "Transpose"]);
        assert_eq!(graph.node(id).attrs.int("axis"), Some(2));
        assert_eq!(value(&graph), expected);
    }

    #[test]
    fn an_unknown_rank_is_refused_where_it_matters() {
        let (mut graph, id) = old_form(Some(1));
        forget_type(&mut graph, id);
        let error = Softmax.downgrade(&mut Edit { graph: &mut graph, node: id, opset: 12 }).unwrap_err();
        assert!(matches!(error, VersionError::NotExpressible { opset: 12, .. }), "{error}");
    }
}
