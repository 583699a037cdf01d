//! Steps without a kernel: what their operands may be.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use fusebox_exec::{Session, SessionOptions};
use fusebox_ir::{Model, Tensor};

#[test]
fn a_view_of_a_constant_is_an_operand_like_any_other() {
    let text = "graph (%0: i64[1, 2]) -> (%2) {
  %1 = Reshape(f32[3]{1.0, 2.0, 3.0}, i64[2]{1, 3}) : f32[1, 3]
  %2 = GatherElements[axis=1](%1, %0) : f32[1, 2]
}";
    let graph = fusebox_ir::text::parse(text).unwrap();
    let model = Model { graph, ..Model::default() };
    let session = Session::new(&model, SessionOptions { threads: 1, isa: None }).unwrap();
    let indices = Tensor::from_vec(vec![1, 2], vec![2i64, 0]).unwrap();
    let name = model.graph.value(model.graph.inputs[0]).name.clone();
    let found = session.run(&[(&name, indices)]).unwrap();
    assert_eq!(found[0].1.floats().unwrap(), [3.0, 1.0]);
}

#[test]
fn threads_that_there_cannot_be_are_refused() {
    let graph = fusebox_ir::text::parse("graph (%0: f32[2]) -> (%1) {\n  %1 = Relu(%0) : f32[2]\n}").unwrap();
    let model = Model { graph, ..Model::default() };
    let error = Session::new(&model, SessionOptions { threads: 100_000, isa: None }).err().unwrap();
    assert_eq!(error.to_string(), "100000 threads were asked for, at most 1024 are possible");
}
