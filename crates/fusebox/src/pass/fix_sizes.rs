//! Fixes symbolic dims of the inputs at the sizes that the caller gave.

use super::Pass;
use crate::optimize::{OptimizeOptions, Report};
use crate::sizes;
use crate::{Error, Model};

/// Replaces the given symbols in all types of the graph.
pub(super) struct FixSizes;

impl Pass for FixSizes {
    fn name(&self) -> &'static str {
        "fix-sizes"
    }

    fn run(&self, model: &mut Model, options: &OptimizeOptions, _: &mut Report) -> Result<(), Error> {
        sizes::check(&sizes::symbols(&model.graph), &options.sizes)?;
        if !options.sizes.is_empty() {
            sizes::substitute(&mut model.graph, &options.sizes);
        }
        Ok(())
    }
}
