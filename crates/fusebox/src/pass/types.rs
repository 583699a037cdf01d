//! Infers the types of all values.

use super::Pass;
use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};

/// Writes what inference finds into the graph; nodes of unknown operators stay untyped.
pub(super) struct InferTypes;

impl Pass for InferTypes {
    fn name(&self) -> &'static str {
        "infer-types"
    }

    fn run(&self, model: &mut Model, _: &OptimizeOptions, report: &mut Report) -> Result<(), Error> {
        let functions = std::mem::take(&mut model.functions);
        let typing = fusebox_ops::infer_graph(&mut model.graph, &functions);
        model.functions = functions;
        let untyped = typing?.untyped;
        report.untyped = untyped.iter().map(|id| model.graph.describe(*id)).collect();
        Ok(())
    }
}
