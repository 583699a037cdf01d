//! Lowers the precision of weighted operators, when that was asked for.

use super::Pass;
use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};
use fusebox_quant::PrecisionOptions;

/// Runs the precision pass of the quant crate.
pub(super) struct LowerPrecision;

impl Pass for LowerPrecision {
    fn name(&self) -> &'static str {
        "lower-precision"
    }

    fn run(&self, model: &mut Model, options: &OptimizeOptions, report: &mut Report) -> Result<(), Error> {
        if let Some(precision) = options.precision {
            let nodes = || model.graph.nodes().map(|(_, node)| node);
            let stray = |name: &&String| !nodes().any(|node| fusebox_quant::goes_by(node, name));
            if let Some(name) = options.exclude.iter().find(stray) {
                return Err(Error::NoSuchNode { name: name.clone() });
            }
            let how =
                PrecisionOptions { exclude: options.exclude.clone(), ..PrecisionOptions::new(precision) };
            report.precision = Some(fusebox_quant::apply(&mut model.graph, &how));
        }
        Ok(())
    }
}
