//! Dynamic shapes: one session over many sizes computes what models specialised to each size compute, and a decoder that
//! is stepped on its own cache what it computes over the whole sequence at once.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox::decode::Decoder;
use fusebox::inputs::{self, DrawOptions};
use fusebox::{Model, OptimizeOptions, Session, SessionOptions, Sizes, Tensor};
use std::path::Path;

const MODELS: &[&str] = &[
    "attention.onnx",
    "cross_attention.onnx",
    "gpt_small.onnx",
    "smallmind_small.onnx",
    "torchscript/attention.onnx",
    "torchscript/gpt_small.onnx",
    "torchscript/smallmind_small.onnx",
];

fn open(name: &str) -> Model {
    Model::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(name)).unwrap()
}

fn session(model: &Model) -> Session {
    Session::new(model, SessionOptions { threads: 2, isa: None }).unwrap()
}

fn close(name: &str, a: &Tensor, b: &Tensor) {
    assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{name}");
    let (a, b) = (a.floats().unwrap(), b.floats().unwrap());
    let largest = a.iter().fold(1e-6f64, |most, x| most.max(x.abs()));
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() <= 1e-4 * largest, "{name}: {x} against {y}, magnitude {largest}");
    }
}

#[test]
fn one_session_computes_what_specialised_models_compute() {
    for name in MODELS {
        let model = open(name);
        let (dynamic, _) = fusebox::optimize(&model, &OptimizeOptions::default()).unwrap();
        let over_all = session(&dynamic);
        for (round, (batch, length)) in [(1, 1), (2, 7), (3, 16), (1, 33), (2, 7)].into_iter().enumerate() {
            let mut sizes = Sizes::new();
            for symbol in fusebox::sizes::symbols(&model.graph) {
                // Lengths differ from each other, so that no two symbols are taken for one.
                let size = match &*symbol {
                    "batch" => batch,
                    "past_seq" => length - 1,
                    "context_seq" => length + 2,
                    _ => length,
                };
                sizes.insert(symbol, size);
            }
            let options = OptimizeOptions { sizes: sizes.clone(), ..OptimizeOptions::default() };
            let (fixed, _) = fusebox::optimize(&model, &options).unwrap();
            let draw = DrawOptions { seed: round as u64, sizes, ..DrawOptions::default() };
            let inputs = inputs::generate(&model, &draw).unwrap();
            let expected = session(&fixed).run(&inputs.feeds()).unwrap();
            let found = over_all.run(&inputs.feeds()).unwrap();
            for ((output, a), (_, b)) in expected.iter().zip(&found) {
                close(&format!("{name} {output} at {batch}, {length}"), a, b);
            }
        }
        // A shape that comes back finds its plan.
        assert_eq!(over_all.footprint().0, 4, "{name}");
    }
}

#[test]
fn a_decoder_steps_as_it_would_go_at_once() {
    for name in ["gpt_small.onnx", "torchscript/gpt_small.onnx"] {
        let (model, _) = fusebox::optimize(&open(name), &OptimizeOptions::default()).unwrap();
        let session = session(&model);
        let sizes = Sizes::from([("batch".into(), 2), ("seq".into(), 5)]);
        let mut decoder = Decoder::new(&model, &session, &sizes, 7).unwrap();
        let prompt = decoder.tokens();
        let mut rows: Vec<Vec<i64>> = prompt.chunks(5).map(<[i64]>::to_vec).collect();
        for _ in 0..40 {
            let next = decoder.step().unwrap();
            rows.iter_mut().zip(next).for_each(|(row, token)| row.push(token));
        }
        assert_eq!(decoder.position(), (1, 44));
        // The cache of plans is bounded however far the decoder goes.
        assert!(session.footprint().0 <= 32);
        let last = decoder.feeds();
        let stepped = session.run(&last).unwrap();
        let length = rows[0].len();
        let whole = Sizes::from([("batch".into(), 2), ("seq".into(), length as i64), ("past_seq".into(), 0)]);
        let drawn =
            inputs::generate(&model, &DrawOptions { sizes: whole, ..DrawOptions::default() }).unwrap();
        let ids = Tensor::from_vec(vec![2, length], rows.concat()).unwrap();
        let feeds: Vec<(&str, Tensor)> = drawn
            .feeds()
            .into_iter()
            .map(|(input, tensor)| if input == "input_ids" { (input, ids.clone()) } else { (input, tensor) })
            .collect();
        let at_once = session.run(&feeds).unwrap();
        for ((output, a), (_, b)) in at_once.iter().zip(&stepped).skip(1) {
            close(&format!("{name} {output}"), a, b);
        }
        let classes = 1024;
        let (all, one) = (at_once[0].1.floats().unwrap(), stepped[0].1.floats().unwrap());
        for sample in 0..2 {
            let end = (sample + 1) * length * classes;
            let step = &one[sample * classes..(sample + 1) * classes];
            let largest = step.iter().fold(0f64, |most, x| most.max(x.abs()));
            for (x, y) in all[end - classes..end].iter().zip(step) {
                assert!((x - y).abs() <= 1e-4 * largest, "{name}: {x} against {y}");
            }
        }
    }
}

#[test]
fn what_is_no_decoder_is_refused() {
    let model = open("attention.onnx");
    let session = session(&model);
    let error = Decoder::new(&model, &session, &Sizes::new(), 0).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the model cannot decode step by step: no output is the present of an input that is its past"
    );
}
