//! What all plans of a session share: threads, packed weights, the model's functions, one arena.
//!
//! Plans never run at the same time, so one arena serves them all: it grows to what the largest needs and stays.

use crate::ExecError;
use crate::weights::Weights;
use fusebox_ir::Function;
use fusebox_kernels::{Arena, Isa, Team};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Arenas below this size are not worth a question to the system.
const LARGE: usize = 256 << 20;

/// Shared state of a session.
pub struct Engine {
    /// Threads.
    pub team: Team,
    /// Weights packed so far.
    pub weights: Weights,
    /// The model's functions.
    pub functions: Arc<[Function]>,
    /// Instruction set to force, for tests.
    pub isa: Option<Isa>,
    arena: Mutex<Arena>,
}

impl Engine {
    /// Shared state without weights and memory so far.
    ///
    /// # Errors
    /// Threads that there cannot be.
    pub fn new(functions: Arc<[Function]>, threads: usize, isa: Option<Isa>) -> Result<Self, ExecError> {
        let arena = Mutex::new(Arena::new(0));
        Ok(Self { team: Team::new(threads)?, weights: Weights::default(), functions, isa, arena })
    }

    /// The arena, with at least `bytes` bytes of whatever earlier runs left there.
    ///
    /// # Errors
    /// When the machine does not give that much memory.
    pub(crate) fn arena(&self, bytes: usize) -> Result<MutexGuard<'_, Arena>, ExecError> {
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        if arena.len() < bytes {
            // The old one goes first, so that both are never held at once.
            *arena = Arena::new(0);
            let fits = bytes < LARGE || bytes as u64 <= fusebox_ops::memory::available();
            let new = fits.then(|| Arena::try_new(bytes)).flatten();
            *arena = new.ok_or(ExecError::OutOfMemory { bytes })?;
        }
        Ok(arena)
    }

    /// Bytes that the arena holds now.
    pub fn arena_bytes(&self) -> usize {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
