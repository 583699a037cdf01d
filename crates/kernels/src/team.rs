//! The thread team: workers walk one program in step, rayon's pool entered once per run.
//!
//! Tiles are handed out by an atomic counter per phase and a spinning barrier ends a phase. Nothing is split
//! statically: another process may take a core at any time.

use crate::arena::Arena;
use crate::program::{Program, Tile};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Spins before a waiting worker starts to yield its core: few, for the worker that it waits for may have been woken on
/// the same core, and the steps of a decoder are shorter than long spins.
const SPINS: u32 = 250;

/// A failed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// The arena is smaller than the program needs.
    SmallArena {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// A step failed.
    Step {
        /// Index of the step.
        step: usize,
        /// Reason.
        reason: String,
    },
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SmallArena { needed, given } => {
                write!(f, "the plan needs an arena of {needed} bytes, got {given}")
            }
            Self::Step { step, reason } => write!(f, "step {step}: {reason}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Most workers of a team: more than any machine has cores, few enough to start in an instant.
pub const MAX_THREADS: usize = 1024;

/// Why there is no team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TeamError {
    /// More workers than [`MAX_THREADS`].
    TooMany {
        /// Workers asked for.
        threads: usize,
    },
    /// The operating system did not start them all.
    Refused {
        /// Workers asked for.
        threads: usize,
        /// Its reason.
        reason: String,
    },
}

impl std::fmt::Display for TeamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { threads } => {
                write!(f, "{threads} threads were asked for, at most {MAX_THREADS} are possible")
            }
            Self::Refused { threads, reason } => {
                write!(f, "the operating system does not start {threads} threads: {reason}")
            }
        }
    }
}

impl std::error::Error for TeamError {}

/// A fixed number of workers.
pub struct Team {
    pool: Option<rayon::ThreadPool>,
    threads: usize,
}

struct Walk<'a> {
    program: &'a Program,
    /// Next tile of each phase of each step, flattened.
    next: Vec<AtomicUsize>,
    arrived: AtomicUsize,
    round: AtomicUsize,
    stop: AtomicBool,
    failure: Mutex<Option<RunError>>,
    threads: usize,
}

impl Team {
    /// A team of `threads` workers; one worker means the caller's own thread.
    ///
    /// # Errors
    /// More than [`MAX_THREADS`], or threads that the operating system refuses to start.
    pub fn new(threads: usize) -> Result<Self, TeamError> {
        let threads = threads.max(1);
        if threads > MAX_THREADS {
            return Err(TeamError::TooMany { threads });
        }
        let build = || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.thread_name(|i| format!("fusebox-{i}")).build()
        };
        let pool = (threads > 1).then(build).transpose();
        let pool = pool.map_err(|error| TeamError::Refused { threads, reason: error.to_string() })?;
        Ok(Self { pool, threads })
    }

    /// Number of workers.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs a program over an arena. `times`, when given, receives the wall time of each step.
    ///
    /// # Errors
    /// The first failure; the arena's contents are then unspecified.
    pub fn run(
        &self,
        program: &Program,
        arena: &mut Arena,
        times: Option<&mut Vec<Duration>>,
    ) -> Result<(), RunError> {
        self.walk(program, arena, times, self.pool.as_ref())
    }

    /// As [`Team::run`], on the caller's thread alone: for programs with less work than it takes to wake the others. The
    /// results are the same.
    ///
    /// # Errors
    /// As [`Team::run`].
    pub fn run_alone(
        &self,
        program: &Program,
        arena: &mut Arena,
        times: Option<&mut Vec<Duration>>,
    ) -> Result<(), RunError> {
        self.walk(program, arena, times, None)
    }

    fn walk(
        &self,
        program: &Program,
        arena: &mut Arena,
        times: Option<&mut Vec<Duration>>,
        pool: Option<&rayon::ThreadPool>,
    ) -> Result<(), RunError> {
        if arena.len() < program.arena_len() {
            return Err(RunError::SmallArena { needed: program.arena_len(), given: arena.len() });
        }
        let phases: usize = program.steps().iter().map(|s| s.phases()).sum();
        let walk = Walk {
            program,
            next: (0..phases).map(|_| AtomicUsize::new(0)).collect(),
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            threads: pool.map_or(1, |_| self.threads),
        };
        let memory = arena.memory();
        let timing = times.is_some();
        let recorded = match pool {
            None => walk.worker(0, &memory, timing),
            Some(pool) => pool
                .broadcast(|context| walk.worker(context.index(), &memory, timing && context.index() == 0))
                .swap_remove(0),
        };
        if let Some(times) = times {
            *times = recorded;
        }
        match walk.failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure),
            Err(_) => Err(RunError::Step { step: 0, reason: "a worker panicked".into() }),
        }
    }
}

impl Walk<'_> {
    fn worker(&self, worker: usize, memory: &crate::arena::Memory<'_>, timing: bool) -> Vec<Duration> {
        let mut times = Vec::new();
        let mut flat = 0;
        for (index, step) in self.program.steps().iter().enumerate() {
            let start = timing.then(Instant::now);
            for phase in 0..step.phases() {
                let tiles = step.tiles(phase);
                loop {
                    let tile = self.next[flat].fetch_add(1, Ordering::Relaxed);
                    if tile >= tiles || self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let run = || step.run(Tile { phase, index: tile, worker }, memory);
                    // A worker that unwinds would leave the others spinning at the barrier for ever.
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                    if let Err(reason) =
                        outcome.unwrap_or_else(|panic| Err(crate::StepError(message(&*panic))))
                    {
                        self.fail(RunError::Step { step: index, reason: reason.0 });
                    }
                }
                flat += 1;
                if !self.barrier() {
                    return times;
                }
            }
            if let Some(start) = start {
                times.push(start.elapsed());
            }
        }
        times
    }

    fn fail(&self, failure: RunError) {
        if let Ok(mut slot) = self.failure.lock() {
            slot.get_or_insert(failure);
        }
        self.stop.store(true, Ordering::Release);
    }

    /// Waits for every worker; false when the run was stopped.
    fn barrier(&self) -> bool {
        if self.threads > 1 {
            let round = self.round.load(Ordering::Acquire);
            if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
                self.arrived.store(0, Ordering::Relaxed);
                self.round.store(round + 1, Ordering::Release);
            } else {
                let mut spins = 0;
                // A worker may have left this barrier and failed already: it will not come to the next one.
                while self.round.load(Ordering::Acquire) == round && !self.stop.load(Ordering::Acquire) {
                    spins += 1;
                    if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
                }
            }
        }
        !self.stop.load(Ordering::Acquire)
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "no message".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostStep, ProgramError, Span, Step};
    use std::sync::Arc;

    fn increment(input: Span, output: Span) -> Box<dyn Step> {
        let body = |i: &[&[u8]], o: &mut [&mut [u8]]| -> Result<(), String> {
            o[0].iter_mut().zip(i[0]).for_each(|(o, i)| *o = i + 1);
            Ok(())
        };
        Box::new(HostStep::new("increment", vec![input], vec![output], Arc::new(body)))
    }

    #[test]
    fn steps_run_in_order_for_every_team_size() {
        let (a, b) = (Span { offset: 0, len: 64 }, Span { offset: 64, len: 64 });
        for threads in 1..=8 {
            let steps =
                (0..100).map(|i| if i % 2 == 0 { increment(a, b) } else { increment(b, a) }).collect();
            let program = Program::new(steps, 128).unwrap();
            let team = Team::new(threads).unwrap();
            let mut arena = Arena::new(128);
            team.run(&program, &mut arena, None).unwrap();
            assert!(arena.bytes(a).iter().all(|&x| x == 100));
            let mut times = Vec::new();
            team.run_alone(&program, &mut arena, Some(&mut times)).unwrap();
            assert!(arena.bytes(a).iter().all(|&x| x == 200) && times.len() == 100);
        }
    }

    #[test]
    fn absurd_numbers_of_threads_are_refused() {
        for threads in [MAX_THREADS + 1, usize::MAX] {
            let error = Team::new(threads).err().unwrap();
            assert_eq!(error, TeamError::TooMany { threads });
            assert!(error.to_string().contains("at most 1024"), "{error}");
        }
    }

    #[test]
    fn a_panicking_step_is_an_error_and_not_a_hang() {
        let body = |_: &[&[u8]], _: &mut [&mut [u8]]| -> Result<(), String> { panic!("deliberate") };
        let steps: Vec<Box<dyn Step>> = vec![Box::new(HostStep::new("bad", vec![], vec![], Arc::new(body)))];
        let program = Program::new(steps, 0).unwrap();
        let error = Team::new(4).unwrap().run(&program, &mut Arena::new(0), None).unwrap_err();
        assert_eq!(error, RunError::Step { step: 0, reason: "panicked: deliberate".into() });
    }

    #[test]
    fn overlapping_operands_are_refused() {
        let a = Span { offset: 0, len: 64 };
        let error = Program::new(vec![increment(a, Span { offset: 32, len: 64 })], 128).err();
        assert!(matches!(error, Some(ProgramError::Overlap { step: 0, .. })));
    }
}
