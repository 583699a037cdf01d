//! The rewriter: a rule language, an e-graph with typed classes, DAG-cost extraction, and provenance of what changed.
//!
//! [`optimize()`] takes a graph to the cheapest equal program that the rules of a [`RuleSet`] reach. Rules are text
//! (`rules/*.rules`, notation in `rules/README.md`). Refuses to know kernels and files other than rule files; the only
//! user of egg. Start at [`optimize()`], then `engine` for the phases and `lang` for the language.

mod apply;
mod control;
pub mod egraph;
mod emit;
mod engine;
mod error;
mod expr;
mod extract;
pub mod functions;
pub mod instance;
pub mod lang;
mod optimize;
mod parallel;
mod report;
mod rule;
mod search;
mod set;
mod shapes;
pub mod trial;
mod value;

pub use emit::provenance::{RULES, RULES_AT, SOURCES};
pub use engine::Limits;
pub use error::RewriteError;
pub use extract::cost::Machine;
pub use lang::ast::{Contract, Kind, Phase};
pub use lang::diag::RuleError;
pub use optimize::{Options, optimize, totals};
pub use report::{Fired, LimitHit, PhaseStats, Report, Site, Totals};
pub use rule::Rule;
pub use set::RuleSet;
pub use value::Value;
