//! Threads for work that several can share. Knows nothing of the work; results are in no particular order.

use std::thread::Builder;

/// Runs `work` on up to `workers` threads, this one included, and gathers what they return. Where the system refuses a
/// thread, those that there are do all of it: `work` takes the next piece until none is left.
pub(crate) fn gather<T: Send>(workers: usize, work: impl Fn() -> Vec<T> + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let spawn = |_| Builder::new().spawn_scoped(scope, &work);
        let handles: Vec<_> = (1..workers).map_while(|index| spawn(index).ok()).collect();
        let mut all = work();
        for handle in handles {
            match handle.join() {
                Ok(more) => all.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
