//! The targets: what must hold for any bytes.
//!
//! A target answers by returning. A panic, an abort, memory beyond the limit or a hang is a bug of the code under test;
//! so is an answer that contradicts another, which the assertions here turn into a panic.

use bytes::Bytes;
use fusebox::inputs::{self, DrawOptions, Inputs};
use fusebox::sizes::Preferred;
use fusebox::{
    LoadOptions, Model, Opset, OptimizeOptions, Precision, SaveOptions, Session, SessionOptions, Target,
};
use fusebox_ir::text::{PrintOptions, parse, parse_model, print, print_model};
use fusebox_ops::{Budget, Datum, EvalError, Interpreter, Limits};
use fusebox_rewrite::RuleSet;

/// Limits of import under fuzzing.
fn limits(upgrade: bool) -> LoadOptions {
    LoadOptions { max_generated: 4 << 20, max_overhead: 64 << 20, upgrade, ..LoadOptions::default() }
}

fn open(bytes: &[u8], upgrade: bool) -> Option<Model> {
    match fusebox_onnx::load_bytes(&Bytes::copy_from_slice(bytes), &limits(upgrade)) {
        Ok(model) => Some(model.into()),
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.help().is_empty());
            None
        }
    }
}

/// Bytes → import → verify → export → import: what was read to the letter is written and read again as the same model,
/// and the upgraded form can be exported for an old opset or refused.
pub fn import(bytes: &[u8]) {
    let as_written = SaveOptions { opset: Opset::AsWritten, ..SaveOptions::default() };
    if let Some(model) = open(bytes, false) {
        model.graph.verify().expect("what import accepts is valid");
        if let Ok(written) = fusebox_onnx::to_bytes(&model, &as_written) {
            let mut again = open(&written, false).expect("what export writes can be read");
            // Export raises the version to what the model needs.
            again.ir_version = again.ir_version.min(model.ir_version);
            let text = |model: &Model| {
                print_model(model, &PrintOptions { metadata: true, ..PrintOptions::default() })
            };
            assert_eq!(text(&again), text(&model), "written and read again");
            // The first export puts nodes that came in any order in topological order; from then on bytes are stable.
            let twice = fusebox_onnx::to_bytes(&again, &as_written).expect("written once already");
            let third = open(&twice, false).expect("what export writes can be read");
            let thrice = fusebox_onnx::to_bytes(&third, &as_written).expect("written twice already");
            assert!(thrice == twice, "export is the same for the same model");
        }
    }
    if let Some(model) = open(bytes, true) {
        model.graph.verify().expect("what import accepts is valid");
        let mut typed = model.graph.clone();
        drop(fusebox_ops::infer_graph(&mut typed, &model.functions));
        typed.verify().expect("typing keeps a graph valid");
        for target in [Target::default(), Target::Onnx, Target::OnnxRuntime] {
            drop(fusebox_onnx::to_bytes(&model, &SaveOptions { target, ..SaveOptions::default() }));
        }
    }
}

/// Text → parse → print → parse: both readings are one graph, and printing is stable.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let complete = PrintOptions::complete();
    match parse(text) {
        Ok(graph) => {
            let printed = print(&graph, &complete);
            let again = parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(print(&again, &complete), printed, "printed and read again");
            drop(graph.verify());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(model) = parse_model(text, &|_, _| None) {
        let printed = print_model(&model, &complete);
        let again = parse_model(&printed, &|_, _| None).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(print_model(&again, &complete), printed, "printed and read again");
    }
}

/// Text → rules: parsed, compiled and checked on their examples, or refused with the place.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = RuleSet::empty().load_text("fuzz.rules", text) {
        assert!(!error.to_string().is_empty());
    }
}

/// Bytes → import → optimize in a precision drawn from the bytes → export in all three forms → import.
pub fn optimize(bytes: &[u8]) {
    let Some(model) = open(bytes, true) else { return };
    let choices = [None, None, Some(Precision::Int8), Some(Precision::Fp16), Some(Precision::Bf16)];
    let precision = choices[bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % choices.len()];
    let options = OptimizeOptions { precision, threads: 1, ..OptimizeOptions::default() };
    let Ok((optimized, report)) = fusebox::optimize(&model, &options) else { return };
    assert!(!report.to_string().is_empty());
    for target in [Target::default(), Target::Onnx, Target::OnnxRuntime] {
        if let Ok(written) =
            fusebox_onnx::to_bytes(&optimized, &SaveOptions { target, ..SaveOptions::default() })
        {
            let again = fusebox_onnx::load_bytes(&written.into(), &limits(true));
            again.unwrap_or_else(|error| panic!("{target:?}: what optimize writes can be read: {error}"));
        }
    }
}

/// Most elements of all inputs together that a run is tried on.
const MAX_ELEMENTS: usize = 1 << 14;

/// Evaluates within 64 MiB per node and about a second of work.
fn reference(model: &Model, inputs: &Inputs) -> Result<Vec<Datum>, EvalError> {
    let budget = Budget::new(Limits { node_bytes: 64 << 20, work: 1 << 30 });
    let named = |id: &fusebox_ir::ValueId| {
        let name = &model.graph.value(*id).name;
        inputs.list.iter().find(|input| input.name == *name).map(|input| Datum::Tensor(input.tensor.clone()))
    };
    let data: Vec<Option<Datum>> = model.graph.inputs.iter().map(named).collect();
    Interpreter::new(&model.functions).within(&budget).run(&model.graph, &data, &[])
}

fn is_limit(error: &EvalError) -> bool {
    match error {
        EvalError::AtNode { source, .. } => is_limit(source),
        EvalError::TooLarge { .. } | EvalError::TooMuchWork { .. } | EvalError::OutOfMemory { .. } => true,
        _ => false,
    }
}

/// Bytes → import → drawn inputs → reference evaluation and executor.
pub fn run(bytes: &[u8]) {
    let Some(model) = open(bytes, true) else { return };
    let total = |size: usize, ty: &fusebox_ir::Type| {
        let sizes = ty.tensor().and_then(|ty| ty.shape.as_ref()).into_iter().flatten();
        let count = sizes.map(|dim| dim.value().unwrap_or(4)).fold(1i64, i64::saturating_mul);
        size.saturating_add(usize::try_from(count).unwrap_or(0))
    };
    let declared = model.graph.inputs.iter().map(|id| &model.graph.value(*id).ty).fold(0, total);
    if declared > MAX_ELEMENTS {
        return;
    }
    let preferred = Preferred { batch: 2, other: 3, ..Preferred::default() };
    let Ok(inputs) = inputs::generate(&model, &DrawOptions { preferred, ..DrawOptions::default() }) else {
        return;
    };
    let expected = reference(&model, &inputs);
    if expected.as_ref().is_err_and(is_limit) {
        return;
    }
    let session = Session::new(&model, SessionOptions { threads: 1, ..SessionOptions::default() });
    let Ok(session) = session else { return };
    let feeds: Vec<(&str, Datum)> =
        inputs.feeds().into_iter().map(|(name, tensor)| (name, Datum::Tensor(tensor))).collect();
    let found = session.run_data(&feeds);
    if let (Ok(expected), Ok(found)) = (expected, found) {
        for (expected, (name, found)) in expected.iter().zip(&found) {
            assert_eq!(expected.ty(), found.ty(), "type of output {name:?}");
        }
    }
}
