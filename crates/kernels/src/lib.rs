//! SIMD kernels: slices in, slices out. The only home of `unsafe`, pulp and target features.
//!
//! Knows nothing of graphs or operators. A kernel family is a folder: the contract and its table in `mod.rs`,
//! `reference.rs` as the oracle, `portable.rs`, and one file per instruction set. A [`Step`] binds a kernel to
//! spans of an [`Arena`]; a [`Program`] is a checked list of steps; a [`Team`] runs it.
//!
//! Invariant: a step touches only the spans it declares, and `Program::new` proved that what a step writes is
//! disjoint from what it reads, so running a program needs no `unsafe` outside this crate.
#![allow(
    unsafe_code,
    reason = "kernels are the one crate that may hold unsafe code; each block states its SAFETY"
)]

pub mod arena;
pub mod attention;
pub mod conv;
pub mod copy;
pub mod depthwise;
pub mod element;
pub mod elementwise;
#[cfg(test)]
mod fixture;
pub mod gather;
pub mod gemm;
pub mod isa;
mod lanes;
pub mod layout;
pub mod mapped;
pub mod math;
mod moments;
pub mod operand;
pub mod pool;
pub mod probe;
pub mod program;
pub mod recurrent;
pub mod reduce;
pub mod rows;
mod scratch;
pub mod spread;
pub mod team;
mod transpose;
pub mod window;

pub use arena::{Arena, Memory, Pod, Span};
pub use element::Element;
pub use isa::Isa;
pub use layout::Layout;
pub use operand::{Constant, Operand, SpecError};
pub use program::{HostStep, Program, ProgramError, Step, StepError, Tile};
pub use team::{MAX_THREADS, RunError, Team, TeamError};
