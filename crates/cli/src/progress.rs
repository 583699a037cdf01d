//! A line on the terminal that says what takes so long. It appears after a second, and never in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long something may take without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// A display that removes itself when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    waiter: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// A display of `what`; nothing at all when it is not wanted.
    pub(crate) fn new(what: &str, wanted: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_message(what.to_owned());
        if !wanted {
            return Self { bar, waiter: None };
        }
        let (stop, stopped) = channel::<()>();
        let shown = bar.clone();
        let wait = move || {
            if stopped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                    shown.set_style(style);
                }
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(Duration::from_millis(120));
            }
        };
        // Where the system refuses a thread, nothing is shown.
        let waiter = std::thread::Builder::new().spawn(wait).ok();
        Self { bar, waiter: waiter.map(|waiter| (stop, waiter)) }
    }

    /// Says what is being done now.
    pub(crate) fn stage(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, waiter)) = self.waiter.take() {
            stop.send(()).ok();
            waiter.join().ok();
        }
        self.bar.finish_and_clear();
    }
}
