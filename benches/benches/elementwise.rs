//! Elementwise chains: single functions, and the chains that fusion leaves.
//!
//! `cargo bench -p fusebox-benches --bench elementwise [-- FILTER]`. Bytes counted are one input and one output.
#![allow(missing_docs, reason = "a bench target has no public items")]

use fusebox_benches::step::{Operands, filter, report, thread_counts};
use fusebox_kernels::elementwise::{
    Binary, Chain, ChainInput, ChainOutput, ChainSpec, ChainStep, Kind, Op, Unary, Value,
};
use fusebox_kernels::math::Activation;
use fusebox_kernels::{Element, Isa, Layout};

const ROWS: usize = 512;
const COLUMNS: usize = 768;

/// Appends operations to a chain of three float inputs and returns their result.
type Build = Box<dyn Fn(&mut Chain) -> Value>;

fn unary(function: Unary) -> impl Fn(&mut Chain) -> Value {
    move |chain| {
        let x = chain.input(0).expect("the chain has inputs");
        chain.push(Op::Unary(function, x)).expect("floats are accepted")
    }
}

/// `gelu(x·row + column)`: what a folded batch normalisation before an activation becomes.
fn affine_gelu(chain: &mut Chain) -> Value {
    let input = |index| chain.input(index).expect("the chain has three inputs");
    let (x, row, column) = (input(0), input(1), input(2));
    let scaled = chain.push(Op::Binary(Binary::Mul, x, row)).expect("floats");
    let sum = chain.push(Op::Binary(Binary::Add, scaled, column)).expect("floats");
    chain.push(Op::Unary(Unary::Activation(Activation::Gelu), sum)).expect("floats")
}

/// A chain of `length` additions of a row.
fn additions(length: usize) -> impl Fn(&mut Chain) -> Value {
    move |chain| {
        let input = |index| chain.input(index).expect("the chain has three inputs");
        let (mut x, row) = (input(0), input(1));
        for _ in 0..length {
            x = chain.push(Op::Binary(Binary::Add, x, row)).expect("floats");
        }
        x
    }
}

fn main() {
    let chains: Vec<(&str, Build)> = vec![
        ("add row", Box::new(additions(1))),
        ("add row 8 times", Box::new(additions(8))),
        ("affine, gelu", Box::new(affine_gelu)),
        ("relu", Box::new(unary(Unary::Activation(Activation::Relu)))),
        ("gelu", Box::new(unary(Unary::Activation(Activation::Gelu)))),
        ("silu", Box::new(unary(Unary::Activation(Activation::Silu)))),
        ("exp", Box::new(unary(Unary::Exp))),
        ("log", Box::new(unary(Unary::Log))),
        ("sin", Box::new(unary(Unary::Sin))),
        ("softplus", Box::new(unary(Unary::Softplus))),
        ("round", Box::new(unary(Unary::Round))),
    ];
    let filter = filter();
    for threads in thread_counts() {
        for (name, build) in &chains {
            for isa in Isa::available().filter(|isa| *isa != Isa::Reference) {
                let name = format!("{name} {isa} /{threads}");
                if name.contains(&filter) {
                    report(&name, ROWS * COLUMNS, time(build, isa, threads));
                }
            }
        }
    }
}

fn time(
    build: &dyn Fn(&mut Chain) -> Value,
    isa: Isa,
    threads: usize,
) -> (std::time::Duration, std::time::Duration) {
    let dims = [ROWS, COLUMNS];
    let mut operands = Operands::default();
    let mut input = |shape: &[usize]| ChainInput {
        element: Element::F32,
        operand: operands.input(shape.iter().product()).into(),
        layout: Layout::broadcast(shape, &dims).expect("the shapes broadcast"),
    };
    let inputs = vec![input(&dims), input(&[COLUMNS]), input(&[ROWS, 1])];
    let mut chain = Chain::new(&[Kind::Float; 3]);
    let value = build(&mut chain);
    let span = operands.output(ROWS * COLUMNS);
    let outputs = vec![ChainOutput { value, element: Element::F32, span, layout: Layout::contiguous(&dims) }];
    let spec = ChainSpec { dims: dims.to_vec(), chain, inputs, outputs };
    operands.time(Box::new(ChainStep::new(spec, Some(isa)).expect("the spec is sound")), threads)
}
