//! The verifier: what every graph must satisfy between passes.

use crate::{Graph, NodeId, ValueId};
use std::collections::BTreeMap;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// An id that names no value.
    #[error("node {node} refers to a value that does not exist")]
    NoSuchValue {
        /// The node.
        node: String,
    },
    /// A value that is read but not defined.
    #[error("{reader} reads {value:?}, which no node, input or initializer defines")]
    Undefined {
        /// Who reads it.
        reader: String,
        /// Name of the value.
        value: String,
    },
    /// A value defined twice.
    #[error("{value:?} is defined twice: by {first} and by {second}")]
    DefinedTwice {
        /// Name of the value.
        value: String,
        /// First definition.
        first: String,
        /// Second definition.
        second: String,
    },
    /// Two values of one graph with the same non-empty name.
    #[error("two values are named {name:?}")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A cycle.
    #[error("node {node} is on a cycle: it reads its own output, directly or through other nodes")]
    Cycle {
        /// A node on it.
        node: String,
    },
    /// Captures of a region and of its graph differ in number.
    #[error("node {node}: region {region:?} captures {outer} values but its graph expects {inner}")]
    Captures {
        /// The node.
        node: String,
        /// The region.
        region: String,
        /// Captures given.
        outer: usize,
        /// Captures expected.
        inner: usize,
    },
}

impl Graph {
    /// How messages name a node: its name, else its operator and id.
    pub fn describe(&self, id: NodeId) -> String {
        let node = self.node(id);
        if node.name.is_empty() {
            format!("{} #{}", node.op, id.0)
        } else {
            format!("{:?} ({})", node.name, node.op)
        }
    }

    /// Checks every invariant of the graph and of its regions.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn verify(&self) -> Result<(), VerifyError> {
        self.check_ids()?;
        self.check_definitions()?;
        self.check_names()?;
        self.topological().map_err(|id| VerifyError::Cycle { node: self.describe(id) })?;
        for (id, node) in self.nodes() {
            for region in &node.regions {
                let (outer, inner) = (region.captures.len(), region.graph.captured.len());
                if outer != inner {
                    let (node, region) = (self.describe(id), region.name.clone());
                    return Err(VerifyError::Captures { node, region, outer, inner });
                }
                region.graph.verify()?;
            }
        }
        Ok(())
    }

    fn check_ids(&self) -> Result<(), VerifyError> {
        let known = |value: ValueId| (value.0 as usize) < self.value_count();
        for (id, node) in self.nodes() {
            if !node.reads().chain(node.outputs.iter().flatten().copied()).all(known) {
                return Err(VerifyError::NoSuchValue { node: self.describe(id) });
            }
        }
        if !self.inputs.iter().chain(&self.outputs).chain(&self.captured).copied().all(known) {
            return Err(VerifyError::NoSuchValue { node: "the graph's interface".into() });
        }
        Ok(())
    }

    fn check_definitions(&self) -> Result<(), VerifyError> {
        let mut defined: Vec<Option<String>> = vec![None; self.value_count()];
        let mut define = |value: ValueId, by: String| match defined[value.0 as usize].replace(by.clone()) {
            Some(first) => {
                Err(VerifyError::DefinedTwice { value: self.value(value).name.clone(), first, second: by })
            }
            None => Ok(()),
        };
        let mut is_input = vec![false; self.value_count()];
        for value in &self.inputs {
            is_input[value.0 as usize] = true;
            define(*value, "a graph input".into())?;
        }
        for value in &self.captured {
            define(*value, "a capture".into())?;
        }
        for (id, value) in self.values() {
            if value.constant.is_some() && !is_input[id.0 as usize] {
                define(id, "an initializer".into())?;
            }
        }
        for (id, node) in self.nodes() {
            for output in node.outputs.iter().flatten() {
                define(*output, format!("node {}", self.describe(id)))?;
            }
        }
        let missing = |value: ValueId, reader: String| match defined[value.0 as usize] {
            Some(_) => Ok(()),
            None => Err(VerifyError::Undefined { reader, value: self.value(value).name.clone() }),
        };
        for (id, node) in self.nodes() {
            node.reads().try_for_each(|value| missing(value, format!("node {}", self.describe(id))))?;
        }
        self.outputs.iter().try_for_each(|value| missing(*value, "the graph's output list".into()))
    }

    fn check_names(&self) -> Result<(), VerifyError> {
        let mut seen: BTreeMap<&str, ValueId> = BTreeMap::new();
        for (id, value) in self.values() {
            if !value.name.is_empty() && seen.insert(&value.name, id).is_some() {
                return Err(VerifyError::DuplicateName { name: value.name.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attrs, Builder, DType, Node, OpName, TensorType, Type};

    fn relu_chain() -> (Graph, ValueId, ValueId) {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::known(DType::F32, &[2]));
        let y = b.op("Relu", &[x]);
        let z = b.op("Relu", &[y]);
        (b.finish(&[z]), y, z)
    }

    #[test]
    fn accepts_a_chain_and_finds_a_cycle() {
        let (mut graph, _, z) = relu_chain();
        assert_eq!(graph.verify(), Ok(()));
        let first = graph.node_ids()[0];
        graph.node_mut(first).inputs[0] = Some(z);
        assert!(matches!(graph.verify(), Err(VerifyError::Cycle { .. })));
    }

    #[test]
    fn finds_undefined_and_doubly_defined_values() {
        let (mut graph, y, _) = relu_chain();
        let stray = graph.add_typed(Type::Unknown);
        graph.add_node(Node::new(OpName::onnx("Neg"), [Some(stray)], [Some(y)], Attrs::new()));
        assert!(matches!(graph.verify(), Err(VerifyError::DefinedTwice { .. })));
        let (mut graph, _, _) = relu_chain();
        let stray = graph.add_typed(Type::Unknown);
        graph.outputs.push(stray);
        assert!(matches!(graph.verify(), Err(VerifyError::Undefined { .. })));
    }

    #[test]
    fn compact_orders_and_renumbers() {
        let (mut graph, ..) = relu_chain();
        graph.add_constant("unused", crate::Tensor::scalar(1.0f32));
        graph.compact().unwrap();
        assert_eq!((graph.value_count(), graph.node_count()), (3, 2));
        graph.verify().unwrap();
    }
}
