//! Reductions and global pooling, in whatever order the dims lie in memory.

use super::movement::{axis, element, memory_order};
use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor};
use fusebox_kernels::SpecError;
use fusebox_kernels::reduce::{ArgExtremum, ArgSpec, ArgStep, ReduceSpec, ReduceStep, Reduction};

pub(super) static ROWS: &[Row] = &[
    Row::onnx("ArgMax", |cx, id| position(cx, id, ArgExtremum::Max)),
    Row::onnx("ArgMin", |cx, id| position(cx, id, ArgExtremum::Min)),
    Row::onnx("GlobalAveragePool", |cx, id| global(cx, id, Reduction::Mean)),
    Row::onnx("GlobalMaxPool", |cx, id| global(cx, id, Reduction::Max)),
    Row::onnx("ReduceL1", |cx, id| reduce(cx, id, Reduction::L1)),
    Row::onnx("ReduceL2", |cx, id| reduce(cx, id, Reduction::L2)),
    Row::onnx("ReduceMax", |cx, id| reduce(cx, id, Reduction::Max)),
    Row::onnx("ReduceMean", |cx, id| reduce(cx, id, Reduction::Mean)),
    Row::onnx("ReduceMin", |cx, id| reduce(cx, id, Reduction::Min)),
    Row::onnx("ReduceProd", |cx, id| reduce(cx, id, Reduction::Prod)),
    Row::onnx("ReduceSum", |cx, id| reduce(cx, id, Reduction::Sum)),
    Row::onnx("ReduceSumSquare", |cx, id| reduce(cx, id, Reduction::SumSquare)),
];

type Result = std::result::Result<Lowered, SpecError>;

fn global(cx: &mut Lower<'_>, id: NodeId, reduction: Reduction) -> Result {
    let rank = cx.input(id, 0).dims().len();
    push(cx, id, reduction, &(2..rank).collect::<Vec<_>>())
}

fn reduce(cx: &mut Lower<'_>, id: NodeId, reduction: Reduction) -> Result {
    let rank = cx.input(id, 0).dims().len();
    let node = cx.graph.node(id);
    let given = match node.input(1) {
        Some(value) => match cx.constant(value).and_then(Tensor::integers) {
            Some(axes) => axes,
            None => return Ok(Lowered::Declined("the axes depend on data".into())),
        },
        None => node.attrs.ints("axes").map(<[i64]>::to_vec).unwrap_or_default(),
    };
    let axes: Option<Vec<usize>> = given.iter().map(|a| axis(*a, rank)).collect();
    let Some(mut axes) = axes else { return Ok(Lowered::Declined("axis out of range".into())) };
    if axes.is_empty() && node.attrs.int_or("noop_with_empty_axes", 0) == 0 {
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    axes.dedup();
    push(cx, id, reduction, &axes)
}

fn position(cx: &mut Lower<'_>, id: NodeId, extremum: ArgExtremum) -> Result {
    let input = cx.input(id, 0);
    let node = cx.graph.node(id);
    let last = node.attrs.int_or("select_last_index", 0) != 0;
    let Some(at) = axis(node.attrs.int_or("axis", 0), input.dims().len()) else {
        return Ok(Lowered::Declined("axis out of range".into()));
    };
    if input.dtype != DType::F32 || input.is_empty() {
        return Ok(Lowered::Declined(format!("no kernel finds extrema of {}, or of nothing", input.dtype)));
    }
    let input = cx.dense(input);
    let target = cx.output(id, 0);
    let (source, sink) = (input.clone(), target.clone());
    cx.push(&[&input], &[&target], None, move |spans| {
        let (input, output) = (spans.operand(&source), spans.tail(&sink)?);
        let dims = source.dims().to_vec();
        Ok(Box::new(ArgStep::new(ArgSpec { dims, axis: at, extremum, last, input, output })?))
    });
    cx.set_output(id, 0, target);
    Ok(Lowered::Done)
}

fn push(cx: &mut Lower<'_>, id: NodeId, reduction: Reduction, axes: &[usize]) -> Result {
    let input = cx.input(id, 0);
    let Some(output) = cx.graph.node(id).output(0) else { return Ok(Lowered::Done) };
    let (dtype, dims) = cx.sizes(output);
    let element = match element(dtype) {
        Some(element) if matches!(dtype, DType::F32 | DType::I32 | DType::I64) => element,
        _ => return Ok(Lowered::Declined(format!("reductions of {dtype} have no kernel"))),
    };
    if input.is_empty() {
        return Ok(Lowered::Declined("nothing to reduce".into()));
    }
    let order = memory_order(&input.layout).filter(|_| input.layout.offset == 0);
    let input = if order.is_some() { input } else { cx.dense(input) };
    let order = order.unwrap_or_else(|| (0..input.dims().len()).collect());
    let stored = input.permuted(&order);
    let folded: Vec<usize> = (0..order.len()).filter(|p| axes.contains(&order[*p])).collect();
    // With the folded dims kept at extent one, the output lies in memory in the same order as the input.
    let kept: Vec<usize> =
        (0..order.len()).map(|a| if axes.contains(&a) { 1 } else { input.dims()[a] }).collect();
    let target = cx.allocate_in(dtype, &kept, &order);
    let (isa, source, sink) = (cx.isa, stored.clone(), target.clone());
    cx.push(&[&input], &[&target], None, move |spans| {
        let (dims, input, output) = (source.dims().to_vec(), spans.operand(&source), spans.tail(&sink)?);
        let spec = ReduceSpec { dims, axes: folded, reduction, element, input, output };
        Ok(Box::new(ReduceStep::new(spec, isa)?))
    });
    let shaped: View = match target.reshaped(&dims) {
        Some(shaped) => shaped,
        None => {
            let dense = cx.dense(target);
            dense.reshaped(&dims).ok_or_else(|| SpecError { reason: format!("a reduction to {dims:?}") })?
        }
    };
    cx.set(output, shaped);
    Ok(Lowered::Done)
}
