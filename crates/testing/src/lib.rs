//! What tests of several crates share: random graphs of fusable fragments, valid inputs, tolerances, snapshot settings.
//!
//! A dev-dependency only. Refuses to know what is under test: it builds graphs and numbers and compares them; nothing
//! here optimizes, lowers or runs fast. Everything is drawn from a seed, so a failure repeats.
//! Start at [`graphs::Sketch`] to build one fragment, at [`graphs::plans`] for property tests.

pub mod draw;
pub mod graphs;
pub mod inputs;
pub mod reference;
pub mod snapshot;
pub mod tolerance;

pub use draw::Draw;
pub use graphs::{Flow, Sketch};
pub use inputs::inputs_for;
pub use reference::evaluate;
pub use tolerance::{Agreement, Limits, assert_close, compare};
