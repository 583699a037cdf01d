//! Chooses the cheapest program that the e-graph holds.
//!
//! `cost` prices e-nodes, `problem` turns the e-graph into index arrays, `solve` minimises the cost of the DAG. The
//! original program is one of the starting points, so the result never costs more.

pub(crate) mod cost;
pub(crate) mod problem;
pub(crate) mod solve;
