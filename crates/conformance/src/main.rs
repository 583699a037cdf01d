//! The command: prepares, runs, prints the table, holds the results to the ledger.

use fusebox_conformance::case::{self, Case};
use fusebox_conformance::ledger::{Key, Ledger};
use fusebox_conformance::results::{Results, excluded};
use fusebox_conformance::route::{ROUTES, Route};
use fusebox_conformance::{setup, sweep};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: fusebox-conformance [--case TEXT]... [--route NAME]... [--update] [--folder PATH]
  --case    runs only cases whose group/name contains TEXT, and prints what each route says
  --route   reference, optimized, reimported or exported
  --update  rewrites the ledger; reasons of rows that stay are kept
  --folder  where environment and cases lie (target/conformance)";

struct Arguments {
    cases: Vec<String>,
    routes: Vec<Route>,
    update: bool,
    folder: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .ok_or("the package lies in the workspace")?;
    let folder = root.join("target/conformance");
    let mut found = Arguments { cases: Vec::new(), routes: Vec::new(), update: false, folder };
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
    let all = case::list(&arguments.folder)?;
    let named = |case: &Case| {
        arguments.cases.is_empty() || arguments.cases.iter().any(|text| case.id().contains(text.as_str()))
    };
    let mut cases: Vec<Case> = all.iter().filter(|c| c.excluded.is_none() && named(c)).cloned().collect();
    // The large networks first, so that they do not run on alone at the end.
    cases.sort_by_key(|case| case.group != "light");
    let results = sweep::run(&arguments.folder, &cases, &arguments.routes, jobs)?;
    if !arguments.cases.is_empty() {
        print_outcomes(&cases, &arguments.routes, &results);
    }
    println!("{}{}", results.table(&cases), excluded(&all));
    println!("{} cases in {:.1} s", cases.len(), start.elapsed().as_secs_f64());
    settle(arguments, &all, &cases, &results)
}

fn print_outcomes(cases: &[Case], routes: &[Route], results: &Results) {
    for case in cases {
        for route in routes {
            let said = results.failed.get(&(case.id(), route.name().into()));
            println!("{} {}: {}", case.id(), route.name(), said.map_or("passes", String::as_str));
        }
    }
}

/// Compares with the ledger or rewrites it; whether they agree.
fn settle(arguments: &Arguments, all: &[Case], cases: &[Case], results: &Results) -> Result<bool, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ledger.txt");
    let mut ledger = Ledger::read(&path)?;
    let ids: std::collections::BTreeSet<String> = cases.iter().map(Case::id).collect();
    let known: std::collections::BTreeSet<String> = all.iter().map(Case::id).collect();
    let tried = |(case, route): &Key| {
        let route = Route::from_name(route);
        let gone = !known.contains(case) && arguments.cases.is_empty();
        route.is_some_and(|route| arguments.routes.contains(&route)) && (gone || ids.contains(case))
    };
    if arguments.update {
        ledger.update(&results.failed, tried);
        std::fs::write(&path, ledger.text()).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("the ledger has {} rows", ledger.len());
        return Ok(true);
    }
    let found = ledger.compare(&results.failed, tried);
    for (case, route) in &found.passing {
        println!("passes but is in the ledger: {case} {route}");
    }
    for ((case, route), message) in &found.unlisted {
        println!("fails and is not in the ledger: {case} {route}: {message}");
    }
    if !found.is_empty() {
        println!(
            "crates/conformance/ledger.txt disagrees with the results: fix what fails, or run with --update"
        );
    }
    Ok(found.is_empty())
}
