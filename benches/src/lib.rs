//! Benches per kernel family, whole models, and the comparison with peers. This library holds what the kernel benches
//! share: reproducible data and throughput as a share of the machine's measured peak.

pub mod step;
pub mod throughput;
