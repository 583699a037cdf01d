//! Files that are odd but valid, as tools leave them: they are optimized and verified like any other.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox::verification::{VerifyOptions, verify_optimized};
use fusebox::{Model, OptimizeOptions, Tensor};
use fusebox_ir::{Attrs, Builder, DType, Dim, Graph, TensorType};

fn passes(graph: Graph) -> Model {
    let model = Model::from(fusebox_ir::Model { graph, ..fusebox_ir::Model::default() });
    let (optimized, _) = fusebox::optimize(&model, &OptimizeOptions::default()).unwrap();
    let verification = verify_optimized(&model, &optimized, &VerifyOptions::default()).unwrap();
    assert!(verification.compared() && verification.passed(), "{:?}", verification.note);
    optimized
}

#[test]
fn an_output_may_be_listed_twice() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[2, 4]));
    let y = b.op("Relu", &[x]);
    let mut graph = b.finish(&[y, y]);
    graph.value_mut(y).name = "y".into();
    let optimized = passes(graph);
    assert_eq!(optimized.graph.outputs.len(), 2);
    assert_eq!(optimized.graph.outputs[0], optimized.graph.outputs[1]);
}

#[test]
fn sizes_of_other_names_may_have_to_agree() {
    let mut b = Builder::new();
    let boxes =
        b.input("boxes", TensorType::new(DType::F32, [Dim::known(1), Dim::symbol("m"), Dim::known(4)]));
    let scores = b.input("scores", TensorType::new(DType::F32, [Dim::symbol("rows"), Dim::known(1)]));
    let shape = b.constant(Tensor::vector(vec![1i64, 1, -1]));
    let scores = b.op_with("Reshape", &[scores, shape], Attrs::new());
    let kept = b.op("NonMaxSuppression", &[boxes, scores]);
    passes(b.finish(&[kept]));
}

#[test]
fn models_in_half_precision_are_held_to_its_rounding() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F16, &[4, 64]));
    let sigmoid = b.op("Sigmoid", &[x]);
    let y = b.op("Mul", &[x, sigmoid]);
    let graph = b.finish(&[y]);
    let model = Model::from(fusebox_ir::Model { graph: graph.clone(), ..fusebox_ir::Model::default() });
    let limits = VerifyOptions::default().tolerance_for(&model);
    assert_eq!(limits, fusebox::Tolerance::HALF);
    passes(graph);
}

/// Doubles a vector again and again: 2^44 bytes from a file of a few hundred.
#[test]
fn what_no_memory_holds_is_refused_before_it_is_computed() {
    let mut b = Builder::new();
    let mut y = b.input("x", TensorType::known(DType::F32, &[1]));
    for _ in 0..42 {
        y = b.op_with("Concat", &[y, y], Attrs::new().with("axis", 0i64));
    }
    let graph = b.finish(&[y]);
    let model = Model::from(fusebox_ir::Model { graph, ..fusebox_ir::Model::default() });
    let (optimized, _) = fusebox::optimize(&model, &OptimizeOptions::default()).unwrap();
    let error = verify_optimized(&model, &optimized, &VerifyOptions::default()).unwrap_err();
    assert!(matches!(error, fusebox::Error::TooLarge { .. }), "{error}");
}

/// `if switch { x * 2 } else { x * otherwise }`.
fn switched(otherwise: f32) -> Model {
    let mut b = Builder::new();
    let switch = b.input("switch", TensorType::known(DType::Bool, &[]));
    let x = b.input("x", TensorType::known(DType::F32, &[4]));
    let branch = |name: &str, by: f32| {
        let mut b = Builder::new();
        let inner = b.graph.add_typed(fusebox_ir::Type::Unknown);
        b.graph.captured.push(inner);
        let by = b.f32(by);
        let y = b.op("Mul", &[inner, by]);
        fusebox_ir::Region { name: name.into(), graph: b.finish(&[y]), captures: vec![x] }
    };
    let regions = vec![branch("else_branch", otherwise), branch("then_branch", 2.0)];
    let y = b.op("If", &[switch]);
    let id = b.graph.node_ids()[0];
    b.graph.node_mut(id).regions = regions;
    let graph = b.finish(&[y]);
    fusebox_ir::Model { graph, ..fusebox_ir::Model::default() }.into()
}

#[test]
fn both_branches_of_a_switch_are_verified() {
    let verify = |a, b| verify_optimized(&switched(a), &switched(b), &VerifyOptions::default()).unwrap();
    assert!(verify(3.0, 3.0).compared() && verify(3.0, 3.0).passed());
    assert!(!verify(3.0, 99.0).passed());
}

#[test]
fn a_model_that_drawn_inputs_do_not_suit_is_not_refused() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n")]));
    let shape = b.i64s(&[-1, 7919]);
    let y = b.op("Reshape", &[x, shape]);
    let graph = b.finish(&[y]);
    let model = Model::from(fusebox_ir::Model { graph, ..fusebox_ir::Model::default() });
    let found = verify_optimized(&model, &model, &VerifyOptions::default()).unwrap();
    assert!(!found.compared() && found.note.unwrap().contains("--dim"));
    let sizes = fusebox::Sizes::from([("n".into(), 2 * 7919)]);
    let found =
        verify_optimized(&model, &model, &VerifyOptions { sizes, ..VerifyOptions::default() }).unwrap();
    assert!(found.compared() && found.passed());
}
