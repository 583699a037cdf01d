//! Rewrites the graph by rules into the cheapest equal program found.

use super::Pass;
use crate::optimize::{OptimizeOptions, Report};
use crate::{Error, Model};
use fusebox_rewrite::{Options, RuleSet};

/// Runs the rewriter with the built-in rules, the caller's, and without those that were switched off.
pub(super) struct Rewrite;

impl Pass for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn run(&self, model: &mut Model, options: &OptimizeOptions, report: &mut Report) -> Result<(), Error> {
        let rules = rules(options)?;
        // A precision is asked of the numbers, however the file stores them.
        let keep_stored = options.precision.is_none();
        let machine = crate::optimize::machine(&options.sizes);
        let mut how = Options { machine, keep_stored, ..Options::default() };
        if options.threads > 0 {
            how.threads = options.threads;
        }
        let functions = std::mem::take(&mut model.functions);
        let done = fusebox_rewrite::optimize(&mut model.graph, &functions, &rules, &how);
        model.functions = functions;
        let done = done?;
        report.fired = done.fired;
        report.limits = done.limits;
        report.phases = done.phases;
        Ok(())
    }
}

fn rules(options: &OptimizeOptions) -> Result<RuleSet, Error> {
    let mut rules = RuleSet::load(&options.rules)?;
    for name in &options.disable {
        rules.disable(name)?;
    }
    Ok(rules)
}
