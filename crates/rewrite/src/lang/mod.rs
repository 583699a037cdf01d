//! The rule language: tokens, syntax, names. Its notation is defined in `rules/README.md`.

pub mod ast;
mod compile;
pub mod diag;
mod lex;
mod load;
mod parse;
mod parse_expr;

pub use load::load;
pub(crate) use parse::MAX_TEXT;
