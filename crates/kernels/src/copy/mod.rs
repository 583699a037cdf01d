//! Strided copies: transposes, concatenation, slices, broadcasts, padding, and element casts.
//!
//! Contract: every part of a [`CopySpec`] moves the elements of one index space from a layout of its source to a layout
//! of the target, bits unchanged. Elements of the target that no part names keep their value. Knows sizes of elements,
//! not their meaning; [`cast`] is where types are known.

pub mod cast;
mod plan;
mod portable;
mod reference;
mod spec;
#[cfg(test)]
mod tests;

pub use cast::{CastSpec, CastStep};
pub use spec::{CopyPart, CopySpec, PadMode};

use crate::arena::{Memory, Pod, Span};
use crate::isa::{Isa, Kernel, select};
use crate::operand::SpecError;
use crate::program::{Step, StepError, Tile};
use crate::transpose::{self, Transpose};
use plan::Job;

/// How the elements of a part are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Whole runs, fills and cache-blocked transposes, those of 32-bit elements in registers.
    Blocked,
    /// One element at a time.
    Naive,
}

/// Best first.
pub static KERNELS: &[Kernel<Method>] = &[
    Kernel { isa: Isa::Avx512, get: || Isa::Avx512.is_available().then_some(Method::Blocked) },
    Kernel { isa: Isa::Portable, get: || Some(Method::Blocked) },
    Kernel { isa: Isa::Reference, get: || Some(Method::Naive) },
];

enum Jobs {
    B1(Job<u8>),
    B2(Job<u16>),
    B4(Job<u32>),
    B8(Job<u64>),
}

macro_rules! each {
    ($jobs:expr, $job:ident => $body:expr) => {
        match $jobs {
            Jobs::B1($job) => $body,
            Jobs::B2($job) => $body,
            Jobs::B4($job) => $body,
            Jobs::B8($job) => $body,
        }
    };
}

/// A [`CopySpec`] ready to run.
pub struct CopyStep {
    jobs: Jobs,
    isa: Isa,
    transpose: Transpose,
}

impl CopyStep {
    /// Checks the spec and plans its tiles.
    ///
    /// # Errors
    /// An element size other than 1, 2, 4 or 8 bytes, a layout that leaves its operand, a target layout whose indices
    /// share elements, or a `FUSEBOX_KERNEL` this CPU cannot run.
    pub fn new(spec: CopySpec, force: Option<Isa>) -> Result<Self, SpecError> {
        let (isa, method) = select(KERNELS, force)?;
        let jobs = match spec.element_size {
            1 => Jobs::B1(Job::new(spec, method)?),
            2 => Jobs::B2(Job::new(spec, method)?),
            4 => Jobs::B4(Job::new(spec, method)?),
            8 => Jobs::B8(Job::new(spec, method)?),
            size => {
                return Err(SpecError::new(format!("copy: elements of {size} bytes; 1, 2, 4 or 8 exist")));
            }
        };
        let (_, transpose) = select(transpose::KERNELS, Some(isa))?;
        Ok(Self { jobs, isa, transpose })
    }
}

// SAFETY: Job::new proved every part in bounds, its target layout free of shared elements, and the parts of one phase
// disjoint; Program::new proves that the target overlaps no source. Tiles partition the index space of a part.
unsafe impl Step for CopyStep {
    fn name(&self) -> String {
        format!("copy.{}", self.isa)
    }
    fn reads(&self) -> Vec<Span> {
        each!(&self.jobs, job => job.reads())
    }
    fn writes(&self) -> Vec<Span> {
        each!(&self.jobs, job => vec![job.target.span()])
    }
    fn phases(&self) -> usize {
        each!(&self.jobs, job => job.phases.len())
    }
    fn tiles(&self, phase: usize) -> usize {
        each!(&self.jobs, job => job.tiles(phase))
    }
    fn run(&self, tile: Tile, memory: &Memory<'_>) -> Result<(), StepError> {
        each!(&self.jobs, job => run(job, self.transpose, tile, memory));
        Ok(())
    }
}

fn run<T: Pod>(job: &Job<T>, transpose: Transpose, tile: Tile, memory: &Memory<'_>) {
    let (part, index) = job.part(tile);
    let source = part.source.locate(memory);
    let target = job.target.locate(memory);
    let items = part.items(index);
    // SAFETY: the pointers hold at least what the layouts reach (checked in Job::new and by locate); no other tile
    // writes these elements and nothing writes the source.
    unsafe {
        match part.method {
            Method::Blocked => portable::copy(part, transpose, items, source, target),
            Method::Naive => reference::copy(part, items, source, target),
        }
    }
}
