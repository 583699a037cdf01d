//! Replaces calls of model-local functions by their bodies, so that rules see through them. [`super::outline`] puts
//! back those that nothing touched.

use super::Pass;
use super::outline::Calls;
use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};

/// Expands functions.
pub(super) struct ExpandFunctions;

impl Pass for ExpandFunctions {
    fn name(&self) -> &'static str {
        "expand-functions"
    }

    fn run(&self, model: &mut Model, _: &OptimizeOptions, report: &mut Report) -> Result<(), Error> {
        let mut calls = Calls::mark(model);
        fusebox_onnx::expand_functions(model)?;
        calls.note(&model.graph);
        report.calls = calls;
        Ok(())
    }
}
