//! Times one kernel step: lays its operands out, runs it until the clock has been seen settled, gives best and median.
//!
//! Knows no kernel; benches of the row, elementwise and attention families build their steps and judge the times.

use crate::throughput::noise;
use fusebox_kernels::{Arena, Program, Span, Step, Team};
use std::time::{Duration, Instant};

/// Operands of a step, laid out one after the other.
#[derive(Default)]
pub struct Operands {
    len: usize,
    filled: Vec<(Span, Vec<f32>)>,
}

impl Operands {
    /// A span of `count` floats with reproducible values in ±1.
    pub fn input(&mut self, count: usize) -> Span {
        let span = self.output(count);
        self.filled.push((span, noise(count)));
        span
    }

    /// A span of `count` floats, zero at first.
    pub fn output(&mut self, count: usize) -> Span {
        let span = Span { offset: self.len, len: count * size_of::<f32>() };
        self.len = (span.offset + span.len).next_multiple_of(64);
        span
    }

    /// Best and median time of a step over these operands.
    pub fn time(&self, step: Box<dyn Step>, threads: usize) -> (Duration, Duration) {
        let program = Program::new(vec![step], self.len).expect("spans are disjoint");
        let mut arena = Arena::new(self.len);
        for (span, values) in &self.filled {
            for (value, bytes) in values.iter().zip(arena.bytes_mut(*span).chunks_exact_mut(4)) {
                bytes.copy_from_slice(&value.to_ne_bytes());
            }
        }
        let team = Team::new(threads).expect("a thread per core");
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < 5 || start.elapsed() < Duration::from_millis(200) {
            let start = Instant::now();
            team.run(&program, &mut arena, None).expect("kernels do not fail");
            times.push(start.elapsed());
        }
        times.sort_unstable();
        (times[0], times[times.len() / 2])
    }
}

/// Thread counts to measure: one, and all that the machine has.
pub fn thread_counts() -> [usize; 2] {
    [1, std::thread::available_parallelism().map_or(1, usize::from)]
}

/// The first argument that is no flag: benches run only what contains it.
pub fn filter() -> String {
    std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default()
}

/// Prints times of a kernel that reads and writes `elements` floats once.
pub fn report(name: &str, elements: usize, (best, median): (Duration, Duration)) {
    let bytes = (elements * 2 * size_of::<f32>()) as f64;
    println!(
        "{name:<44} best {:>8.1} us  median {:>8.1} us  {:>6.2} ns per 16 elements  {:>6.1} GB/s",
        best.as_secs_f64() * 1e6,
        median.as_secs_f64() * 1e6,
        best.as_secs_f64() * 1e9 / (elements as f64 / 16.0),
        bytes / best.as_secs_f64() / 1e9,
    );
}
