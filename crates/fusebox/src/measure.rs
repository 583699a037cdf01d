//! Times sessions side by side, and tells what a plan takes.
//!
//! Contenders take turns in short bursts, and who begins alternates, so that whatever else the machine does meets all
//! alike. Times are wall times of whole runs, copies of inputs and outputs included.

use crate::{Error, Model, Session};
use fusebox_exec::ExecError;
use fusebox_ir::graph::FUSEBOX;
use fusebox_ir::{DType, Tensor, TensorType};
use fusebox_kernels::gemm::Precision;
use serde::Serialize;
use std::time::Instant;

/// Runs in one burst.
const BURST: usize = 5;

/// A session with the inputs that it is run on.
pub struct Contender<'a> {
    /// The session.
    pub session: &'a Session,
    /// Inputs by name.
    pub feeds: Vec<(&'a str, Tensor)>,
}

impl Contender<'_> {
    /// Seconds of each of `runs` runs.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn times(&self, runs: usize) -> Result<Vec<f64>, Error> {
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let start = Instant::now();
            self.session.run(&self.feeds)?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(times)
    }

    /// What the plan for these inputs takes.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub fn plan(&self) -> Result<PlanFacts, Error> {
        let tensors = fusebox_exec::bind::arrange(self.session.graph(), &self.feeds)?;
        let types: Vec<Option<TensorType>> = tensors.iter().map(|t| t.as_ref().map(Tensor::ty)).collect();
        let facts = |plan: &fusebox_exec::Plan, in_segments| PlanFacts {
            steps: plan.steps.len(),
            fallbacks: plan.steps.iter().filter(|s| s.fallback.is_some()).count(),
            flops: plan.steps.iter().map(|s| s.cost.flops).sum(),
            arena_bytes: plan.arena_bytes(),
            in_segments,
        };
        let facts = self.session.with_plan(&types, |plan| match plan {
            Ok(plan) => facts(plan, false),
            Err(Some(first)) => facts(first, true),
            Err(None) => PlanFacts { in_segments: true, ..PlanFacts::default() },
        });
        facts.map_err(|error: ExecError| error.into())
    }
}

/// What a plan takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PlanFacts {
    /// Steps.
    pub steps: usize,
    /// Steps that run the reference evaluation because there is no kernel.
    pub fallbacks: usize,
    /// Floating-point operations of one run.
    pub flops: f64,
    /// Bytes of the arena that holds all activations.
    pub arena_bytes: usize,
    /// Whether data decides sizes on the way, or bodies run by themselves: the other facts are then of the part before.
    pub in_segments: bool,
}

/// Seconds of `runs` runs of every contender, in bursts, after `warmup` runs that are not counted.
///
/// # Errors
/// The first run that fails.
pub fn interleave(
    contenders: &[Contender<'_>],
    warmup: usize,
    runs: usize,
    progress: &dyn Fn(usize),
) -> Result<Vec<Vec<f64>>, Error> {
    for contender in contenders {
        contender.times(warmup)?;
    }
    let mut times = vec![Vec::with_capacity(runs); contenders.len()];
    let mut done = 0;
    while done < runs {
        let burst = BURST.min(runs - done);
        for turn in 0..contenders.len() {
            let index = (turn + done / BURST) % contenders.len();
            times[index].extend(contenders[index].times(burst)?);
        }
        done += burst;
        progress(done);
    }
    Ok(times)
}

/// The precision in which a model's products are computed, for comparison with the machine's peak.
pub fn gemm_precision(model: &Model) -> Precision {
    let is_narrow = |node: &fusebox_ir::Node| {
        let weights = node.inputs.iter().flatten().filter_map(|v| model.graph.constant(*v));
        node.op.is("MatMulInteger")
            || (&*node.op.domain == FUSEBOX && weights.into_iter().any(|t| t.dtype() == DType::I8))
    };
    if model.graph.nodes().any(|(_, node)| is_narrow(node)) { Precision::Int8 } else { Precision::F32 }
}

/// The most physical memory that this process ever had, in bytes; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
