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
    let found = each(cases, jobs, |case| route::run(case, &folder.join("cases"), &exported, routes));
    let mut answers = BTreeMap::new();
    if routes.contains(&Route::Exported) {
        let file = folder.join("exported.tsv");
        setup::peer(folder, &exported, &file, jobs)?;
        answers = read_answers(&file)?;
    }
    for (case, outcomes) in cases.iter().zip(found) {
        for (route, outcome) in outcomes {
            let outcome = match (route, outcome, answers.get(&case.id())) {
                (Route::Exported, Ok(()), Some(answer)) if !answer.is_empty() => {
                    Err(format!("onnxruntime: {answer}"))
                }
                (_, outcome, _) => outcome,
            };
            results.add(case, route, outcome);
        }
    }
    Ok(results)
}

/// Calls `work` on every item from `jobs` threads; the results are in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let found = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(index, result);
        }
    };
    std::thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(run))));
    found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
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
