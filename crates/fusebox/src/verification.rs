//! Verification of an optimized model: on inputs small enough to afford it, against the reference of the original.

use crate::attempts;
use crate::compare::{self, CompareOptions, Comparison, Engine};
use crate::conditioning;
use crate::cut::{self, Parts};
use crate::inputs::{DrawOptions, Inputs};
use crate::metrics::{Metrics, Tolerance};
use crate::sizes::Sizes;
use crate::work;
use crate::{Error, Model, Precision};
use fusebox_exec::ExecError;
use fusebox_ir::{DType, Tensor, ValueId};
use serde::Serialize;
use std::time::Instant;

/// FLOPs up to which the optimized graph is evaluated by the reference too, besides the executor.
const CHEAP: f64 = 2e9;

/// How an optimized model is verified.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Limits; those of the precision when absent.
    pub tolerance: Option<Tolerance>,
    /// Precision that the model was lowered to.
    pub precision: Option<Precision>,
    /// Sizes of symbolic dims; the others are small.
    pub sizes: Sizes,
    /// Seed of the inputs.
    pub seed: u64,
    /// Worker threads of the executor; 0 means one per core.
    pub threads: usize,
}

impl VerifyOptions {
    /// The limits in force.
    pub fn tolerance(&self) -> Tolerance {
        self.tolerance.unwrap_or(match self.precision {
            None => Tolerance::F32,
            Some(Precision::Fp16 | Precision::Bf16) => Tolerance::HALF,
            Some(Precision::Int8) => Tolerance::INT8,
        })
    }

    /// The limits in force for a model: one that computes in half precision itself is rounded elsewhere by every rule.
    pub fn tolerance_for(&self, model: &Model) -> Tolerance {
        match (self.tolerance, self.precision) {
            (None, None) if computes_in_halves(model) => Tolerance::HALF,
            _ => self.tolerance(),
        }
    }
}

/// Whether an operator other than a cast reads an input or a constant of half precision.
fn computes_in_halves(model: &Model) -> bool {
    let is_half = |id: &ValueId| {
        let value = model.graph.value(*id);
        matches!(value.ty.tensor().map(|ty| ty.dtype), Some(DType::F16 | DType::BF16))
    };
    let mut nodes = model.graph.nodes().filter(|(_, node)| !matches!(&*node.op.name, "Cast" | "CastLike"));
    nodes.any(|(_, node)| node.inputs.iter().flatten().any(is_half))
}

/// How a model was verified, or why it could not be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// The executor on the optimized model against the reference on the original.
    pub executor: Option<Comparison>,
    /// The reference on the optimized model against the reference on the original; absent where it costs too much.
    pub reference: Option<Comparison>,
    /// Why there is no comparison, or what was compared instead.
    pub note: Option<String>,
    /// Outputs past the limits whose difference the model's own amplification of rounding explains; see
    /// [`crate::conditioning`].
    pub amplified: Vec<String>,
    /// Nodes of unknown operators, which were left out: what surrounds them was compared.
    pub left_out: Vec<String>,
    /// Sizes of the inputs' symbolic dims.
    pub sizes: Sizes,
    /// Limits.
    pub tolerance: Tolerance,
    /// Wall time.
    pub seconds: f64,
}

impl Verification {
    /// Whether nothing was found to differ past the limits.
    pub fn passed(&self) -> bool {
        self.executor.iter().chain(&self.reference).all(Comparison::passed)
    }

    /// Whether anything was compared.
    pub fn compared(&self) -> bool {
        self.executor.is_some() || self.reference.is_some()
    }

    /// The comparison that failed.
    pub fn failed(&self) -> Option<&Comparison> {
        self.executor.iter().chain(&self.reference).find(|c| !c.passed())
    }
}

impl Verification {
    /// Lifts the failures that the model's own amplification of rounding explains.
    fn forgive(&mut self, moved: &[Option<Metrics>]) {
        let limits = self.tolerance;
        for comparison in self.executor.iter_mut().chain(&mut self.reference) {
            for (output, moved) in comparison.outputs.iter_mut().zip(moved) {
                let reason = moved.as_ref().and_then(|moved| conditioning::explains(output, moved, &limits));
                if let Some(reason) = reason.filter(|_| output.failure.is_some()) {
                    output.failure = None;
                    self.amplified.push(reason);
                }
            }
            if comparison.passed() {
                comparison.first_difference = None;
            }
        }
        self.amplified.dedup();
    }
}

/// Verifies an optimized model.
///
/// # Errors
/// A model that cannot be evaluated although all its operators are known.
pub fn verify_optimized(
    original: &Model,
    optimized: &Model,
    options: &VerifyOptions,
) -> Result<Verification, Error> {
    let start = Instant::now();
    let tolerance = options.tolerance_for(original);
    let mut verification = Verification {
        executor: None,
        reference: None,
        note: None,
        left_out: Vec::new(),
        amplified: Vec::new(),
        sizes: Sizes::new(),
        tolerance,
        seconds: 0.0,
    };
    let parts = cut::around_unknown(original, optimized);
    let (original, optimized) = match &parts {
        Some(Parts { original, optimized, left_out }) => {
            verification.left_out.clone_from(left_out);
            (original, optimized)
        }
        None => (original, optimized),
    };
    let (inputs, expected) = match evaluated(original, options) {
        Ok(found) => found,
        Err(error) => {
            let note = cannot_be_evaluated(&error).or_else(|| is_drawn_amiss(&error, options));
            verification.note = Some(note.ok_or(error)?);
            return Ok(verification);
        }
    };
    original.release_pages();
    verification.sizes = inputs.sizes.clone();
    let compare = |engine| {
        let how = CompareOptions { tolerance, engine, threads: options.threads, locate: true };
        compare::verify_against(&expected, original, optimized, &inputs, &how)
    };
    verification.executor = match compare(Engine::Executor) {
        Err(Error::Run { source }) if matches!(*source, ExecError::UnknownOperator { .. }) => {
            verification.note = Some(source.to_string());
            None
        }
        other => Some(other?),
    };
    let is_cheap = work::of_graph(&optimized.graph, &inputs.sizes).flops <= CHEAP;
    if verification.executor.is_some() && is_cheap {
        verification.reference = Some(compare(Engine::Reference)?);
    }
    if verification.passed()
        && verification.compared()
        && let Some(turned) = inputs.turned()
        && let Ok(expected) = compare::reference(original, &turned.feeds())
    {
        // What the inputs' switches leave out would else never run.
        let how =
            CompareOptions { tolerance, engine: Engine::Executor, threads: options.threads, locate: true };
        let again = compare::verify_against(&expected, original, optimized, &turned, &how)?;
        if !again.passed() {
            verification.executor = Some(again);
        }
    }
    let is_strict = options.tolerance.is_some() || options.precision.is_some();
    if !verification.passed() && !is_strict {
        let moved = conditioning::last_bit(original, &inputs, &expected)?;
        verification.forgive(&moved);
    }
    verification.seconds = start.elapsed().as_secs_f64();
    Ok(verification)
}

/// As [`verify_optimized`], on the written form; where that holds operators which only another runtime has, on the form
/// before it was lowered.
pub(crate) fn verify_written(
    original: &Model,
    optimized: &Model,
    written: &Model,
    options: &VerifyOptions,
) -> Result<Verification, Error> {
    let verification = verify_optimized(original, written, options)?;
    if verification.compared() || verification.sizes.is_empty() && verification.note.is_none() {
        return Ok(verification);
    }
    let before = verify_optimized(original, optimized, options)?;
    if !before.compared() {
        return Ok(before);
    }
    let reason = verification.note.unwrap_or_default();
    Ok(Verification {
        note: Some(format!("verified before it was lowered to the target: {reason}")),
        ..before
    })
}

/// Small inputs that a model can be evaluated on, with what the reference makes of them.
///
/// # Errors
/// An input that cannot be drawn, or the node that fails at all sizes that were tried.
pub fn evaluated(model: &Model, options: &VerifyOptions) -> Result<(Inputs, Vec<Tensor>), Error> {
    let draw = DrawOptions {
        seed: options.seed,
        sizes: options.sizes.clone(),
        padding: true,
        ..DrawOptions::default()
    };
    attempts::first(model, &draw, attempts::SMALL, |inputs| compare::reference(model, &inputs.feeds()))
}

/// Why nothing is compared when a model fails on what was drawn for it: inputs of its own may suit it all the same. Sizes
/// that the caller states are the caller's to answer for.
fn is_drawn_amiss(error: &Error, options: &VerifyOptions) -> Option<String> {
    let (source, open) = match error {
        Error::NoSizes { source, open } => (source.as_ref(), Some(open)),
        other => (other, None),
    };
    let Error::Evaluate { source } = source else { return None };
    let dims: Vec<&str> = open.into_iter().flatten().map(|(name, _)| &**name).collect();
    let dims = if dims.is_empty() { String::new() } else { format!(" of {}", dims.join(", ")) };
    options.sizes.is_empty().then(|| {
        format!(
            "random inputs of several sizes do not suit the model, which fails at {source}; `--dim NAME=N` states sizes{dims} that do"
        )
    })
}

/// Why a model has no reference evaluation at all, when that is what an error says.
fn cannot_be_evaluated(error: &Error) -> Option<String> {
    match error {
        Error::NotDrawable { .. } => Some(error.to_string()),
        Error::Evaluate { source } if crate::error::is_unsupported(source) => Some(source.to_string()),
        _ => None,
    }
}
