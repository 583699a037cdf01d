//! What this machine can do at best: multiply-adds per second from registers, bytes per second from memory.
//!
//! The yardstick of benches and of the cost model. Loops touch no memory but their own; results vary with clock and
//! with whatever else runs, so each is the best of several short runs.

use crate::gemm::Precision;
use crate::isa::Isa;
use std::hint::black_box;
use std::sync::{Barrier, OnceLock};
use std::time::Instant;

/// Independent accumulators of the arithmetic loop: enough to hide the latency of every unit.
const CHAINS: usize = 12;
const REPEATS: usize = 8;

/// Arithmetic peak in units of 10⁹ operations per second (a multiply-add counts two) of `threads` cores together, for
/// the instructions that the kernels of the precision use here (`FUSEBOX_KERNEL` respected).
pub fn measure_peak(precision: Precision, threads: usize) -> f64 {
    let (body, operations) = arithmetic(precision);
    // One calibration run, then rounds of some 5 ms.
    let start = Instant::now();
    body(10_000);
    let per_round = start.elapsed().as_secs_f64() / 10_000.0;
    let rounds = (5e-3 / per_round.max(1e-9)) as usize;
    together(threads, || body(rounds)) * (rounds * operations) as f64 / 1e9
}

/// Reading bandwidth from memory in 10⁹ bytes per second of `threads` cores together, over 128 MiB.
pub fn measure_bandwidth(threads: usize) -> f64 {
    let threads = threads.max(1);
    let share = (128 << 20) / 8 / threads;
    let data: Vec<Vec<u64>> = (0..threads).map(|t| vec![t as u64 + 1; share]).collect();
    let parts = std::sync::atomic::AtomicUsize::new(0);
    let read = || {
        let part = &data[parts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % threads];
        let level = Isa::available().next().and_then(Isa::level).expect("some instruction set is available");
        black_box(level.dispatch(Sum(part)));
    };
    together(threads, read) * (share * 8) as f64 / 1e9
}

struct Sum<'a>(&'a [u64]);

impl pulp::WithSimd for Sum<'_> {
    type Output = u64;
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> u64 {
        let (vectors, tail) = S::as_simd_u64s(self.0);
        let mut sums = [simd.splat_u64s(0); 8];
        for eight in vectors.chunks_exact(8) {
            for (sum, v) in sums.iter_mut().zip(eight) {
                *sum = simd.xor_u64s(*sum, *v);
            }
        }
        let all = sums.into_iter().reduce(|a, b| simd.xor_u64s(a, b));
        let lanes = bytemuck::bytes_of(&all.unwrap_or(simd.splat_u64s(0)))[0];
        tail.iter().fold(u64::from(lanes), |a, b| a ^ b)
    }
}

/// Runs `body` on every thread at once, several times; returns body runs per second of the best round.
fn together(threads: usize, body: impl Fn() + Sync) -> f64 {
    // How many take part is known once the system has refused no more of them.
    let gate = OnceLock::new();
    let spans: Vec<Vec<(Instant, Instant)>> = std::thread::scope(|scope| {
        let run = || {
            let barrier: &Barrier = gate.wait();
            (0..REPEATS)
                .map(|_| {
                    barrier.wait();
                    let start = Instant::now();
                    body();
                    (start, Instant::now())
                })
                .collect()
        };
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, run);
        let workers: Vec<_> = (1..threads).map_while(|index| spawn(index).ok()).collect();
        gate.get_or_init(|| Barrier::new(workers.len() + 1));
        let mut spans = vec![run()];
        spans.extend(workers.into_iter().map(|w| w.join().expect("the loop does not panic")));
        spans
    });
    let seconds = |round: usize| {
        let start = spans.iter().map(|s| s[round].0).min();
        let end = spans.iter().map(|s| s[round].1).max();
        start.zip(end).map_or(f64::MAX, |(start, end)| (end - start).as_secs_f64())
    };
    spans.len() as f64 / (0..REPEATS).map(seconds).fold(f64::MAX, f64::min)
}

/// The arithmetic loop of a precision and its operations per round.
fn arithmetic(precision: Precision) -> (fn(usize), usize) {
    let lanes = match precision {
        Precision::Int8 => 4,
        Precision::Bf16Dot => 2,
        Precision::F32 | Precision::F16 | Precision::Bf16 => 1,
    };
    // The instruction set that a step would get, FUSEBOX_KERNEL respected.
    let isa = crate::gemm::micro::micros(precision, None).map_or(Isa::Portable, |(isa, _)| isa);
    #[cfg(target_arch = "x86_64")]
    {
        if isa == Isa::Avx512 {
            let body = match precision {
                Precision::Int8 => x86::vnni,
                Precision::Bf16Dot => x86::bf16_dot,
                _ => x86::fma512,
            };
            return (body, CHAINS * 16 * lanes * 2);
        }
        if isa == Isa::Avx2 {
            let body = if precision == Precision::Int8 { x86::madd } else { x86::fma256 };
            return (body, CHAINS * if precision == Precision::Int8 { 16 } else { 8 } * 2);
        }
    }
    let _ = (isa, lanes);
    (plain, CHAINS * 16 * 2)
}

/// Multiply-adds that the compiler vectorises for its target.
fn plain(rounds: usize) {
    let mut sums = [[1.0f32; 16]; CHAINS];
    let (x, y) = (black_box(0.999_f32), black_box(0.001_f32));
    for _ in 0..rounds {
        for sum in &mut sums {
            for s in sum {
                *s = *s * x + y;
            }
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The loops over registers; each is handed out only after its features were detected.

    use super::{CHAINS, black_box};
    use std::arch::x86_64::*;

    /// A safe entry over a loop with target features: the step updates one accumulator from values alone.
    macro_rules! registers {
        ($name:ident, $features:literal, $register:ty, |$sum:ident, $x:ident| $step:expr) => {
            pub(super) fn $name(rounds: usize) {
                #[target_feature(enable = $features)]
                fn body(rounds: usize) {
                    // About 0.5 as f32 and as a pair of bf16, so that sums stay normal numbers.
                    let start = black_box([[0x3f00_3f00_u32; size_of::<$register>() / 4]; CHAINS]);
                    // SAFETY: registers are plain bits of the same size.
                    let mut sums: [$register; CHAINS] = unsafe { std::mem::transmute(start) };
                    let $x = sums[0];
                    for _ in 0..rounds {
                        for $sum in &mut sums {
                            *$sum = $step;
                        }
                    }
                    black_box(sums);
                }
                // SAFETY: `arithmetic` hands this out only when the kernels of the precision were detected.
                unsafe { body(rounds) }
            }
        };
    }

    registers!(fma512, "avx512f", __m512, |sum, x| _mm512_fmadd_ps(*sum, x, x));
    registers!(fma256, "avx2,fma", __m256, |sum, x| _mm256_fmadd_ps(*sum, x, x));
    registers!(vnni, "avx512f,avx512vnni", __m512i, |sum, x| _mm512_dpbusd_epi32(*sum, x, x));
    registers!(madd, "avx2", __m256i, |sum, x| _mm256_add_epi32(*sum, _mm256_madd_epi16(*sum, x)));
    registers!(bf16_dot, "avx512f,avx512bf16", __m512, |sum, x| {
        // SAFETY: both types are 64 plain bytes.
        let x = unsafe { std::mem::transmute::<__m512, __m512bh>(x) };
        _mm512_dpbf16_ps(*sum, x, x)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_positive_and_grow_with_width() {
        for precision in Precision::ALL {
            assert!(measure_peak(precision, 1) > 0.1, "{precision}");
        }
        assert!(measure_bandwidth(2) > 0.1);
    }
}
