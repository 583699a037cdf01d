//! Test bed: lays values out in an arena, runs one step with several team sizes, reads the result back.
//!
//! Outputs begin as poison, so that elements a kernel forgets are seen. Values are reproducible.

use crate::arena::{ALIGN, Arena, Pod, Span};
use crate::program::{Program, Step};
use crate::team::{RunError, Team};

/// What fresh output bytes hold, so that elements a kernel forgets are seen.
const POISON: u8 = 0xA5;

#[derive(Default)]
pub(crate) struct Fixture {
    bytes: Vec<u8>,
}

impl Fixture {
    pub(crate) fn input<T: Pod>(&mut self, values: &[T]) -> Span {
        let span = Span { offset: self.bytes.len(), len: size_of_val(values) };
        self.bytes.extend(bytemuck::cast_slice::<T, u8>(values));
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), POISON);
        span
    }

    pub(crate) fn output<T: Pod>(&mut self, count: usize) -> Span {
        let span = Span { offset: self.bytes.len(), len: count * size_of::<T>() };
        self.bytes.resize((span.offset + span.len).next_multiple_of(ALIGN), POISON);
        span
    }

    pub(crate) fn try_run(&self, step: impl Step + 'static, threads: usize) -> Result<Arena, RunError> {
        let mut arena = Arena::new(self.bytes.len());
        let all = Span { offset: 0, len: self.bytes.len() };
        arena.bytes_mut(all).copy_from_slice(&self.bytes);
        let program =
            Program::new(vec![Box::new(step)], self.bytes.len()).expect("the step's spans are sound");
        Team::new(threads).expect("a few threads").run(&program, &mut arena, None)?;
        Ok(arena)
    }

    /// Runs a step on one thread and returns a span's elements.
    pub(crate) fn run<T: Pod>(&self, step: impl Step + 'static, output: Span) -> Vec<T> {
        let arena = self.try_run(step, 1).expect("the step runs");
        bytemuck::cast_slice(arena.bytes(output)).to_vec()
    }

    /// Asserts that every team size from 1 to 8 writes the same bytes.
    pub(crate) fn assert_thread_invariant<S: Step + 'static>(&self, step: impl Fn() -> S, output: Span) {
        let first = self.run::<u8>(step(), output);
        for threads in 2..=8 {
            let arena = self.try_run(step(), threads).expect("the step runs");
            assert!(arena.bytes(output) == first.as_slice(), "{threads} threads differ from one");
        }
    }
}

/// Deterministic values in about -2..2.
#[allow(dead_code, reason = "families land one by one")]
pub(crate) fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = u16::try_from(state >> 48).expect("sixteen bits");
            f32::from(bits) / 16_384.0 - 2.0
        })
        .collect()
}

/// Asserts closeness relative to the largest magnitude of the expected values.
#[allow(dead_code, reason = "families land one by one")]
pub(crate) fn assert_close(got: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().filter(|e| e.is_finite()).fold(1e-30, |m: f64, e| m.max(e.abs()));
    for (index, (&g, &e)) in got.iter().zip(expected).enumerate() {
        let g = f64::from(g);
        let same = (g.is_nan() && e.is_nan()) || g == e || (g - e).abs() <= tolerance * scale;
        assert!(same, "{what}: element {index} is {g}, expected {e} (scale {scale})");
    }
}
