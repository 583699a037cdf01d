//! The command: prepares, runs, prints the table, holds the results to the ledger.

use fusebox_conformance::case::{self, Case};
use fusebox_conformance::ledger::{Key, Ledger};
use fusebox_conformance::results::{Results, excluded};
use fusebox_conformance::route::{ROUTES, Route};
use fusebox_conformance::{opinions, setup, sweep};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str =
    "usage: fusebox-conformance [opinions] [--case TEXT]... [--route NAME]... [--update] [--folder PATH]
  opinions  compares type inference with that of onnx and onnx-ir instead of running cases
  --case    runs only cases whose group/name contains TEXT, and prints what each route says
  --route   reference, optimized, reimported or exported
  --update  rewrites the ledger; reasons of rows that stay are kept
  --folder  where environment and cases lie (target/conformance)";

struct Arguments {
    cases: Vec<String>,
    routes: Vec<Route>,
    update: bool,
    opinions: bool,
    folder: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let folder = root()?.join("target/conformance");
    let mut found =
        Arguments { cases: Vec::new(), routes: Vec::new(), update: false, opinions: false, folder };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--case" => found.cases.push(value()?),
            "--route" => {
                let name = value()?;
                let route = Route::from_name(&name).ok_or_else(|| format!("no route {name:?}\n{USAGE}"))?;
                found.routes.push(route);
            }
            "opinions" => found.opinions = true,
            "--update" => found.update = true,
            "--folder" => found.folder = value()?.into(),
            _ => return Err(format!("unknown argument {word:?}\n{USAGE}")),
        }
    }
    if found.routes.is_empty() {
        found.routes = ROUTES.into();
    }
    Ok(found)
}

fn root() -> Result<&'static Path, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.ok_or_else(|| "the package lies in the workspace".into())
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let start = Instant::now();
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    setup::prepare(&arguments.folder, jobs)?;
    if arguments.opinions {
        return second_opinions(arguments, jobs);
    }
    let all = case::list(&arguments.folder)?;
    let named = |case: &Case| {
        arguments.cases.is_empty() || arguments.cases.iter().any(|text| case.id().contains(text.as_str()))
    };
    let mut cases: Vec<Case> = all.iter().filter(|c| c.excluded.is_none() && named(c)).cloned().collect();
    // The large networks first, so that they do not run on alone at the end.
    cases.sort_by_key(|case| case.group != "light");
    let results =
        sweep::run(&arguments.folder, &cases, &arguments.routes, jobs, !arguments.cases.is_empty())?;
    if !arguments.cases.is_empty() {
        print_outcomes(&cases, &arguments.routes, &results);
    }
    println!("{}{}", results.table(&cases), excluded(&all));
    println!("{} cases in {:.1} s", cases.len(), start.elapsed().as_secs_f64());
    let ids: BTreeSet<String> = cases.iter().map(Case::id).collect();
    let known: BTreeSet<String> = all.iter().map(Case::id).collect();
    let tried = |(case, route): &Key| {
        let route = Route::from_name(route);
        let gone = !known.contains(case) && arguments.cases.is_empty();
        route.is_some_and(|route| arguments.routes.contains(&route)) && (gone || ids.contains(case))
    };
    settle("ledger.txt", arguments.update, &results.failed, tried)
}

fn print_outcomes(cases: &[Case], routes: &[Route], results: &Results) {
    for case in cases {
        for route in routes {
            let said = results.failed.get(&(case.id(), route.name().into()));
            println!("{} {}: {}", case.id(), route.name(), said.map_or("passes", String::as_str));
        }
    }
}

fn second_opinions(arguments: &Arguments, jobs: usize) -> Result<bool, String> {
    let start = Instant::now();
    let found = opinions::compare(&arguments.folder, &root()?.join("corpus"), jobs)?;
    let sources: Vec<String> =
        found.compared.iter().map(|(source, count)| format!("{source} {count}")).collect();
    println!("{} models; values compared with {}", found.models, sources.join(", "));
    println!("onnx-ir refuses {} models; {:.1} s", found.refused.len(), start.elapsed().as_secs_f64());
    settle("opinions.txt", arguments.update, &found.disagreements, |_| true)
}

/// Compares with a ledger of this package or rewrites it; whether they agree.
fn settle(
    name: &str,
    update: bool,
    failed: &BTreeMap<Key, String>,
    tried: impl Fn(&Key) -> bool,
) -> Result<bool, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut ledger = Ledger::read(&path)?;
    if update {
        ledger.update(failed, tried);
        std::fs::write(&path, ledger.text()).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{name} has {} rows", ledger.len());
        return Ok(true);
    }
    let found = ledger.compare(failed, tried);
    for (case, route) in &found.passing {
        println!("passes but is in {name}: {case} {route}");
    }
    for ((case, route), message) in &found.unlisted {
        println!("fails and is not in {name}: {case} {route}: {message}");
    }
    if !found.is_empty() {
        println!(
            "crates/conformance/{name} disagrees with the results: fix what fails, or run with --update"
        );
    }
    Ok(found.is_empty())
}
