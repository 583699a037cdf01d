//! Knows the temporary files that are being written, so that a program which is interrupted can take them along.
//!
//! Destructors remove them on every ordinary way out; a signal has none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

type Paths = Mutex<BTreeSet<PathBuf>>;

static UNFINISHED: Paths = Mutex::new(BTreeSet::new());

/// A file or folder that [`discard_unfinished`] removes for as long as this lives.
#[derive(Debug)]
pub struct Unfinished(PathBuf, &'static Paths);

impl Unfinished {
    /// Lists a path.
    pub fn new(path: &Path) -> Self {
        Self::listed_in(&UNFINISHED, path)
    }

    fn listed_in(paths: &'static Paths, path: &Path) -> Self {
        paths.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        Self(path.to_owned(), paths)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Removes what is being written right now. For a handler of interrupts that ends the program afterwards.
pub fn discard_unfinished() {
    discard(&UNFINISHED);
}

fn discard(paths: &Paths) {
    for path in &*paths.lock().unwrap_or_else(PoisonError::into_inner) {
        // Nobody is left to be told that something stays behind.
        drop(if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list that the program uses holds the files of other tests.
    static OWN: Paths = Mutex::new(BTreeSet::new());

    #[test]
    fn only_what_is_unfinished_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (part, stage, done) =
            (folder.path().join("part"), folder.path().join("stage"), folder.path().join("done"));
        std::fs::write(&part, b"").unwrap();
        std::fs::write(&done, b"").unwrap();
        std::fs::create_dir(&stage).unwrap();
        std::fs::write(stage.join("inner"), b"").unwrap();
        let listed = (Unfinished::listed_in(&OWN, &part), Unfinished::listed_in(&OWN, &stage));
        drop(Unfinished::listed_in(&OWN, &done));
        discard(&OWN);
        assert!(!part.exists() && !stage.exists() && done.exists());
        drop(listed);
    }
}
