//! Old forms of operators: upgraded on import, written again in the form that the file had.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use fusebox_ir::text::{PrintOptions, print_model};
use fusebox_ir::{Attrs, Builder, DType, Model, OpName, OpsetImport, Region, Tensor, TensorType};
use fusebox_onnx::{LoadOptions, Opset, SaveOptions, load_bytes, to_bytes};

fn with_opset(graph: fusebox_ir::Graph, version: i64) -> Model {
    let opsets = vec![OpsetImport { domain: String::new(), version }];
    Model { graph, opsets, ir_version: 8, ..Model::default() }
}

/// Opset 11: axes of Squeeze and Unsqueeze are attributes, also inside a branch.
fn old_model() -> Model {
    let axes = |axes: &[i64]| Attrs::new().with("axes", axes.to_vec());
    let branch = |name: &str| {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::known(DType::F32, &[2, 1]));
        let y = b.op_with(name, &[x], axes(&[1]));
        let mut graph = b.finish(&[y]);
        // The input becomes a capture.
        graph.captured = std::mem::take(&mut graph.inputs);
        graph.name = name.to_lowercase();
        graph
    };
    let branches = [("else_branch", branch("Squeeze")), ("then_branch", branch("Unsqueeze"))];
    let mut b = Builder::new();
    let c = b.input("c", TensorType::known(DType::Bool, &[]));
    let x = b.input("x", TensorType::known(DType::F32, &[1, 2, 1]));
    let squeezed = b.op_with("Squeeze", &[x], axes(&[0]));
    let out = b.node(OpName::onnx("If"), &[Some(c)], 1, Attrs::new())[0];
    let mut graph = b.finish(&[out]);
    graph.name = "main".into();
    let last = graph.node_ids()[1];
    graph.node_mut(last).regions = branches
        .into_iter()
        .map(|(name, graph)| Region { name: name.into(), graph, captures: vec![squeezed] })
        .collect();
    with_opset(graph, 11)
}

fn raw(bytes: Vec<u8>) -> Model {
    load_bytes(&bytes.into(), &LoadOptions { upgrade: false, ..LoadOptions::default() }).unwrap()
}

fn text(model: &Model) -> String {
    print_model(model, &PrintOptions::default())
}

#[test]
fn old_forms_come_in_new_and_go_out_old() {
    let as_written = SaveOptions { opset: Opset::AsWritten, ..SaveOptions::default() };
    let file = to_bytes(&old_model(), &as_written).unwrap();
    let model = load_bytes(&file.clone().into(), &LoadOptions::default()).unwrap();
    let squeezes = |model: &Model| {
        let (_, node) = model.graph.nodes().next().unwrap();
        (node.inputs.len(), node.attrs.len())
    };
    assert_eq!(squeezes(&model), (2, 0), "axes are an input");
    let branch = &model.graph.nodes().nth(1).unwrap().1.regions[0].graph;
    assert_eq!(branch.nodes().next().unwrap().1.inputs.len(), 2, "also inside a branch");
    let written = raw(to_bytes(&model, &SaveOptions::default()).unwrap());
    assert_eq!(text(&written), text(&raw(file)));
    let newer = SaveOptions { opset: Opset::Exactly(13), ..SaveOptions::default() };
    let written = raw(to_bytes(&model, &newer).unwrap());
    assert_eq!((squeezes(&written), written.opset("")), ((2, 0), Some(13)));
}

#[test]
fn the_lowest_opset_that_holds_the_result_is_chosen() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[2, 4]));
    let scale = b.constant(Tensor::vector(vec![1f32; 4]));
    let y = b.op("LayerNormalization", &[x, scale]);
    let graph = b.finish(&[y]);
    for (imported, expected) in [(11, 17), (17, 17), (20, 20)] {
        let bytes = to_bytes(&with_opset(graph.clone(), imported), &SaveOptions::default()).unwrap();
        assert_eq!(raw(bytes).opset(""), Some(expected));
    }
    let older = SaveOptions { opset: Opset::Exactly(16), ..SaveOptions::default() };
    let error = to_bytes(&with_opset(graph, 11), &older).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node LayerNormalization #0 cannot be written for opset 16: LayerNormalization cannot be expressed in \
         opset 16: it exists since opset 17"
    );
}
