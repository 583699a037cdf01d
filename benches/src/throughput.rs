//! Measures a program of kernels against the machine's peak.
//!
//! Not criterion: its statistics know no peak to compare with. Runs repeat for a fixed time; the best run counts,
//! because what a shared machine adds is never the kernel's; the median shows how much it added.

use fusebox_kernels::gemm::Precision;
use fusebox_kernels::probe::{measure_bandwidth, measure_peak};
use fusebox_kernels::{Arena, Program, Span, Step, Team};
use std::time::{Duration, Instant};

/// How long one row of the table is measured.
const PERIOD: Duration = Duration::from_millis(150);

/// Reproducible values in ±1.
pub fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Hands out aligned spans one after the other.
#[derive(Default)]
pub struct Spans {
    /// Bytes handed out.
    pub end: usize,
}

impl Spans {
    /// A span of `bytes`.
    pub fn next(&mut self, bytes: usize) -> Span {
        let span = Span { offset: self.end.next_multiple_of(64), len: bytes };
        self.end = span.offset + span.len;
        span
    }
}

/// One row of the table: a step and what it does.
pub struct Row {
    /// What is measured.
    pub label: String,
    /// Precision whose peak counts.
    pub precision: Precision,
    /// Operations of a run, a multiply-add counted as two.
    pub operations: f64,
    /// Bytes of weights that a run reads: what bounds it when there are few rows.
    pub weight_bytes: usize,
    /// The step.
    pub step: Box<dyn Step>,
    /// Bytes of arena that it needs.
    pub arena_len: usize,
    /// Its f32 input.
    pub input: Span,
}

/// Runs the rows whose label contains the command line's filter, on one and on all cores.
pub fn run(rows: impl Fn() -> Vec<Box<dyn Fn() -> Row>>) {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        println!("{threads} threads, memory {:.1} GB/s", measure_bandwidth(threads));
        let team = Team::new(threads).expect("a thread per core");
        let mut peaks = [0.0f64; Precision::ALL.len()];
        for build in rows() {
            let row = build();
            if !format!("{} {} /{threads}", row.step.name(), row.label).contains(&filter) {
                continue;
            }
            // The clock moves: measured again before each row, and the best so far counts.
            let slot = Precision::ALL.iter().position(|p| *p == row.precision).unwrap_or(0);
            peaks[slot] = peaks[slot].max(measure_peak(row.precision, threads));
            report(row, &team, peaks[slot]);
        }
    }
}

fn report(row: Row, team: &Team, peak: f64) {
    let Row { label, operations, weight_bytes, step, arena_len, input, .. } = row;
    let name = step.name();
    let program = Program::new(vec![step], arena_len).expect("spans are disjoint");
    let mut arena = Arena::new(arena_len);
    for (value, bytes) in noise(input.len / 4).iter().zip(arena.bytes_mut(input).chunks_exact_mut(4)) {
        bytes.copy_from_slice(&value.to_ne_bytes());
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed() < PERIOD {
        let start = Instant::now();
        team.run(&program, &mut arena, None).expect("kernels do not fail");
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let rate = |time: Duration| operations / time.as_secs_f64() / 1e9;
    let (best, median) = (times[0], times[times.len() / 2]);
    println!(
        "{name:<27} {label:<32} best {:>8.1} us {:>5.1} %  median {:>8.1} us {:>5.1} %  of {peak:.0} Gop/s  weights {:>5.1} GB/s",
        best.as_secs_f64() * 1e6,
        rate(best) / peak * 100.0,
        median.as_secs_f64() * 1e6,
        rate(median) / peak * 100.0,
        weight_bytes as f64 / best.as_secs_f64() / 1e9,
    );
}
