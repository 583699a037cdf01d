//! Graphs that are deep, wide or heavy in ways that files can be: everything must go through without overflowing the
//! stack and without taking time or memory that grows faster than the file.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use fusebox::{Model, OptimizeOptions, SaveOptions};
use fusebox_ir::text::{PrintOptions, parse, print};
use fusebox_ir::{Attrs, Builder, DType, Dim, Graph, Tensor, TensorType};
use std::time::Instant;

fn model(graph: Graph) -> Model {
    let opset = fusebox_ir::OpsetImport { domain: String::new(), version: 21 };
    fusebox_ir::Model { graph, ir_version: 10, opsets: vec![opset], ..Default::default() }.into()
}

/// Takes a graph through every stage but running.
fn through_all_stages(name: &str, graph: Graph) -> Model {
    let start = Instant::now();
    let mut last = 0.0;
    let mut stage = |what: &str| {
        let now = start.elapsed().as_secs_f64();
        println!("{name}: {what} {:.2} s", now - last);
        last = now;
    };
    let built = model(graph);
    built.graph.verify().unwrap();
    stage("verify");
    let bytes = fusebox_onnx::to_bytes(&built, &SaveOptions::default()).unwrap();
    stage("export");
    let read: Model = fusebox_onnx::load_bytes(&bytes.into(), &Default::default()).unwrap().into();
    stage("import");
    let text = print(&read.graph, &PrintOptions::default());
    stage("print");
    if !text.contains('#') {
        let parsed = parse(&text).unwrap();
        stage("parse");
        assert_eq!(parsed.node_count(), read.graph.node_count());
        drop(parsed);
        stage("drop");
    }
    let (optimized, _) = fusebox::optimize(&read, &OptimizeOptions::default()).unwrap();
    stage("optimize");
    drop(fusebox_onnx::to_bytes(&optimized, &SaveOptions::default()).unwrap());
    stage("export of the optimized model");
    optimized
}

fn f32(dims: &[usize]) -> TensorType {
    TensorType::known(DType::F32, dims)
}

#[test]
fn a_chain_of_a_hundred_thousand_nodes() {
    let mut b = Builder::new();
    let mut x = b.input("x", f32(&[2, 3]));
    for index in 0..100_000 {
        x = b.op(if index % 2 == 0 { "Sin" } else { "Cos" }, &[x]);
    }
    let graph = b.finish(&[x]);
    assert_eq!(through_all_stages("chain", graph).graph.node_count(), 100_000);
}

#[test]
fn a_chain_of_constants() {
    let mut b = Builder::new();
    let x = b.input("x", f32(&[2, 3]));
    let mut c = b.constant(Tensor::from_vec(vec![2, 3], vec![0.5f32; 6]).unwrap());
    for _ in 0..20_000 {
        c = b.op("Sin", &[c]);
    }
    let y = b.op("Mul", &[x, c]);
    let graph = b.finish(&[y]);
    through_all_stages("constants", graph);
}

#[test]
fn one_value_with_fifty_thousand_readers() {
    let mut b = Builder::new();
    let x = b.input("x", f32(&[2, 3]));
    let parts: Vec<_> = (0..50_000u16)
        .map(|index| {
            let c = b.f32(f32::from(index));
            b.op("Max", &[x, c])
        })
        .collect();
    let y = b.op_with("Concat", &parts, Attrs::new().with("axis", 0i64));
    let graph = b.finish(&[y]);
    through_all_stages("fan", graph);
}

#[test]
fn many_outputs_and_initializers() {
    let mut b = Builder::new();
    let x = b.input("x", f32(&[2, 3]));
    let outputs: Vec<_> = (0..20_000u16)
        .map(|index| {
            let c = b.constant(Tensor::vector(vec![f32::from(index), 1.0, 2.0]));
            b.op("Add", &[x, c])
        })
        .collect();
    let graph = b.finish(&outputs);
    through_all_stages("outputs", graph);
}

#[test]
fn sizes_whose_expressions_double_at_every_node() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n")]));
    let mut n = b.op("Shape", &[x]);
    let (three, five) = (b.i64s(&[3]), b.i64s(&[5]));
    for _ in 0..200 {
        let (p, q) = (b.op("Div", &[n, three]), b.op("Div", &[n, five]));
        n = b.op("Add", &[p, q]);
    }
    let zero = b.op("ConstantOfShape", &[n]);
    let graph = b.finish(&[zero]);
    through_all_stages("sizes", graph);
}

#[test]
fn shapes_whose_expressions_multiply() {
    let mut b = Builder::new();
    let dims = ["a", "b", "c", "d"].map(Dim::symbol);
    let x = b.input("x", TensorType::new(DType::F32, dims));
    let mut n = b.op("Shape", &[x]);
    for index in 0..100 {
        let one = b.i64s(&[index]);
        let more = b.op("Add", &[n, one]);
        n = b.op("Mul", &[more, n]);
    }
    let zero = b.op("ConstantOfShape", &[n]);
    let graph = b.finish(&[zero]);
    through_all_stages("products", graph);
}

#[test]
fn constants_that_double_are_not_folded_without_bound() {
    let mut b = Builder::new();
    let x = b.input("x", f32(&[1]));
    let mut c = b.constant(Tensor::vector(vec![1.0f32; 1024]));
    for _ in 0..40 {
        c = b.op_with("Concat", &[c, c], Attrs::new().with("axis", 0i64));
    }
    let y = b.op("Mul", &[x, c]);
    let graph = b.finish(&[y]);
    let optimized = through_all_stages("doubling", graph);
    let bytes: usize =
        optimized.graph.values().filter_map(|(_, v)| v.constant.as_ref()).map(|t| t.data().len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes of constants came out of 4 KiB");
}
