//! Every snapshot of the workspace, and what the tests that make them share: the corpus by name, counts of operators.
//!
//! Snapshots lie beside this package's sources, one folder per kind, because cargo-insta only looks below packages.
//! Refuses to know how anything is rewritten or run. Start at [`corpus`].

pub mod corpus;
