//! Times of a run, step by step.

use std::time::Duration;

/// One step of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// Kernel.
    pub kernel: String,
    /// Nodes that the step carries out, as messages name them.
    pub nodes: Vec<String>,
    /// Wall time.
    pub time: Duration,
    /// Why it runs the reference evaluation instead of a kernel.
    pub fallback: Option<String>,
    /// FLOPs of the nodes.
    pub flops: f64,
}

/// Times of all steps of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Steps in order.
    pub steps: Vec<StepTime>,
    /// Wall time of the whole run, copies of inputs and outputs included.
    pub total: Duration,
}
