//! The pass on small graphs: what it lowers, what it refuses and why, and that the result still computes the same.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_ir::{Attrs, Builder, DType, Graph, OpName, Tensor, TensorType};
use fusebox_ops::{Datum, Interpreter};
use fusebox_quant::{Decision, Precision, PrecisionOptions, Refusal, apply};

fn noise(count: usize, salt: u64) -> Vec<f32> {
    let draw = |i: usize| {
        let x = (i as u64 + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        x as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(draw).collect()
}

/// Two products that share their weights, a look-up table, a product with weights on the left and a convolution.
fn graph() -> Graph {
    let mut b = Builder::new();
    let ids = b.input("ids", TensorType::known(DType::I64, &[3]));
    let image = b.input("image", TensorType::known(DType::F32, &[1, 2, 4, 4]));
    let table = b.constant(Tensor::from_vec(vec![10, 64], noise(640, 1)).unwrap());
    let w = b.constant(Tensor::from_vec(vec![64, 64], noise(64 * 64, 2)).unwrap());
    let left = b.constant(Tensor::from_vec(vec![5, 3], noise(15, 3)).unwrap());
    let filter = b.constant(Tensor::from_vec(vec![4, 2, 3, 3], noise(72, 4)).unwrap());
    let rows = b.op("Gather", &[table, ids]);
    let once = b.op("MatMul", &[rows, w]);
    let twice = b.op("MatMul", &[once, w]);
    let reversed = b.op("MatMul", &[left, twice]);
    let conv = b.node(OpName::onnx("Conv"), &[Some(image), Some(filter)], 1, Attrs::new())[0];
    let mut graph = b.finish(&[reversed, conv]);
    fusebox_ops::infer_graph(&mut graph, &[]).unwrap();
    graph
}

fn run(graph: &Graph) -> Vec<Vec<f64>> {
    let ids = Datum::Tensor(Tensor::vector(vec![1i64, 9, 4]));
    let image = Datum::Tensor(Tensor::from_vec(vec![1, 2, 4, 4], noise(32, 9)).unwrap());
    let outputs = Interpreter::new(&[]).run(graph, &[Some(ids), Some(image)], &[]).unwrap();
    outputs.iter().map(|o| o.tensor().unwrap().floats().unwrap()).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn every_precision_keeps_the_result() {
    for (precision, least) in
        [(Precision::Int8, 0.999), (Precision::Fp16, 0.999_999), (Precision::Bf16, 0.999_9)]
    {
        let exact = graph();
        let mut narrow = exact.clone();
        let report = apply(&mut narrow, &PrecisionOptions::new(precision));
        narrow.verify().unwrap();
        fusebox_ops::infer_graph(&mut narrow, &[]).unwrap();
        assert!(report.lowered() >= 2, "{report:?}");
        for (a, b) in run(&exact).iter().zip(run(&narrow)) {
            assert!(cosine(a, &b) >= least, "{precision:?}: {}", cosine(a, &b));
        }
    }
}

#[test]
fn tied_weights_are_stored_once_and_refusals_say_why() {
    let mut narrow = graph();
    let report = apply(&mut narrow, &PrecisionOptions::new(Precision::Int8));
    let stored =
        narrow.values().filter(|(_, v)| v.constant.as_ref().is_some_and(|t| t.dtype() == DType::I8)).count();
    assert_eq!(stored, 1);
    let reasons: Vec<String> = report.refused().map(|(layer, why)| format!("{}: {why}", layer.op)).collect();
    assert_eq!(
        reasons,
        [
            "MatMul: its weights are the left operand",
            "Conv: dynamic int8 quantizes activations per row, which a convolution does not have",
        ]
    );
}

#[test]
fn excluded_and_noisy_layers_keep_their_precision() {
    let mut narrow = graph();
    let first = narrow.nodes().find(|(_, n)| n.op.is("MatMul")).unwrap().0;
    narrow.node_mut(first).name = "first".into();
    let options = PrecisionOptions {
        exclude: vec!["first".into()],
        least_sqnr_db: 200.0,
        ..PrecisionOptions::new(Precision::Int8)
    };
    let report = apply(&mut narrow, &options);
    assert_eq!(report.lowered(), 0);
    assert_eq!(
        report.layers.iter().filter(|l| l.decision == Decision::Refused(Refusal::Excluded)).count(),
        1
    );
    assert!(report.refused().any(|(_, why)| matches!(why, Refusal::Noise { .. })));
}

#[test]
fn recurrent_layers_are_named_with_the_reason() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[2, 1, 4]));
    let w = b.constant(Tensor::from_vec(vec![1, 12, 4], noise(48, 1)).unwrap());
    let r = b.constant(Tensor::from_vec(vec![1, 12, 3], noise(36, 2)).unwrap());
    let attrs = Attrs::new().with("hidden_size", 3);
    let y = b.node(OpName::onnx("LSTM"), &[Some(x), Some(w), Some(r)], 1, attrs)[0];
    let mut graph = b.finish(&[y]);
    let report = apply(&mut graph, &PrecisionOptions::new(Precision::Int8));
    assert_eq!((report.lowered(), report.layers.len()), (0, 1));
    assert_eq!(report.refused().next().unwrap().1, &Refusal::Recurrent);
}
