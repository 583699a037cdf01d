//! Moves operands of a node between attributes and inputs, where an operator's form changed between opsets.
//!
//! Refuses to know operators: each operator's `upgrade` and `downgrade` say when and what. Lists of integers only, which
//! is what ONNX moved.

use crate::VersionError;
use crate::op::{Edit, Schema};
use fusebox_ir::{Attr, Graph, Tensor, ValueId};

/// An error that says why a node has no form in `edit.opset`.
pub(crate) fn inexpressible(schema: &Schema, edit: &Edit<'_>, reason: impl Into<String>) -> VersionError {
    VersionError::NotExpressible { op: schema.name.into(), opset: edit.opset, reason: reason.into() }
}

/// Checks that the operator exists in `edit.opset`.
///
/// # Errors
/// When it is younger.
pub(crate) fn existed(schema: &Schema, edit: &Edit<'_>) -> Result<(), VersionError> {
    let first = schema.since.first().copied().unwrap_or(0);
    if first <= edit.opset {
        Ok(())
    } else {
        Err(inexpressible(schema, edit, format!("it exists since opset {first}")))
    }
}

/// The constant behind a value: an initializer or the result of a Constant node.
pub(crate) fn constant_of(graph: &Graph, value: ValueId) -> Option<Tensor> {
    if let Some(tensor) = graph.constant(value) {
        return Some(tensor.clone());
    }
    let (node, _) = graph.value(value).producer?;
    let node = graph.node(node);
    node.op.is("Constant").then(|| crate::shape::constant_value(&node.attrs))?
}

/// Integers of a constant input.
pub(crate) fn constant_integers(edit: &Edit<'_>, position: usize) -> Option<Vec<i64>> {
    let value = edit.graph.node(edit.node).input(position)?;
    constant_of(edit.graph, value)?.integers()
}

/// Makes `value` the input at `position`, with absent inputs before it where there are none.
pub(crate) fn set_input(edit: &mut Edit<'_>, position: usize, value: Option<ValueId>) {
    let inputs = &mut edit.node().inputs;
    while inputs.len() <= position {
        inputs.push(None);
    }
    inputs[position] = value;
    while inputs.last().is_some_and(Option::is_none) {
        inputs.pop();
    }
}

/// Adds a constant and makes it the input at `position`.
pub(crate) fn set_constant(edit: &mut Edit<'_>, position: usize, tensor: Tensor) {
    let value = edit.graph.add_constant("", tensor);
    set_input(edit, position, Some(value));
}

/// Turns an attribute of integers, where present, into the input at `position`.
pub(crate) fn ints_to_input(edit: &mut Edit<'_>, name: &str, position: usize) {
    if let Some(Attr::Ints(values)) = edit.node().attrs.remove(name) {
        set_constant(edit, position, Tensor::vector(values));
    }
}

/// Turns the input at `position`, where present, into an attribute of integers.
///
/// # Errors
/// When it is not constant.
pub(crate) fn input_to_ints(
    schema: &Schema,
    edit: &mut Edit<'_>,
    position: usize,
    name: &str,
) -> Result<(), VersionError> {
    if edit.node().input(position).is_none() {
        return Ok(());
    }
    let values = constant_integers(edit, position)
        .ok_or_else(|| inexpressible(schema, edit, format!("its {name} must be constant there")))?;
    edit.node().attrs.set(name, values);
    set_input(edit, position, None);
    Ok(())
}

/// Removes an integer attribute that an older opset does not know.
///
/// # Errors
/// When its value is not the default.
pub(crate) fn drop_int(
    schema: &Schema,
    edit: &mut Edit<'_>,
    name: &str,
    default: i64,
) -> Result<(), VersionError> {
    let value = edit.node().attrs.int_or(name, default);
    if value != default {
        return Err(inexpressible(schema, edit, format!("{name}={value} does not exist there")));
    }
    edit.node().attrs.remove(name);
    Ok(())
}

/// Removes a string attribute that an older opset does not know.
///
/// # Errors
/// When its value is not the default.
pub(crate) fn drop_str(
    schema: &Schema,
    edit: &mut Edit<'_>,
    name: &str,
    default: &str,
) -> Result<(), VersionError> {
    let value = edit.node().attrs.str(name).unwrap_or(default).to_owned();
    if value != default {
        return Err(inexpressible(schema, edit, format!("{name}={value} does not exist there")));
    }
    edit.node().attrs.remove(name);
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing {
    //! Nodes for tests of version changes.

    use crate::VersionError;
    use crate::op::{Edit, Op};
    use fusebox_ir::{Attrs, Graph, Node, NodeId, Tensor, Type};

    /// A node over constants with one output.
    pub(crate) fn node(op: &dyn Op, attrs: Attrs, inputs: &[Tensor]) -> (Graph, NodeId) {
        let mut graph = Graph::new();
        let inputs: Vec<_> = inputs.iter().map(|t| Some(graph.add_constant("", t.clone()))).collect();
        let output = graph.add_typed(Type::Unknown);
        let id = graph.add_node(Node::new(op.schema().op_name(), inputs, [Some(output)], attrs));
        (graph, id)
    }

    /// Upgrades a node written for `opset`.
    pub(crate) fn upgraded(
        op: &dyn Op,
        attrs: Attrs,
        inputs: &[Tensor],
        opset: i64,
    ) -> Result<(Graph, NodeId), VersionError> {
        let (mut graph, node) = self::node(op, attrs, inputs);
        op.upgrade(&mut Edit { graph: &mut graph, node, opset })?;
        Ok((graph, node))
    }

    /// Downgrades a node to `opset`.
    pub(crate) fn downgraded(
        op: &dyn Op,
        attrs: Attrs,
        inputs: &[Tensor],
        opset: i64,
    ) -> Result<(Graph, NodeId), VersionError> {
        let (mut graph, node) = self::node(op, attrs, inputs);
        op.downgrade(&mut Edit { graph: &mut graph, node, opset })?;
        Ok((graph, node))
    }

    /// Integers of a node's constant input.
    pub(crate) fn input_ints(graph: &Graph, node: NodeId, position: usize) -> Option<Vec<i64>> {
        graph.constant(graph.node(node).input(position)?)?.integers()
    }
}
