//! Lowers a graph to a plan, plans its memory, and runs it with a thread team.
//!
//! Refuses to know ONNX files and e-graphs. A [`Session`] holds one model; it compiles a plan per signature of input
//! shapes and keeps it. A plan is a list of kernel steps over one arena. Where sizes depend on data, and around bodies of
//! control flow, a graph runs in segments with a plan each. Invariant: a node without a lowering runs its reference
//! evaluation, so whatever the reference can evaluate, a session can run.

pub mod bind;
pub mod body;
pub mod buffers;
pub mod cache;
pub mod engine;
pub mod error;
pub mod executor;
mod fold;
pub mod lower;
pub mod plan;
pub mod profile;
pub mod segment;
pub mod session;
pub mod view;
pub mod weights;

pub use error::ExecError;
pub use plan::Plan;
pub use profile::{Profile, StepTime};
pub use session::{Outputs, Session, SessionOptions};
