//! Graphs of fusable fragments: each fragment in every spelling that exporters use, alone or composed at random.
//!
//! A fragment is a function on a [`Sketch`] that takes a [`Flow`], a spelling, and gives a [`Flow`]; each spelling is
//! an enum with a list `ALL`, so a rule's or kernel's test walks them. [`plans`] composes fragments for property tests.
//! Axis 0 of every flow is the batch and may be symbolic: fragments never write its size into a shape.

pub mod activation;
pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod linear;
pub mod movement;
pub mod norm;
mod plan;

pub use plan::{Plan, Step, graphs, plans};

use crate::Draw;
use fusebox_ir::{Attrs, Builder, DType, Dim, Graph, OpName, Tensor, TensorType, ValueId};

/// Sizes that random graphs use.
pub const SIZES: &[usize] = &[1, 2, 3, 5, 8, 16];

/// A value with its sizes. `shape[0]` is the batch, which is only an example when the batch is symbolic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The value.
    pub value: ValueId,
    /// Its sizes.
    pub shape: Vec<usize>,
}

impl Flow {
    /// Size of the last axis.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    fn with(&self, value: ValueId) -> Self {
        Self { value, shape: self.shape.clone() }
    }
}

/// A graph in the making with its source of parameters.
#[derive(Debug)]
pub struct Sketch {
    /// The graph so far.
    pub builder: Builder,
    /// Where parameters come from.
    pub draw: Draw,
    /// Whether inputs have the symbol `batch` on axis 0.
    pub dynamic: bool,
}

impl Sketch {
    /// An empty graph of fixed sizes whose parameters come from a seed.
    pub fn new(seed: u64) -> Self {
        Self { builder: Builder::new(), draw: Draw::new(seed), dynamic: false }
    }

    /// As [`Sketch::new`], with a symbolic batch.
    pub fn dynamic(seed: u64) -> Self {
        Self { dynamic: true, ..Self::new(seed) }
    }

    /// An f32 input named `x0`, `x1`, ….
    pub fn input(&mut self, shape: &[usize]) -> Flow {
        let name = format!("x{}", self.builder.graph.inputs.len());
        self.typed_input(&name, DType::F32, shape)
    }

    /// An input of any type.
    pub fn typed_input(&mut self, name: &str, dtype: DType, shape: &[usize]) -> Flow {
        let dim = |(axis, size): (usize, &usize)| match axis {
            0 if self.dynamic => Dim::symbol("batch"),
            _ => Dim::known(*size as i64),
        };
        let ty = TensorType::new(dtype, shape.iter().enumerate().map(dim));
        Flow { value: self.builder.input(name, ty), shape: shape.to_vec() }
    }

    /// A parameter around `mean`.
    pub fn parameter(&mut self, shape: &[usize], mean: f32, deviation: f32) -> ValueId {
        let tensor = self.draw.tensor(shape, mean, deviation);
        self.builder.constant(tensor)
    }

    /// A weight whose product with normal inputs of `fan_in` elements is again of deviation 1.
    pub fn weight(&mut self, shape: &[usize], fan_in: usize) -> ValueId {
        self.parameter(shape, 0.0, 1.0 / (fan_in.max(1) as f32).sqrt())
    }

    /// A scalar.
    pub fn scalar(&mut self, value: f32) -> ValueId {
        self.builder.f32(value)
    }

    /// A standard operator with one output.
    pub fn op(&mut self, name: &str, inputs: &[ValueId]) -> ValueId {
        self.builder.op(name, inputs)
    }

    /// A standard operator with attributes and one output.
    pub fn op_with(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        self.builder.op_with(name, inputs, attrs)
    }

    /// A standard operator with several outputs.
    pub fn ops(&mut self, name: &str, inputs: &[ValueId], outputs: usize, attrs: Attrs) -> Vec<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.builder.node(OpName::onnx(name), &inputs, outputs, attrs)
    }

    /// A binary operator, its operands swapped when `swap` says so.
    pub fn either(&mut self, name: &str, a: ValueId, b: ValueId, swap: bool) -> ValueId {
        if swap { self.op(name, &[b, a]) } else { self.op(name, &[a, b]) }
    }

    /// Reshape by constant sizes; 0 on axis 0 keeps the batch.
    pub fn reshape(&mut self, x: ValueId, sizes: &[i64]) -> ValueId {
        let sizes = self.builder.i64s(sizes);
        self.op("Reshape", &[x, sizes])
    }

    /// Reshape of everything behind the batch.
    pub fn reshape_rest(&mut self, x: &Flow, rest: &[usize]) -> Flow {
        let sizes: Vec<i64> = std::iter::once(0).chain(rest.iter().map(|s| *s as i64)).collect();
        let shape = std::iter::once(x.shape[0]).chain(rest.iter().copied()).collect();
        Flow { value: self.reshape(x.value, &sizes), shape }
    }

    /// Transpose.
    pub fn transpose(&mut self, x: &Flow, perm: &[usize]) -> Flow {
        let attr: Vec<i64> = perm.iter().map(|axis| *axis as i64).collect();
        let value = self.op_with("Transpose", &[x.value], Attrs::new().with("perm", attr));
        Flow { value, shape: perm.iter().map(|axis| x.shape[*axis]).collect() }
    }

    /// A reduction over constant axes.
    pub fn reduce(&mut self, name: &str, x: ValueId, axes: &[i64], keepdims: bool) -> ValueId {
        let axes = self.builder.i64s(axes);
        self.op_with(name, &[x, axes], Attrs::new().with("keepdims", i64::from(keepdims)))
    }

    /// A constant of small integers.
    pub fn integers(&mut self, values: &[i64]) -> ValueId {
        self.builder.i64s(values)
    }

    /// Any constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.builder.constant(tensor)
    }

    /// The graph, its nodes named `<operator>_<number>` as exporters do, its outputs `y0`, `y1`, ….
    pub fn finish(self, outputs: &[&Flow]) -> Graph {
        let outputs: Vec<ValueId> = outputs.iter().map(|flow| flow.value).collect();
        let mut graph = self.builder.finish(&outputs);
        for id in graph.node_ids() {
            let node = graph.node_mut(id);
            node.name = format!("{}_{}", node.op.name, id.0);
        }
        for (place, output) in outputs.iter().enumerate() {
            if graph.value(*output).name.is_empty() {
                graph.value_mut(*output).name = format!("y{place}");
            }
        }
        graph
    }
}

#[cfg(test)]
mod tests;
