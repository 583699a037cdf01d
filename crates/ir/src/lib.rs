//! Graphs, values, tensor types with symbolic dims, attributes, verifier, text form and structural diff.
//!
//! Refuses to know files, e-graphs and CPUs. Invariant: a graph that `Graph::verify` accepts has every used value
//! defined exactly once, no cycle, and every id in range; all other crates rely on it.
//! Start at [`graph::Graph`]; types are in [`types`], symbolic integers in [`dim`].

pub mod attr;
pub mod builder;
pub mod diff;
pub mod dim;
pub mod dtype;
pub mod graph;
pub mod model;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;

pub use attr::{Attr, Attrs};
pub use builder::Builder;
pub use dim::Dim;
pub use dtype::DType;
pub use graph::{Graph, Node, NodeId, OpName, Region, Value, ValueId};
pub use model::{Carried, Function, Model, OpsetImport};
pub use tensor::Tensor;
pub use types::{Shape, TensorType, Type};
pub use verify::VerifyError;
