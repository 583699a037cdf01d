//! Replaces operators of other vendors by their definitions, so that rules and kernels see what they mean.

use super::Pass;
use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};

/// Writes com.microsoft operators out in standard ones; types must be known.
pub(super) struct ExpandOperators;

impl Pass for ExpandOperators {
    fn name(&self) -> &'static str {
        "expand-operators"
    }

    fn run(&self, model: &mut Model, options: &OptimizeOptions, report: &mut Report) -> Result<(), Error> {
        let functions = std::mem::take(&mut model.functions);
        let replaced = fusebox_onnx::expand_operators(&mut model.graph, &functions);
        model.functions = functions;
        if replaced? > 0 {
            super::types::InferTypes.run(model, options, report)?;
        }
        Ok(())
    }
}
