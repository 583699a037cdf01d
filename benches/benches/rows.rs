//! Row kernels (norms, softmax, reductions, transposes) against what memory and cache deliver.
//!
//! `cargo bench -p fusebox-benches --bench rows [-- FILTER]`. Bytes counted are those read and written once.
#![allow(missing_docs, reason = "a bench target has no public items")]

use fusebox_benches::step::{Operands, filter, report, thread_counts};
use fusebox_kernels::copy::{CopySpec, CopyStep};
use fusebox_kernels::reduce::{ReduceSpec, ReduceStep, Reduction};
use fusebox_kernels::rows::{NormKind, NormSpec, NormStep, RowView, SoftmaxSpec, SoftmaxStep};
use fusebox_kernels::{Element, Isa, Span, Step};

const SHAPES: [(usize, usize); 4] = [(1500, 384), (128, 768), (50, 768), (197, 3072)];

/// Builds a step over an input and an output of `rows × columns` floats.
type Build = fn(usize, usize, Span, Span, Isa) -> Box<dyn Step>;

const KERNELS: [(&str, Build); 6] = [
    ("layer norm", |rows, columns, input, output, isa| {
        norm(rows, columns, input, output, isa, NormKind::Layer)
    }),
    ("rms norm", |rows, columns, input, output, isa| norm(rows, columns, input, output, isa, NormKind::Rms)),
    ("softmax", |rows, columns, input, output, isa| softmax(vec![rows, columns], 1, input, output, isa)),
    ("softmax, inner axis", |rows, columns, input, output, isa| {
        softmax(vec![rows, columns], 0, input, output, isa)
    }),
    ("mean, leading axis", |rows, columns, input, output, isa| {
        let (dims, axes, reduction) = (vec![rows, columns], vec![0], Reduction::Mean);
        let spec = ReduceSpec { dims, axes, reduction, element: Element::F32, input: input.into(), output };
        Box::new(ReduceStep::new(spec, Some(isa)).expect("the spec is sound"))
    }),
    ("transpose", |rows, columns, input, output, isa| {
        let spec = CopySpec::transpose(4, input, &[rows, columns], &[1, 0], output).expect("a permutation");
        Box::new(CopyStep::new(spec, Some(isa)).expect("the spec is sound"))
    }),
];

fn norm(rows: usize, columns: usize, input: Span, output: Span, isa: Isa, kind: NormKind) -> Box<dyn Step> {
    let view = |span| RowView { span, stride: columns };
    let spec = NormSpec {
        kind,
        rows,
        columns,
        input: view(input),
        residual: None,
        sum: None,
        gamma: None,
        beta: None,
        epsilon: 1e-5,
        output: view(output),
    };
    Box::new(NormStep::new(spec, Some(isa)).expect("the spec is sound"))
}

fn softmax(dims: Vec<usize>, axis: usize, input: Span, output: Span, isa: Isa) -> Box<dyn Step> {
    let spec = SoftmaxSpec { dims, axis, log: false, scale: 1.0, mask: None, input, output };
    Box::new(SoftmaxStep::new(spec, Some(isa)).expect("the spec is sound"))
}

fn main() {
    let filter = filter();
    for threads in thread_counts() {
        for (name, build) in KERNELS {
            for isa in Isa::available().filter(|isa| *isa != Isa::Reference) {
                for (rows, columns) in SHAPES {
                    let name = format!("{name} {isa} {rows}x{columns} /{threads}");
                    if name.contains(&filter) {
                        let mut operands = Operands::default();
                        let (input, output) =
                            (operands.input(rows * columns), operands.output(rows * columns));
                        let step = build(rows, columns, input, output, isa);
                        report(&name, rows * columns, operands.time(step, threads));
                    }
                }
            }
        }
    }
}
