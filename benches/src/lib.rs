//! Criterion benches per kernel family, whole models, and the comparison with peers.
