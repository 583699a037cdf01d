//! The e-graph: language, analysis, and the way in from a graph.

pub mod analysis;
pub mod import;
pub mod node;
