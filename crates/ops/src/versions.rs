//! Edits that many operators make when a node moves between opsets: refusals, constants, nodes put before and after.
//! Operands that move between attributes and inputs are in `forms`.
//!
//! Upgrades go from any opset since 7 to the newest form; downgrades go from the newest form to any opset, or refuse
//! with the reason.

use crate::VersionError;
use crate::forms::{constant_of, set_input};
use crate::op::{Edit, Op};
use fusebox_ir::{Attrs, Node, NodeId, OpName, Tensor, Type, ValueId};

/// A refusal for the node's operator and opset.
pub fn refuse(edit: &mut Edit<'_>, reason: impl Into<String>) -> VersionError {
    let (op, opset) = (edit.node().op.to_string(), edit.opset);
    VersionError::NotExpressible { op, opset, reason: reason.into() }
}

/// Checks that the operator exists in the opset, as the default `downgrade` does.
///
/// # Errors
/// When it is younger.
pub fn exists(op: &dyn Op, edit: &mut Edit<'_>) -> Result<(), VersionError> {
    let first = op.schema().since.first().copied().unwrap_or(1);
    if first <= edit.opset { Ok(()) } else { Err(refuse(edit, format!("it exists since opset {first}"))) }
}

/// The constant behind input `index`; `None` when the input is absent.
///
/// # Errors
/// When the input is present but not constant.
pub fn constant_input(edit: &mut Edit<'_>, index: usize) -> Result<Option<Tensor>, VersionError> {
    let Some(value) = edit.node().input(index) else { return Ok(None) };
    match constant_of(edit.graph, value) {
        Some(tensor) => Ok(Some(tensor)),
        None => Err(refuse(edit, format!("input {index} must be constant: there it was an attribute"))),
    }
}

/// Turns a constant integer input into an attribute.
///
/// # Errors
/// When the input is present but not constant integers.
pub fn input_to_ints(edit: &mut Edit<'_>, index: usize, name: &str) -> Result<(), VersionError> {
    let Some(tensor) = constant_input(edit, index)? else { return Ok(()) };
    let Some(values) = tensor.integers() else {
        return Err(refuse(edit, format!("input {index} must be integers, found {}", tensor.dtype())));
    };
    edit.node().attrs.set(name, fusebox_ir::Attr::Ints(values));
    set_input(edit, index, None);
    Ok(())
}

/// Type of input `index`.
pub fn input_type(edit: &mut Edit<'_>, index: usize) -> Type {
    let value = edit.node().input(index);
    value.map_or(Type::Unknown, |value| edit.graph.value(value).ty.clone())
}

/// Rank of input `index`, when known.
pub fn input_rank(edit: &mut Edit<'_>, index: usize) -> Option<usize> {
    input_type(edit, index).tensor().and_then(fusebox_ir::TensorType::rank)
}

/// Adds a standard node with one output.
pub fn add_node(edit: &mut Edit<'_>, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    let output = edit.graph.add_typed(Type::Unknown);
    let inputs = inputs.iter().copied().map(Some);
    edit.graph.add_node(Node::new(OpName::onnx(name), inputs, [Some(output)], attrs));
    output
}

/// Lets the node write a new value and a node `name` (reading it and `others`) write what output 0 was.
pub fn append_node(edit: &mut Edit<'_>, name: &str, others: &[ValueId], attrs: Attrs) -> Option<NodeId> {
    let id = edit.node;
    let mut outputs = edit.node().outputs.clone();
    let old = outputs.first().copied().flatten()?;
    let fresh = edit.graph.add_typed(Type::Unknown);
    outputs[0] = Some(fresh);
    edit.graph.set_outputs(id, outputs);
    let inputs: Vec<_> = [fresh].iter().chain(others).copied().map(Some).collect();
    Some(edit.graph.add_node(Node::new(OpName::onnx(name), inputs, [Some(old)], attrs)))
}

/// Turns the node into another standard operator on the same outputs.
pub fn replace(edit: &mut Edit<'_>, name: &str, inputs: &[ValueId], attrs: Attrs) {
    let node = edit.node();
    node.op = OpName::onnx(name);
    node.inputs = inputs.iter().copied().map(Some).collect();
    node.attrs = attrs;
}

/// Upgrades a binary operator from opsets before 7, where the second operand was broadcast only if `broadcast` said so,
/// and from axis `axis` on.
///
/// # Errors
/// When an axis is given and the ranks are not known.
pub fn old_broadcast(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset >= 7 {
        return Ok(());
    }
    let (broadcasts, axis) = (edit.node().attrs.int_or("broadcast", 0) != 0, edit.node().attrs.int("axis"));
    if let Some(axis) = axis.filter(|_| broadcasts) {
        let (Some(first), Some(second)) = (input_rank(edit, 0), input_rank(edit, 1)) else {
            return Err(refuse(edit, "its axis needs operands of known rank"));
        };
        let axis = crate::axis::normalize_end(axis, first)?;
        let missing = first.checked_sub(axis + second);
        let missing =
            missing.ok_or_else(|| refuse(edit, format!("{second} axes do not fit from axis {axis} on")))?;
        if let Some(value) = edit.node().input(1).filter(|_| missing > 0) {
            let axes = (second..second + missing).map(|axis| axis as i64).collect();
            let axes = edit.graph.add_constant("", Tensor::vector::<i64>(axes));
            let widened = add_node(edit, "Unsqueeze", &[value, axes], Attrs::new());
            set_input(edit, 1, Some(widened));
        }
    }
    let attrs = &mut edit.node().attrs;
    attrs.remove("broadcast");
    attrs.remove("axis");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::t;
    use crate::elementwise::OPS;
    use crate::forms::testing;

    #[test]
    fn operands_were_broadcast_from_an_axis_on() {
        let add = *OPS.iter().find(|op| op.schema().name == "Add").unwrap();
        let (a, b) = (t(&[2, 3, 1], &[0f32; 6]), t(&[3], &[1f32, 2.0, 3.0]));
        let attrs = Attrs::new().with("broadcast", 1).with("axis", 1);
        let (mut graph, node) = testing::upgraded(add, attrs, &[a, b], 6).unwrap();
        assert!(graph.node(node).attrs.is_empty());
        graph.outputs = vec![graph.node(node).output(0).unwrap()];
        let sum =
            crate::Interpreter::new(&[]).run(&graph, &[], &[]).unwrap().remove(0).into_tensor().unwrap();
        assert_eq!(sum, t(&[2, 3, 1], &[1f32, 2.0, 3.0, 1.0, 2.0, 3.0]));
        let wide = [t(&[2], &[0f32; 2]), t(&[2, 2], &[0f32; 4])];
        let attrs = Attrs::new().with("broadcast", 1).with("axis", 0);
        assert!(testing::upgraded(add, attrs, &wide, 6).is_err());
    }
}
