//! Runs the backend tests of ONNX through every route that a model can take, and keeps the ledger of what does not pass.
//!
//! `cargo run -p fusebox-conformance` makes a Python environment and the cases below target/conformance (once), runs all
//! of them, prints the table, and fails when a case of [`ledger`] passes or another one fails.
//! `-- --case test_lstm` runs the cases whose `group/name` contains a text and prints what each route says, `--route
//! reference` keeps to one route, `--update` rewrites the ledger and keeps the reasons that people wrote into it (those
//! without brackets), `-- opinions` compares type inference with that of onnx and onnx-ir.
//!
//! Owns what counts as a pass. Refuses to know operators: a case is bytes, a tolerance and a route, never a name that is
//! treated otherwise. Cases come from `generate.py`, ONNX Runtime's answers from `peer.py`.

pub mod agree;
pub mod case;
pub mod ledger;
pub mod opinions;
pub mod results;
pub mod route;
pub mod setup;
pub mod sweep;
