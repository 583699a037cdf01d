//! Seeds, regressions and the loop of the smoke tests.

use crate::mutate;
use fusebox_testing::draw::Draw;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A target as the smoke tests call it.
pub type Target = fn(&[u8]);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

/// Files of a folder below `fuzz/`, by name.
pub fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder(name)).into_iter().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let content = std::fs::read(&path).ok()?;
            Some((path.file_name()?.to_string_lossy().into_owned(), content))
        })
        .collect();
    files.sort();
    files
}

/// Runs a target on an input; when that fails, says which input it was and keeps it in a file.
pub fn check(target: Target, input: &[u8], label: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let kept = std::env::temp_dir().join("fusebox-fuzzing-input");
        let written = std::fs::write(&kept, input).is_ok();
        eprintln!(
            "the input is {label}{}",
            if written { format!(", kept in {kept:?}") } else { String::new() }
        );
        std::panic::resume_unwind(panic);
    }
}

/// Runs a target on all its seeds and regressions.
pub fn replay(target: Target, seeds: &str, regressions: &str) {
    for (name, content) in files(seeds).iter().chain(&files(regressions)) {
        check(target, content, name);
    }
}

/// Runs a target on `cases` mutations of its seeds, the same in every run. `words` are for blunt mutations; without
/// them, mutations know models.
pub fn mutations(target: Target, seeds: &str, words: Option<&[&str]>, cases: u64) {
    let seeds = files(seeds);
    assert!(!seeds.is_empty(), "the seed corpus is committed");
    for case in 0..cases {
        let mut draw = Draw::new(case);
        let (name, seed) = draw.pick(&seeds);
        let input = match words {
            Some(words) => mutate::bytes(seed, words, &mut draw),
            None => mutate::model(seed, 1 << 16, draw.bits())
                .unwrap_or_else(|| mutate::bytes(seed, &[], &mut draw)),
        };
        check(target, &input, &format!("mutation {case} of seed {name}"));
    }
}
