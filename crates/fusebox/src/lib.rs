//! Optimize, quantize, verify and run ONNX models on a CPU.
//!
//! The same verbs as the `fusebox` command. A [`Model`] is opened from a file, [`optimize()`] rewrites it and lowers its
//! precision, [`verification`] compares the result with the reference evaluation of the original, a [`Session`] runs it.
//!
//! ```
//! use fusebox::{inputs, optimize, verification, Model, OptimizeOptions, Precision, Session, SessionOptions};
//!
//! # fn main() -> Result<(), fusebox::Error> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpus/attention.onnx");
//! let model = Model::open(path)?;
//! let options = OptimizeOptions { precision: Some(Precision::Int8), ..OptimizeOptions::default() };
//! let (optimized, report) = optimize(&model, &options)?;
//! println!("{report}");
//! let verify = verification::VerifyOptions { precision: options.precision, ..Default::default() };
//! assert!(verification::verify_optimized(&model, &optimized, &verify)?.passed());
//! let session = Session::new(&optimized, SessionOptions::default())?;
//! let inputs = inputs::generate(&optimized, &Default::default())?;
//! for (name, tensor) in session.run(&inputs.feeds())? {
//!     println!("{name}: {}", tensor.ty());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Refuses to know terminals: texts, colours and exit codes are the command line's. Every failure is an [`Error`] with
//! a [`Kind`], its causes, and a hint at what to do.

pub mod attempts;
pub mod compare;
pub mod conditioning;
pub mod cut;
pub mod decode;
pub mod error;
pub mod inputs;
pub mod inspect;
pub mod measure;
pub mod metrics;
pub mod model;
pub mod optimize;
pub mod pass;
pub mod save;
pub mod sizes;
pub mod verification;
pub mod work;

pub use compare::{CompareOptions, Comparison, Engine, verify};
pub use error::{Error, Kind};
pub use fusebox_exec::{ExecError, Profile, Session, SessionOptions, StepTime};
pub use fusebox_ir::diff::{Diff, DiffOptions, LineKind};
pub use fusebox_ir::{DType, Tensor};
pub use fusebox_kernels as kernels;
pub use fusebox_onnx::{LoadOptions, Opset, SaveOptions, SaveReport, Target, discard_unfinished};
pub use fusebox_quant::{Decision, Precision, PrecisionReport};
pub use fusebox_rewrite::{RewriteError, Rule, RuleError, RuleSet};
pub use inputs::Inputs;
pub use inspect::inspect;
pub use metrics::{Metrics, Tolerance};
pub use model::Model;
pub use optimize::{OptimizeOptions, Report, optimize};
pub use save::save_verified;
pub use sizes::Sizes;

/// Compares the graphs of two models by structure.
pub fn diff(before: &Model, after: &Model, options: &DiffOptions) -> Diff {
    fusebox_ir::diff::diff(&before.graph, &after.graph, options)
}

/// The text form of a model, with names as comments.
pub fn print(model: &Model) -> String {
    let options = fusebox_ir::text::PrintOptions { names: true, ..Default::default() };
    fusebox_ir::text::print_model(model, &options)
}

/// Runs the Rust in README as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
