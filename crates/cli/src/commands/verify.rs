//! `fusebox verify A B`: runs two models on the same inputs and compares every output.

use super::Verb;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::{DataArg, DimArgs, parse_threads};
use clap::Args;
use fusebox::compare::Difference;
use fusebox::verification::{self, VerifyOptions};
use fusebox::{CompareOptions, Comparison, Engine, Tolerance};
use fusebox_report::{Cell, Paint, Style, Table, number};
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Model that is right: evaluated operator by operator
    #[arg(value_name = "A")]
    reference: PathBuf,
    /// Model to compare: run by the executor
    #[arg(value_name = "B")]
    model: PathBuf,
    #[command(flatten)]
    data: DataArg,
    /// Limits, for example rel=1e-3,cosine=0.999; any of abs, rel, cosine, sqnr
    #[arg(long, value_name = "LIMITS", default_value = "rel=1e-4,cosine=0.999999")]
    tolerance: Tolerance,
    /// Evaluate B operator by operator too, so that kernels have no part in it
    #[arg(long = "reference")]
    by_reference: bool,
    /// Start of the random inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    dims: DimArgs,
    /// Worker threads; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
}

impl Verb for Verify {
    const NAME: &'static str = "verify";
    const ABOUT: &'static str = "Compare what two models compute";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        let progress = cx.progress("evaluating");
        let (a, b) = (self.data.open(&self.reference)?, self.data.open(&self.model)?);
        // B may have been optimized for fixed sizes.
        let mut sizes = fusebox::sizes::fixed_by(&a, &b);
        sizes.extend(self.dims.sizes()?);
        let draw = VerifyOptions { sizes, seed: self.seed, ..VerifyOptions::default() };
        let engine = if self.by_reference { Engine::Reference } else { Engine::Executor };
        let options =
            CompareOptions { tolerance: self.tolerance, engine, threads: self.threads, locate: true };
        let start = Instant::now();
        let parts = fusebox::cut::around_unknown(&a, &b);
        let (a, b) = parts.as_ref().map_or((&a, &b), |parts| (&parts.original, &parts.optimized));
        let left_out = parts.as_ref().map_or(&[][..], |parts| &parts.left_out);
        let (inputs, expected) = verification::evaluated(a, &draw)?;
        let comparison = fusebox::compare::verify_against(&expected, a, b, &inputs, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        drop(progress);
        let answer = serde_json::json!({
            "passed": comparison.passed(), "seconds": seconds, "engine": engine, "sizes": inputs.sizes,
            "left_out": left_out,
            "comparison": comparison,
        });
        for node in left_out {
            cx.warn(&format!(
                "node {node} is of an unknown operator: it was left out, and what surrounds it compared"
            ));
        }
        cx.answer(&answer, |style| table(&comparison, style))?;
        if comparison.passed() {
            return Ok(());
        }
        let failed = comparison.outputs.iter().filter(|o| o.failure.is_some()).count();
        let message = format!(
            "{failed} of {} outputs differ past the tolerance ({})",
            comparison.outputs.len(),
            comparison.tolerance
        );
        let help = match &comparison.first_difference {
            Some(difference) => place(difference),
            None => "`--tolerance` states other limits".into(),
        };
        Err(Failure::Mismatch { message, help })
    }
}

/// Where the difference begins, as a sentence.
pub(crate) fn place(difference: &Difference) -> String {
    let Difference { node, value, sources, failure, only_in_executor } = difference;
    let made = if sources.is_empty() { String::new() } else { format!(", made from {}", sources.join(", ")) };
    let fault =
        if *only_in_executor { "; its reference evaluation agrees, so a kernel is at fault" } else { "" };
    format!("it begins at node {node}{made}, which computes {value:?}: {failure}{fault}")
}

/// One row per output.
pub(crate) fn table(comparison: &Comparison, style: &Style) -> String {
    let mut table = Table::new(&["output", ">max abs", ">max rel", ">cosine", ">SQNR dB", ""]);
    let hollow = comparison.hollow();
    for output in &comparison.outputs {
        let verdict = match &output.failure {
            None if hollow.contains(&output.name.as_str()) => {
                Cell::painted("nothing finite to compare", Paint::Warn)
            }
            None => Cell::painted("ok", Paint::Good),
            Some(failure) => Cell::painted(failure.clone(), Paint::Bad),
        };
        let figures: [Cell; 4] = match &output.metrics {
            Some(m) => [
                number::plain(m.max_abs).into(),
                number::plain(m.max_rel).into(),
                format!("{:.8}", m.cosine).into(),
                format!("{:.1}", m.sqnr_db).into(),
            ],
            None => Default::default(),
        };
        let [abs, rel, cosine, sqnr] = figures;
        table.row([Cell::from(output.name.clone()), abs, rel, cosine, sqnr, verdict]);
    }
    table.text(style)
}
