//! The passes of `optimize`, in the order in which they run.
//!
//! A pass changes the model and writes what it did into the report. After each one the graph is verified. To add a
//! pass: one file and its row in [`PIPELINE`].

mod expand;
mod expand_operators;
mod fix_sizes;
pub(crate) mod outline;
mod precision;
mod rewrite;
mod types;

use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};

/// One step of the pipeline.
pub trait Pass: Sync {
    /// Name in reports.
    fn name(&self) -> &'static str;

    /// Changes the model.
    ///
    /// # Errors
    /// Options that do not fit the model, or a model that contradicts itself.
    fn run(&self, model: &mut Model, options: &OptimizeOptions, report: &mut Report) -> Result<(), Error>;
}

/// Sizes are fixed before anything is typed; functions and the operators of
/// other vendors are expanded before rules look at the graph; precision is
/// lowered where fusion has left its operators; calls of functions that nothing
/// touched are put back.
pub static PIPELINE: &[&dyn Pass] = &[
    &fix_sizes::FixSizes,
    &expand::ExpandFunctions,
    &types::InferTypes,
    &expand_operators::ExpandOperators,
    &rewrite::Rewrite,
    &precision::LowerPrecision,
    &outline::RestoreCalls,
    &types::InferTypes,
];
