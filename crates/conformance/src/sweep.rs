//! Runs many cases at once.

use crate::case::Case;
use crate::results::Results;
use crate::route::{self, Route};
use crate::setup;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs cases by routes on `jobs` threads. The result does not depend on their number.
///
/// # Errors
/// When ONNX Runtime cannot be asked.
pub fn run(folder: &Path, cases: &[Case], routes: &[Route], jobs: usize) -> Result<Results, String> {
    let exported = folder.join("exported");
    if routes.contains(&Route::Exported) {
        // What an earlier run left must not be taken for what this one wrote.
        std::fs::remove_dir_all(&exported)
            .or_else(not_found)
            .map_err(|e| format!("{}: {e}", exported.display()))?;
    }
    let mut results = Results::new(&read_answers(&setup::originals(folder))?);
    let found = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcomes = route::run(case, &folder.join("cases"), &exported, routes);
            let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            found.insert(case.id(), outcomes);
        }
    };
    std::thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut answers = BTreeMap::new();
    if routes.contains(&Route::Exported) {
        let file = folder.join("exported.tsv");
        setup::peer(folder, &exported, &file, jobs)?;
        answers = read_answers(&file)?;
    }
    for case in cases {
        for (route, outcome) in found.get(&case.id()).into_iter().flatten() {
            let outcome = match (route, outcome, answers.get(&case.id())) {
                (Route::Exported, Ok(()), Some(answer)) if !answer.is_empty() => {
                    Err(format!("onnxruntime: {answer}"))
                }
                _ => outcome.clone(),
            };
            results.add(case, *route, outcome);
        }
    }
    Ok(results)
}

fn not_found(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Reads `case TAB message` lines.
fn read_answers(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let pair = |line: &str| line.split_once('\t').map(|(case, answer)| (case.to_owned(), answer.to_owned()));
    Ok(text.lines().filter_map(pair).collect())
}
