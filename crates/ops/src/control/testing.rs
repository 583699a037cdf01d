//! Graphs of one node with subgraphs, for tests.

use fusebox_ir::{Attrs, Builder, Graph, Node, OpName, Region, Tensor, TensorType, Type, ValueId};

/// A graph around one node.
pub(super) struct Outer {
    graph: Graph,
    node: Node,
}

impl Outer {
    pub(super) fn new(op: &str, attrs: Attrs) -> Self {
        Self { graph: Graph::new(), node: Node::new(OpName::onnx(op), [], [], attrs) }
    }

    pub(super) fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant("", tensor)
    }

    pub(super) fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        self.graph.add_input(name, ty)
    }

    pub(super) fn region(&mut self, name: &str, graph: Graph, captures: Vec<ValueId>) {
        self.node.regions.push(Region { name: name.into(), graph, captures });
        self.node.regions.sort_by(|a, b| a.name.cmp(&b.name));
    }

    pub(super) fn finish(self, inputs: &[ValueId], outputs: usize) -> Graph {
        self.finish_optional(&inputs.iter().copied().map(Some).collect::<Vec<_>>(), outputs)
    }

    pub(super) fn finish_optional(mut self, inputs: &[Option<ValueId>], outputs: usize) -> Graph {
        let outputs: Vec<ValueId> = (0..outputs).map(|_| self.graph.add_typed(Type::Unknown)).collect();
        self.node.inputs = inputs.iter().copied().collect();
        self.node.outputs = outputs.iter().copied().map(Some).collect();
        self.graph.add_node(self.node);
        self.graph.outputs = outputs;
        self.graph
    }
}

/// A subgraph without inputs that computes `f` of one captured value.
pub(super) fn branch(ty: &TensorType, f: impl FnOnce(&mut Builder, ValueId) -> ValueId) -> Graph {
    let mut b = Builder::new();
    let captured = b.graph.add_typed(ty.clone());
    b.graph.captured.push(captured);
    let output = f(&mut b, captured);
    b.finish(&[output])
}
