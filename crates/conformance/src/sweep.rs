//! Runs many cases at once.

use crate::case::Case;
use crate::results::Results;
use crate::route::{self, Outcome, Route, TARGETS};
use crate::setup;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs cases by routes on `jobs` threads. The result does not depend on their number. What was exported stays for a
/// look when `keep`.
///
/// # Errors
/// When ONNX Runtime cannot be asked.
pub fn run(
    folder: &Path,
    cases: &[Case],
    routes: &[Route],
    jobs: usize,
    keep: bool,
) -> Result<Results, String> {
    let exported = folder.join("exported");
    // What an earlier run left must not be taken for what this one writes.
    remove(&exported)?;
    let mut results = Results::new(&read_answers(&setup::originals(folder))?);
    let found = each(cases, jobs, |case| route::run(case, &folder.join("cases"), &exported, routes));
    let answers = if routes.contains(&Route::Exported) { ask(folder, &exported, jobs)? } else { Vec::new() };
    if !keep {
        remove(&exported)?;
    }
    for (case, outcomes) in cases.iter().zip(found) {
        for (route, outcome) in outcomes {
            let outcome = match route {
                Route::Exported => outcome.and_then(|()| answered(&case.id(), &answers)),
                _ => outcome,
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

/// Answers by case, of one target.
type Answers = (&'static str, BTreeMap<String, String>);

/// What ONNX Runtime makes of the exported models.
fn ask(folder: &Path, exported: &Path, jobs: usize) -> Result<Vec<Answers>, String> {
    let of_target = |(target, _): &(&'static str, _)| {
        let file = folder.join(format!("exported-{target}.tsv"));
        setup::peer(folder, &exported.join(target), &file, jobs)?;
        Ok((*target, read_answers(&file)?))
    };
    TARGETS.iter().map(of_target).collect()
}

fn answered(case: &str, answers: &[Answers]) -> Outcome {
    let complaint = |(target, answers): &Answers| {
        let answer = answers.get(case).map_or("did not answer", String::as_str);
        (!answer.is_empty()).then(|| format!("onnxruntime, target {target}: {answer}"))
    };
    answers.iter().find_map(complaint).map_or(Ok(()), Err)
}

fn remove(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Reads `case TAB message` lines.
fn read_answers(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let pair = |line: &str| line.split_once('\t').map(|(case, answer)| (case.to_owned(), answer.to_owned()));
    Ok(text.lines().filter_map(pair).collect())
}
