//! Sessions against the reference evaluation, on the small models of the corpus.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{DType, Dim, Graph, Tensor};
use fusebox_kernels::Isa;
use fusebox_ops::{Datum, Interpreter};
use std::path::PathBuf;

/// A model of the corpus as one of the two exporters of torch wrote it.
fn corpus(exporter: &str, name: &str) -> fusebox_ir::Model {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(exporter);
    fusebox_onnx::load(root.join(format!("{name}.onnx")), &fusebox_onnx::LoadOptions::default()).unwrap()
}

/// Deterministic inputs: small integers, floats around zero, masks of ones.
fn inputs(graph: &Graph, size: i64) -> Vec<(String, Tensor)> {
    let make = |id: &fusebox_ir::ValueId| {
        let value = graph.value(*id);
        // A name like `past_seq + seq` is a sum of sizes.
        let known = |symbol: &str| Some(Dim::known(size * symbol.split(" + ").count() as i64));
        let ty = value.ty.tensor().unwrap().substitute(&known);
        let sizes = ty.sizes().unwrap();
        let count: usize = sizes.iter().product();
        let noise = |i: usize| {
            let x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            x as f32 / (1 << 23) as f32 - 1.0
        };
        let tensor = match ty.dtype {
            DType::F32 if value.name.contains("mask") => Tensor::from_vec(sizes, vec![1f32; count]).unwrap(),
            DType::F32 => Tensor::from_vec(sizes, (0..count).map(noise).collect()).unwrap(),
            DType::I64 if value.name.contains("mask") => Tensor::from_vec(sizes, vec![1i64; count]).unwrap(),
            DType::I64 => Tensor::from_vec(sizes, (0..count).map(|i| (i % 7) as i64).collect()).unwrap(),
            DType::Bool => Tensor::from_bools(sizes, vec![true; count]).unwrap(),
            other => panic!("no inputs of {other}"),
        };
        (value.name.clone(), tensor)
    };
    graph.inputs.iter().map(make).collect()
}

fn assert_close(name: &str, reference: &Tensor, ours: &Tensor) {
    assert_eq!(reference.shape(), ours.shape(), "{name}");
    let (a, b) = (reference.floats().unwrap(), ours.floats().unwrap());
    let largest = a.iter().fold(0f64, |m, x| m.max(x.abs())).max(1e-6);
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() <= 1e-4 * largest, "{name}: {x} against {y}, magnitude {largest}");
    }
}

/// Both exporters' files of a model against the reference, on every instruction set of the machine.
fn check(name: &str, size: i64) {
    for exporter in ["", "torchscript"] {
        let model = corpus(exporter, name);
        let inputs = inputs(&model.graph, size);
        let data: Vec<Option<Datum>> = inputs.iter().map(|(_, t)| Some(Datum::Tensor(t.clone()))).collect();
        let expected = Interpreter::new(&model.functions).run(&model.graph, &data, &[]).unwrap();
        let given: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        for (isa, threads) in Isa::available().zip(1..) {
            let session = Session::new(&model, SessionOptions { threads, isa: Some(isa) }).unwrap();
            let outputs = session.run(&given).unwrap();
            // A second run finds the plan and the packed weights, and must give the same bytes.
            assert_eq!(outputs, session.run(&given).unwrap(), "{name}");
            for ((output, ours), reference) in outputs.iter().zip(&expected) {
                let what = format!("{exporter} {name} on {isa}: {output}");
                assert_close(&what, reference.tensor().unwrap(), ours);
            }
        }
    }
}

macro_rules! agree {
    ($($name:ident, $size:literal;)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), $size);
        })*
    };
}

agree! {
    attention, 5;
    cross_attention, 5;
    digits_cnn, 3;
    digits_vit, 3;
    efficientnet_block, 2;
    gpt_small, 1;
    medium_mlp, 5;
    mobilenet_block, 2;
    multilayer_attention, 5;
    small_cnn, 2;
    smallmind_medium, 5;
    smallmind_small, 5;
    vision_attention, 3;
}
