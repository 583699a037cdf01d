//! Decoders step by step: caches of two kinds under one If, masks that grow, caches of fixed size.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox::decode::Decoder;
use fusebox::{Model, OptimizeOptions, Session, SessionOptions, Sizes, Tensor};
use fusebox_ir::{Attrs, Builder, DType, Dim, Graph, Node, OpName, Region, TensorType, Type, ValueId};

const WIDTH: usize = 4;
const WORDS: usize = 7;

fn dims(names: &[&str]) -> Vec<Dim> {
    names.iter().map(|n| n.parse::<i64>().map_or_else(|_| Dim::symbol(*n), Dim::known)).collect()
}

fn matrix(rows: usize, columns: usize, step: usize) -> Tensor {
    let at = |i: usize| ((i * step) % 23) as f32 / 11.0 - 1.0;
    Tensor::from_vec(vec![rows, columns], (0..rows * columns).map(at).collect()).unwrap()
}

/// Inputs of a branch, by position: hidden states, the encoder's, past of both kinds.
type Captured = [ValueId; 4];

/// Own and cross cache, and what the two give together.
fn branch(name: &str, captures: Captured, with_past: bool) -> Region {
    let mut b = Builder::new();
    let [x, encoder, own, cross] = [(); 4].map(|()| b.graph.add_typed(Type::Unknown));
    b.graph.captured = vec![x, encoder, own, cross];
    let weight = b.constant(matrix(WIDTH, WIDTH, 5));
    let keys = b.op("MatMul", &[x, weight]);
    let present = match with_past {
        true => b.op_with("Concat", &[own, keys], Attrs::new().with("axis", 1)),
        false => b.op("Identity", &[keys]),
    };
    let weight = b.constant(matrix(WIDTH, WIDTH, 7));
    let (crossed, given) = match with_past {
        // What optimum's merged decoders give here: nothing.
        true => (cross, b.constant(Tensor::from_vec(vec![0, 1, WIDTH], Vec::<f32>::new()).unwrap())),
        false => {
            let fresh = b.op("MatMul", &[encoder, weight]);
            (fresh, fresh)
        }
    };
    let axes = b.i64s(&[1]);
    let sums = [present, crossed].map(|cache| b.op("ReduceSum", &[cache, axes]));
    let both = b.op("Add", &[sums[0], sums[1]]);
    let given = b.op("Identity", &[given]);
    Region { name: name.into(), graph: b.finish(&[both, present, given]), captures: captures.to_vec() }
}

fn merged() -> Model {
    let mut b = Builder::new();
    let ids = b.input("input_ids", TensorType::new(DType::I64, dims(&["batch", "seq"])));
    let encoder = b.input("encoder_hidden_states", TensorType::new(DType::F32, dims(&["batch", "enc", "4"])));
    let own =
        b.input("past_key_values.0.decoder.key", TensorType::new(DType::F32, dims(&["batch", "past", "4"])));
    let cross = b.input(
        "past_key_values.0.encoder.key",
        TensorType::new(DType::F32, dims(&["batch", "enc_past", "4"])),
    );
    let switch = b.input("use_cache_branch", TensorType::known(DType::Bool, &[1]));
    let table = b.constant(matrix(WORDS, WIDTH, 3));
    let x = b.op("Gather", &[table, ids]);
    let captured = [x, encoder, own, cross];
    let outputs: Vec<ValueId> = (0..3).map(|_| b.graph.add_typed(Type::Unknown)).collect();
    let mut node =
        Node::new(OpName::onnx("If"), [Some(switch)], outputs.iter().copied().map(Some), Attrs::new());
    node.regions = vec![branch("then_branch", captured, true), branch("else_branch", captured, false)];
    b.graph.add_node(node);
    let head = b.constant(matrix(WIDTH, WORDS, 11));
    let logits = b.op("MatMul", &[outputs[0], head]);
    let mut graph = b.finish(&[logits, outputs[1], outputs[2]]);
    for (value, name) in
        [(logits, "logits"), (outputs[1], "present.0.decoder.key"), (outputs[2], "present.0.encoder.key")]
    {
        graph.value_mut(value).name = name.into();
    }
    Model::from(fusebox_ir::Model { graph, ..fusebox_ir::Model::default() })
}

fn session(model: &Model) -> Session {
    Session::new(model, SessionOptions { threads: 1, isa: None }).unwrap()
}

fn name_outputs(graph: &mut Graph, names: &[&str]) {
    for (id, name) in graph.outputs.clone().into_iter().zip(names) {
        graph.value_mut(id).name = (*name).into();
    }
}

#[test]
fn a_merged_decoder_keeps_what_the_encoder_gave_at_first() {
    let original = merged();
    let (optimized, _) = fusebox::optimize(&original, &OptimizeOptions::default()).unwrap();
    for model in [&original, &optimized] {
        let session = session(model);
        let sizes = Sizes::from([("batch".into(), 2), ("seq".into(), 3), ("enc".into(), 5)]);
        let mut decoder = Decoder::new(model, &session, &sizes, 1).unwrap();
        let mut words: Vec<Vec<i64>> = decoder.tokens().chunks(3).map(<[i64]>::to_vec).collect();
        for _ in 0..6 {
            let next = decoder.step().unwrap();
            words.iter_mut().zip(&next).for_each(|(row, word)| row.push(*word));
            // All tokens at once, through the branch without a cache, choose the same word.
            let length = words[0].len() - 1;
            let rows: Vec<i64> = words.iter().flat_map(|row| row[..length].to_vec()).collect();
            let ids = Tensor::from_vec(vec![2, length], rows).unwrap();
            let mut feeds = decoder.feeds();
            for (name, tensor) in &mut feeds {
                match *name {
                    "input_ids" => *tensor = ids.clone(),
                    "use_cache_branch" => *tensor = Tensor::from_bools(vec![1], [false]).unwrap(),
                    _ => {}
                }
            }
            let logits = session.run(&feeds).unwrap().swap_remove(0).1.floats().unwrap();
            let best = |row: &[f64]| (0..WORDS).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i64;
            assert_eq!(next, logits.chunks(WORDS).map(best).collect::<Vec<_>>());
        }
        assert_eq!(decoder.position(), (1, 8));
    }
}

/// A cache of ten positions that every step writes a row of, behind a mask and at a position.
#[test]
fn caches_of_fixed_size_are_written_in_place() {
    let mut b = Builder::new();
    let ids = b.input("input_ids", TensorType::known(DType::I64, &[1, 1]));
    let mask = b.input("attention_mask", TensorType::known(DType::I64, &[1, 10]));
    let position = b.input("cache_position", TensorType::known(DType::I64, &[1]));
    let cache = b.input("k_cache.0", TensorType::known(DType::F32, &[10, WIDTH]));
    let table = b.constant(matrix(WORDS, WIDTH, 3));
    let x = b.op("Gather", &[table, ids]);
    let row = b.i64s(&[1, WIDTH as i64]);
    let row = b.op("Reshape", &[x, row]);
    let axes = b.i64s(&[1]);
    let index = b.op("Unsqueeze", &[position, axes]);
    let updated = b.op("ScatterND", &[cache, index, row]);
    let shown = b.op_with("Cast", &[mask], Attrs::new().with("to", 1));
    let seen = b.op("MatMul", &[shown, updated]);
    let head = b.constant(matrix(WIDTH, WORDS, 11));
    let logits = b.op("MatMul", &[seen, head]);
    let mut graph = b.finish(&[logits, updated]);
    name_outputs(&mut graph, &["logits", "k_cache.0.out"]);
    let model = Model::from(fusebox_ir::Model { graph, ..fusebox_ir::Model::default() });
    let session = session(&model);
    let mut decoder = Decoder::new(&model, &session, &Sizes::new(), 3).unwrap();
    for step in 0..5 {
        let feeds = decoder.feeds();
        let of = |wanted: &str| feeds.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
        let mask: Vec<i64> = (0..10).map(|i| i64::from(i <= step)).collect();
        assert_eq!(of("attention_mask").integers().unwrap(), mask);
        assert_eq!(of("cache_position").integers().unwrap(), [step]);
        let written = of("k_cache.0").floats().unwrap().iter().filter(|x| **x != 0.0).count();
        assert!(written <= step as usize * WIDTH && (step == 0 || written > 0));
        decoder.step().unwrap();
    }
}

#[test]
fn parts_of_a_cache_that_find_no_partner_are_named() {
    let mut b = Builder::new();
    let ids = b.input("input_ids", TensorType::new(DType::I64, dims(&["batch", "seq"])));
    let past = TensorType::new(DType::F32, dims(&["batch", "past", "4"]));
    let caches = ["past_key_values.0.key", "past_key_values.0.value"].map(|name| b.input(name, past.clone()));
    let logits = b.op("Identity", &[ids]);
    let present = b.op("Neg", &[caches[0]]);
    let mut graph = b.finish(&[logits, present]);
    name_outputs(&mut graph, &["logits", "present.0.key"]);
    let model = Model::from(fusebox_ir::Model { graph, ..fusebox_ir::Model::default() });
    let error = Decoder::new(&model, &session(&model), &Sizes::new(), 0).err().unwrap().to_string();
    assert!(error.ends_with("no output is the present of \"past_key_values.0.value\""), "{error}");
}
