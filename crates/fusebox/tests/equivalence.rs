//! Optimized models compute what the originals do, in the reference and in the executor, and are the same file for any
//! number of threads.
//!
//! Random graphs are compositions of fusable fragments. Cases that once failed are kept in
//! `equivalence.proptest-regressions` beside this file and run first.

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Graph, Model, OpsetImport, Tensor};
use fusebox_rewrite::{Options, RuleSet, optimize};
use fusebox_testing::graphs::plans;
use fusebox_testing::{Limits, evaluate, inputs_for, tolerance};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::path::Path;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/equivalence.proptest-regressions");

/// Sums in another order are apart by more where a norm divides by a small deviation, hence ten times what whole
/// models are held to.
const LIMITS: Limits = Limits { max_abs: 1e-5, max_rel: 1e-3, cosine: 0.999_99 };

fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

fn model(graph: Graph) -> Model {
    Model {
        graph,
        ir_version: 10,
        opsets: vec![OpsetImport { domain: String::new(), version: 23 }],
        ..Model::default()
    }
}

fn executed(graph: &Graph, threads: usize, inputs: &[Tensor]) -> Result<Vec<Tensor>, TestCaseError> {
    let session = Session::new(&model(graph.clone()), SessionOptions { threads, isa: None }).map_err(fail)?;
    let names = graph.inputs.iter().map(|id| graph.value(*id).name.as_str());
    let given: Vec<(&str, Tensor)> = names.zip(inputs.iter().cloned()).collect();
    Ok(session.run(&given).map_err(fail)?.into_iter().map(|(_, tensor)| tensor).collect())
}

fn agree(what: &str, expected: &[Tensor], found: &[Tensor]) -> Result<(), TestCaseError> {
    prop_assert_eq!(expected.len(), found.len(), "{}", what);
    for (place, (expected, found)) in expected.iter().zip(found).enumerate() {
        tolerance::check(expected, found, &LIMITS)
            .map_err(|e| fail(format!("{what}, output {place}: {e}")))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..ProptestConfig::with_cases(128)
    })]

    #[test]
    fn random_compositions_compute_the_same(plan in plans(), threads in 1usize..4) {
        let graph = plan.build();
        let mut optimized = graph.clone();
        let options = Options { threads, ..Options::default() };
        let report = optimize(&mut optimized, &[], &RuleSet::builtin(), &options).map_err(fail)?;
        prop_assert!(report.after.picoseconds <= report.before.picoseconds, "costlier than the input");
        let inputs = inputs_for(&graph, plan.seed);
        let expected = evaluate(&graph, &inputs).map_err(fail)?;
        agree("reference of the optimized graph", &expected, &evaluate(&optimized, &inputs).map_err(fail)?)?;
        agree("executor on the original", &expected, &executed(&graph, threads, &inputs)?)?;
        agree("executor on the optimized graph", &expected, &executed(&optimized, threads, &inputs)?)?;
    }
}

/// The optimized model as the bytes of an ONNX file.
fn file(name: &str, threads: usize) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(name);
    let mut model = fusebox_onnx::load(&path, &fusebox_onnx::LoadOptions::default()).expect("a corpus model");
    let options = Options { threads, ..Options::default() };
    optimize(&mut model.graph, &model.functions, &RuleSet::builtin(), &options).expect("optimizes");
    fusebox_onnx::to_bytes(&model, &fusebox_onnx::SaveOptions::default()).expect("has a form in ONNX")
}

#[test]
fn the_same_file_for_one_and_eight_threads_and_for_two_runs() {
    for name in [
        "multilayer_attention.onnx",
        "production_resnet.onnx",
        "smallmind_small.onnx",
        "whisper_tiny_encoder.onnx",
        "torchscript/digits_vit.onnx",
        "torchscript/efficientnet_block.onnx",
    ] {
        let first = file(name, 1);
        assert!(first.len() > 1000, "{name}");
        assert!(first == file(name, 1), "{name}: a second run gives other bytes");
        assert!(first == file(name, 8), "{name}: eight threads give other bytes than one");
    }
}
