//! Replaces calls of model-local functions by their bodies, so that rules see through them.

use super::Pass;
use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};
use fusebox_ir::{Graph, OpName};

/// Expands functions and drops those that nothing calls any more.
pub(super) struct ExpandFunctions;

impl Pass for ExpandFunctions {
    fn name(&self) -> &'static str {
        "expand-functions"
    }

    fn run(&self, model: &mut Model, _: &OptimizeOptions, _: &mut Report) -> Result<(), Error> {
        if fusebox_onnx::expand_functions(model)? > 0 {
            let graph = &model.graph;
            let is_called = |name: &OpName| calls(graph, name);
            let used: Vec<bool> =
                model.functions.iter().map(|f| is_called(&OpName::new(&f.domain, &f.name))).collect();
            let mut used = used.into_iter();
            model.functions.retain(|_| used.next().unwrap_or(true));
        }
        Ok(())
    }
}

fn calls(graph: &Graph, name: &OpName) -> bool {
    graph.nodes().any(|(_, node)| node.op == *name || node.regions.iter().any(|r| calls(&r.graph, name)))
}
