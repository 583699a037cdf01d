//! Steps and the checked program they form.

use crate::arena::{Memory, Span};
use std::sync::Arc;

/// One unit of work inside a step: which phase, which tile of it, and who runs it.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Phase of the step; a barrier separates phases.
    pub phase: usize,
    /// Tile number within the phase, below `Step::tiles(phase)`.
    pub index: usize,
    /// Worker running it, below the team's size.
    pub worker: usize,
}

/// A kernel bound to its operands.
///
/// # Safety
/// `run` must touch only bytes inside the spans that `reads` and `writes` declare, tiles of one phase must not write
/// bytes that another tile of the same phase reads or writes, and `run` must accept any arena in which those spans are
/// in bounds.
pub unsafe trait Step: Send + Sync {
    /// Kernel name for profiles, e.g. `gemm.f32.avx512.8x48`.
    fn name(&self) -> String;
    /// Spans that are read.
    fn reads(&self) -> Vec<Span>;
    /// Spans that are written, shared scratch included.
    fn writes(&self) -> Vec<Span>;
    /// Whether a written span may be one that is read (elementwise kernels that finish an element before the next).
    fn in_place(&self) -> bool {
        false
    }
    /// Number of phases; all tiles of a phase end before the next begins.
    fn phases(&self) -> usize {
        1
    }
    /// Number of independent tiles of a phase. Must not depend on the number of threads where results would.
    fn tiles(&self, phase: usize) -> usize;
    /// Runs one tile.
    ///
    /// # Errors
    /// Only host steps fail, with the reason.
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError>;
}

/// Why a step could not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError(pub String);

/// The body of a host step: input spans as bytes, output spans as bytes to fill.
pub type HostBody = Arc<dyn Fn(&[&[u8]], &mut [&mut [u8]]) -> Result<(), String> + Send + Sync>;

/// A step that runs ordinary safe code on one thread: the reference evaluation of an operator without a kernel.
pub struct HostStep {
    name: String,
    inputs: Vec<Span>,
    outputs: Vec<Span>,
    body: HostBody,
}

impl HostStep {
    /// Binds `body` to its spans. `Program::new` refuses it when outputs overlap inputs or each other.
    pub fn new(name: impl Into<String>, inputs: Vec<Span>, outputs: Vec<Span>, body: HostBody) -> Self {
        Self { name: name.into(), inputs, outputs, body }
    }
}

// SAFETY: run touches exactly the declared spans; it has one tile.
unsafe impl Step for HostStep {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn reads(&self) -> Vec<Span> {
        self.inputs.clone()
    }
    fn writes(&self) -> Vec<Span> {
        self.outputs.clone()
    }
    fn tiles(&self, _: usize) -> usize {
        1
    }
    fn run(&self, _: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        // SAFETY: Program::new proved the outputs disjoint from the inputs, and no other step runs now.
        let inputs: Vec<&[u8]> = self.inputs.iter().map(|s| unsafe { memory.read::<u8>(*s) }).collect();
        // SAFETY: Program::new proved the outputs disjoint from each other.
        let mut outputs: Vec<&mut [u8]> =
            self.outputs.iter().map(|s| unsafe { memory.write::<u8>(*s) }).collect();
        (self.body)(&inputs, &mut outputs).map_err(StepError)
    }
}

/// What makes a list of steps unfit to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramError {
    /// A span leaves the arena.
    OutOfBounds {
        /// Index of the step.
        step: usize,
        /// The span.
        span: Span,
    },
    /// A step would write what it reads, or write the same bytes twice.
    Overlap {
        /// Index of the step.
        step: usize,
        /// The written span.
        written: Span,
        /// The span it collides with.
        other: Span,
    },
}

impl std::fmt::Display for ProgramError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfBounds { step, span } => write!(f, "step {step}: {span:?} leaves the arena"),
            Self::Overlap { step, written, other } => {
                write!(f, "step {step}: writes {written:?}, which overlaps {other:?}")
            }
        }
    }
}

impl std::error::Error for ProgramError {}

/// A list of steps whose spans were checked against each other and against the arena's size.
pub struct Program {
    steps: Vec<Box<dyn Step>>,
    arena_len: usize,
}

impl Program {
    /// Checks that every span is in bounds and that no step writes what it reads, unless it works in place and the
    /// spans are identical.
    ///
    /// # Errors
    /// The first span that breaks a rule.
    pub fn new(steps: Vec<Box<dyn Step>>, arena_len: usize) -> Result<Self, ProgramError> {
        for (index, step) in steps.iter().enumerate() {
            let (reads, writes) = (step.reads(), step.writes());
            for span in reads.iter().chain(&writes) {
                if span.end().is_none_or(|end| end > arena_len) {
                    return Err(ProgramError::OutOfBounds { step: index, span: *span });
                }
            }
            for (position, written) in writes.iter().enumerate() {
                let clash = |other: &&Span| written.overlaps(**other);
                let twice = writes[position + 1..].iter().find(clash);
                let read = reads.iter().find(|r| clash(r) && !(step.in_place() && **r == *written));
                if let Some(other) = twice.or(read) {
                    return Err(ProgramError::Overlap { step: index, written: *written, other: *other });
                }
            }
        }
        Ok(Self { steps, arena_len })
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Box<dyn Step>] {
        &self.steps
    }

    /// Bytes of arena that a run needs.
    pub fn arena_len(&self) -> usize {
        self.arena_len
    }
}
