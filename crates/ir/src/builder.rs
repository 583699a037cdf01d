//! Builds graphs in code: function bodies of fused operators, tests, pass output.

use crate::{Attrs, Graph, Node, OpName, Tensor, Type, ValueId};

/// Adds nodes to a graph one after another.
#[derive(Debug, Default)]
pub struct Builder {
    /// The graph so far.
    pub graph: Graph,
}

impl Builder {
    /// Starts an empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, ty: impl Into<Type>) -> ValueId {
        self.graph.add_input(name, ty)
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant("", tensor)
    }

    /// Adds a scalar f32 constant.
    pub fn f32(&mut self, value: f32) -> ValueId {
        self.constant(Tensor::scalar(value))
    }

    /// Adds an i64 vector constant: shapes, axes, pads.
    pub fn i64s(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::vector(values.to_vec()))
    }

    /// Adds a standard operator with one output and no attributes.
    pub fn op(&mut self, name: &str, inputs: &[ValueId]) -> ValueId {
        self.op_with(name, inputs, Attrs::new())
    }

    /// Adds a standard operator with one output.
    pub fn op_with(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.node(OpName::onnx(name), &inputs, 1, attrs)[0]
    }

    /// Adds any operator with any number of outputs; inputs may be absent.
    pub fn node(
        &mut self,
        op: OpName,
        inputs: &[Option<ValueId>],
        outputs: usize,
        attrs: Attrs,
    ) -> Vec<ValueId> {
        let values: Vec<ValueId> = (0..outputs).map(|_| self.graph.add_typed(Type::Unknown)).collect();
        self.graph.add_node(Node::new(op, inputs.iter().copied(), values.iter().copied().map(Some), attrs));
        values
    }

    /// Names the outputs and returns the graph.
    pub fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph
    }
}
