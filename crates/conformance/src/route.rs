//! The routes that a case takes, and how one is run without taking the others down.
//!
//! A panic is a failure of its case. Every failure is one line that begins with the stage at which it happened.

use crate::agree::{self, Tolerance};
use crate::case::{Case, DataSet, data_sets, fed_inputs};
use fusebox::{Model, OptimizeOptions, SaveOptions, Session, SessionOptions, Target};
use fusebox_ir::Graph;
use fusebox_ops::{Datum, Interpreter};
use std::cell::RefCell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

/// A way from a model file to outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// Reference evaluation of the model as imported.
    Reference,
    /// Optimized, then the executor.
    Optimized,
    /// Exported, imported again, then the executor.
    Reimported,
    /// Optimized, exported for every target, then ONNX Runtime. Counted where that runtime passes the original.
    Exported,
}

/// All routes in the order of the table.
pub const ROUTES: [Route; 4] = [Route::Reference, Route::Optimized, Route::Reimported, Route::Exported];

impl Route {
    /// Name in the ledger and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Optimized => "optimized",
            Self::Reimported => "reimported",
            Self::Exported => "exported",
        }
    }

    /// Route of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        ROUTES.into_iter().find(|route| route.name() == name)
    }
}

/// What a route made of a case: nothing to say, or why it does not pass.
pub type Outcome = Result<(), String>;

/// Runs a case by the given routes. `Exported` only writes the model below `exported`; ONNX Runtime speaks later.
pub fn run(case: &Case, cases: &Path, exported: &Path, routes: &[Route]) -> Vec<(Route, Outcome)> {
    let folder = case.folder(cases);
    let opened = caught(|| {
        let model = fusebox_onnx::load(folder.join("model.onnx"), &fusebox::LoadOptions::default());
        let model = model.map(Model::from).map_err(|e| stage("import", &e))?;
        let sets = data_sets(&folder, &model.graph).map_err(|e| format!("data: {e}"))?;
        Ok((model, sets))
    });
    let (model, sets) = match opened {
        Ok(opened) => opened,
        Err(reason) => return routes.iter().map(|route| (*route, Err(reason.clone()))).collect(),
    };
    let tolerance = Tolerance { rtol: case.rtol, atol: case.atol, shapes_only: case.random };
    let optimizes = routes.iter().any(|route| matches!(route, Route::Optimized | Route::Exported));
    let optimized = if optimizes { caught(|| optimized(&model)) } else { Err(String::new()) };
    let go = |route: &Route| {
        let outcome = caught(|| match route {
            Route::Reference => reference(&model, &sets, tolerance),
            Route::Optimized => executor(optimized.as_ref().map_err(String::clone)?, &sets, tolerance),
            Route::Reimported => executor(&reimported(&model)?, &sets, tolerance),
            Route::Exported => export(optimized.as_ref().map_err(String::clone)?, case, exported),
        });
        (*route, outcome)
    };
    routes.iter().map(go).collect()
}

fn reference(model: &Model, sets: &[DataSet], tolerance: Tolerance) -> Outcome {
    for set in sets {
        let inputs = set.in_order(&model.graph);
        let found = Interpreter::new(&model.functions)
            .run(&model.graph, &inputs, &[])
            .map_err(|e| stage("evaluate", &e))?;
        agree::outputs(&set.outputs, &found, tolerance)?;
    }
    Ok(())
}

fn optimized(model: &Model) -> Result<Model, String> {
    let options = OptimizeOptions { threads: 1, ..OptimizeOptions::default() };
    fusebox::optimize(model, &options).map(|(model, _)| model).map_err(|e| stage("optimize", &e))
}

fn reimported(model: &Model) -> Result<Model, String> {
    let bytes = fusebox_onnx::to_bytes(model, &SaveOptions::default()).map_err(|e| stage("export", &e))?;
    let again = fusebox_onnx::load_bytes(&bytes.into(), &fusebox::LoadOptions::default());
    again.map(Model::from).map_err(|e| stage("import again", &e))
}

fn executor(model: &Model, sets: &[DataSet], tolerance: Tolerance) -> Outcome {
    let options = SessionOptions { threads: 1, ..SessionOptions::default() };
    let session = Session::new(model, options).map_err(|e| stage("plan", &e))?;
    for set in sets {
        let names = input_names(&model.graph, set.inputs.len());
        let feeds: Vec<(&str, Datum)> = names.into_iter().zip(set.inputs.iter().cloned()).collect();
        let found = session.run_data(&feeds).map_err(|e| stage("run", &e))?;
        let found: Vec<Datum> = found.into_iter().map(|(_, datum)| datum).collect();
        agree::outputs(&set.outputs, &found, tolerance)?;
    }
    Ok(())
}

fn input_names(graph: &Graph, count: usize) -> Vec<&str> {
    fed_inputs(graph, count).into_iter().map(|id| graph.value(id).name.as_str()).collect()
}

/// Targets of export, by the name of the folder that their models go to.
pub const TARGETS: [(&str, Target); 3] =
    [("fusebox", Target::Fusebox), ("onnx", Target::Onnx), ("onnxruntime", Target::OnnxRuntime)];

fn export(model: &Model, case: &Case, exported: &Path) -> Outcome {
    for (name, target) in TARGETS {
        let folder = case.folder(&exported.join(name));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let options = SaveOptions { target, ..SaveOptions::default() };
        let saved = model.save(folder.join("model.onnx"), &options);
        saved.map_err(|e| stage(&format!("export for {name}"), &e))?;
    }
    Ok(())
}

/// An error with its causes in one line, behind the stage at which it happened.
fn stage(stage: &str, error: &dyn Error) -> String {
    let mut text = format!("{stage}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    one_line(&text)
}

/// A message without line breaks.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs something that may panic; the panic's message and place become the error.
pub fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let message = text.unwrap_or("a panic without a message");
            let place =
                info.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
            PANIC.with_borrow_mut(|slot| *slot = Some(one_line(&format!("panic: {message}{place}"))));
        }));
    });
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(PANIC.with_borrow_mut(Option::take).unwrap_or_else(|| "a panic in another thread".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_outcome() {
        let outcome = caught::<()>(|| panic!("no\nsuch thing"));
        assert!(outcome.unwrap_err().starts_with("panic: no such thing at crates/conformance/src/route.rs"));
        assert_eq!(caught(|| Ok(3)), Ok(3));
    }

    #[test]
    fn routes_are_named() {
        assert!(ROUTES.into_iter().all(|route| Route::from_name(route.name()) == Some(route)));
        assert_eq!(Route::from_name("other"), None);
    }
}
