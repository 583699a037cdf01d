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
