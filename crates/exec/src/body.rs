//! Bodies of control-flow nodes as graphs with plans of their own.
//!
//! What a body captures becomes an input of its graph, or a constant where it is one outside, so that weights are packed
//! once for all iterations. Declared types inside are dropped: an iteration may change sizes that the file fixes.

use crate::engine::Engine;
use crate::executor::Executor;
use fusebox_ir::{Graph, Node, Region, Tensor, Type, ValueId};
use fusebox_ops::{Datum, EvalError, interpret};

/// The bodies of one node, in the order of its regions.
pub struct Bodies(Vec<Body>);

struct Body {
    executor: Executor,
    /// Captures that are passed as inputs, after the body's own.
    passed: Vec<usize>,
}

impl Bodies {
    /// Prepares the bodies of a node; `constant` tells which of the values around it are constants.
    pub fn new(node: &Node, constant: &dyn Fn(ValueId) -> Option<Tensor>) -> Self {
        Self(node.regions.iter().map(|region| Body::new(region, constant)).collect())
    }

    /// Whether the node has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bodies, runnable.
    pub fn bind<'a>(&'a self, engine: &'a Engine) -> Bound<'a> {
        Bound { bodies: self, engine }
    }
}

impl Body {
    fn new(region: &Region, constant: &dyn Fn(ValueId) -> Option<Tensor>) -> Self {
        let mut graph: Graph = region.graph.clone();
        let captured = std::mem::take(&mut graph.captured);
        let mut passed = Vec::new();
        for (position, (inner, outer)) in captured.into_iter().zip(&region.captures).enumerate() {
            match constant(*outer) {
                Some(tensor) => {
                    graph.value_mut(inner).ty = tensor.ty().into();
                    graph.value_mut(inner).constant = Some(tensor);
                }
                None => {
                    passed.push(position);
                    graph.inputs.push(inner);
                }
            }
        }
        for index in 0..graph.value_count() {
            let id = ValueId(u32::try_from(index).expect("ids are u32"));
            if graph.value(id).constant.is_none() {
                graph.value_mut(id).ty = Type::Unknown;
            }
        }
        Self { executor: Executor::new(graph), passed }
    }
}

/// The bodies of a node with what they need to run.
pub struct Bound<'a> {
    bodies: &'a Bodies,
    engine: &'a Engine,
}

impl interpret::Bodies for Bound<'_> {
    fn run(
        &self,
        region: usize,
        inputs: &[Option<Datum>],
        captures: &[Datum],
    ) -> Result<Vec<Datum>, EvalError> {
        let missing = || EvalError::value(format!("the node has no subgraph {region}"));
        let body = self.bodies.0.get(region).ok_or_else(missing)?;
        let mut given: Vec<Option<Datum>> = inputs.to_vec();
        given.extend(body.passed.iter().map(|position| captures.get(*position).cloned()));
        body.executor.run(self.engine, &given, None).map_err(|error| EvalError::value(error.to_string()))
    }
}
