//! What is fuzzed, without the fuzzer: one function per target and mutations of model files.
//!
//! `fuzz/` feeds the targets from libFuzzer; the tests here feed them from seeds, on stable Rust and in seconds. Owns no
//! fix: whatever a target finds is mended where it is wrong, and its input kept in `fuzz/regressions`. Start at
//! [`target`].

pub mod mutate;
pub mod smoke;
pub mod target;
pub mod wire;
