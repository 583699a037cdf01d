//! Einsum of two operands as a batched product: labels are permuted and merged as views, copies only where strides
//! demand them.

use super::gemm::refused;
use super::{Lower, Lowered, Row, chain};
use crate::view::View;
use fusebox_ir::{DType, NodeId};
use fusebox_kernels::elementwise::{Binary, Op};
use fusebox_kernels::gemm::{BatchDim, GemmSpec, Rhs};
use fusebox_kernels::{Layout, Span, SpecError};
use fusebox_ops::{Equation, Label};

pub(super) static ROWS: &[Row] = &[Row::onnx("Einsum", einsum)];

type Result<T = Lowered> = std::result::Result<T, SpecError>;

const NOWHERE: Span = Span { offset: 0, len: 0 };

fn einsum(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id);
    let Some(output) = node.output(0) else { return Ok(Lowered::Done) };
    let (dtype, dims) = cx.sizes(output);
    let views: Vec<View> = (0..node.inputs.len()).map(|index| cx.input(id, index)).collect();
    let ranks: Vec<usize> = views.iter().map(|view| view.dims().len()).collect();
    let text = cx.graph.node(id).attrs.str("equation").unwrap_or_default();
    let Ok(Equation { operands, result }) = Equation::parse(text, &ranks) else {
        return Ok(Lowered::Declined("an equation that does not fit its inputs".into()));
    };
    let repeats = |labels: &Vec<Label>| (1..labels.len()).any(|at| labels[..at].contains(&labels[at]));
    if dtype != DType::F32 || dims.contains(&0) || views.iter().any(View::is_empty) {
        return Ok(Lowered::Declined(format!("no kernel for {dtype}, or for what is empty")));
    }
    if operands.iter().any(repeats) {
        return Ok(Lowered::Declined("a diagonal".into()));
    }
    let value = match (&operands[..], &views[..]) {
        ([only], [view]) if only.len() == result.len() => aligned(view, only, &result, &dims),
        ([a, b], [x, y]) => pair(cx, (a, x), (b, y), &result, &dims)?,
        _ => None,
    };
    match value {
        Some(value) => cx.set(output, value),
        None => return Ok(Lowered::Declined("a sum over one operand, or more than two operands".into())),
    }
    Ok(Lowered::Done)
}

/// A view with the dims that `wanted` names, in that order, broadcast to `dims`; `None` when a label is not wanted.
fn aligned(view: &View, labels: &[Label], wanted: &[Label], dims: &[usize]) -> Option<View> {
    if labels.iter().any(|label| !wanted.contains(label)) {
        return None;
    }
    let mut layout = Layout { dims: dims.to_vec(), strides: vec![0; dims.len()], offset: view.layout.offset };
    for (at, label) in wanted.iter().enumerate() {
        let Some(axis) = labels.iter().position(|own| own == label) else { continue };
        match view.dims()[axis] {
            1 => {}
            size if size == dims[at] => layout.strides[at] = view.layout.strides[axis],
            _ => return None,
        }
    }
    Some(view.with_layout(layout))
}

type Labelled<'a> = (&'a [Label], &'a View);

/// Two operands: a product where labels are summed or both have labels of their own, else elementwise.
fn pair(
    cx: &mut Lower<'_>,
    (a, x): (&Vec<Label>, &View),
    (b, y): (&Vec<Label>, &View),
    result: &[Label],
    dims: &[usize],
) -> Result<Option<View>> {
    let both = |label: &Label| a.contains(label) && b.contains(label);
    let is_kept = |label: &Label| result.contains(label);
    let size = |label: &Label| {
        let of = |(labels, view): Labelled<'_>| {
            labels.iter().position(|own| own == label).map_or(1, |axis| view.dims()[axis])
        };
        of((a, x)).max(of((b, y)))
    };
    let summed: Vec<Label> = a.iter().copied().filter(|l| both(l) && !is_kept(l)).collect();
    if a.iter().chain(b).any(|label| !both(label) && !is_kept(label)) {
        return Ok(None);
    }
    if summed.is_empty() {
        return elementwise(cx, aligned(x, a, result, dims), aligned(y, b, result, dims), dims);
    }
    let pick = |keep: &dyn Fn(&Label) -> bool| result.iter().copied().filter(|l| keep(l)).collect::<Vec<_>>();
    let batch = pick(&both);
    let rows = pick(&|label| a.contains(label) && !both(label));
    let columns = pick(&|label| b.contains(label) && !both(label));
    let shape = |labels: &[&[Label]]| labels.concat().iter().map(size).collect::<Vec<_>>();
    let (left, right) = ([&batch[..], &rows, &summed], [&batch[..], &summed, &columns]);
    let x = aligned(x, a, &left.concat(), &shape(&left));
    let y = aligned(y, b, &right.concat(), &shape(&right));
    let (Some(x), Some(y)) = (x, y) else { return Ok(None) };
    let count = |labels: &[Label]| labels.iter().map(size).product::<usize>();
    let (m, k, n) = (count(&rows), count(&summed), count(&columns));
    let head = shape(&[&batch]);
    let matrix = |cx: &mut Lower<'_>, view: View, tail: [usize; 2], is_left: bool| {
        let dims = [&head[..], &tail].concat();
        let fits = |view: &View| {
            let rank = dims.len();
            let steps = &view.layout.strides;
            let contiguous = !is_left || tail[1] == 1 || steps[rank - 1] == 1;
            contiguous && steps.iter().all(|step| *step >= 0)
        };
        match view.reshaped(&dims).filter(fits) {
            Some(view) => view,
            None => cx.dense(view).reshaped(&dims).expect("a dense view reshapes"),
        }
    };
    let (x, y) = (matrix(cx, x, [m, k], true), matrix(cx, y, [k, n], false));
    let product = multiply(cx, x, y, &head, [m, k, n])?;
    let stored = [&batch[..], &rows, &columns].concat();
    let product = product.reshaped(&shape(&[&stored])).expect("a fresh buffer reshapes");
    Ok(aligned(&product, &stored, result, dims))
}

/// `x[…, m, k]·y[…, k, n]` into a new buffer.
fn multiply(cx: &mut Lower<'_>, x: View, y: View, head: &[usize], [m, k, n]: [usize; 3]) -> Result<View> {
    let (x, y, rank) = (cx.in_arena(x), cx.in_arena(y), head.len());
    let step = |view: &View, axis: usize| {
        let backwards = |_| SpecError { reason: "an operand of Einsum is read backwards".into() };
        usize::try_from(view.layout.strides[axis]).map_err(backwards)
    };
    let rhs = Rhs::Dynamic { span: NOWHERE, row_stride: step(&y, rank)?, column_stride: step(&y, rank + 1)? };
    let mut spec = GemmSpec::new(m, n, k, NOWHERE, rhs, NOWHERE);
    spec.a.row_stride = if m == 1 { k } else { step(&x, rank)? };
    spec.force = cx.isa;
    let mut stride = m * n;
    for axis in (0..rank).rev() {
        let (a, b) = (step(&x, axis)?, step(&y, axis)?);
        spec.batch.insert(0, BatchDim { size: head[axis], a, b, c: stride, residual: stride });
        stride *= head[axis];
    }
    let bytes = spec.scratch_bytes();
    let scratch = (bytes > 0).then(|| cx.buffer(bytes));
    let target = cx.allocate(DType::F32, &[head, &[m, n]].concat());
    let sink = target.clone();
    cx.push(&[&x.clone(), &y.clone()], &[&target], scratch, move |spans| {
        spec.a.span = spans.tail(&x)?;
        spec.c.span = spans.tail(&sink)?;
        if let Rhs::Dynamic { span, .. } = &mut spec.b {
            *span = spans.tail(&y)?;
        }
        spec.scratch = scratch.map(|id| spans.of(id));
        Ok(Box::new(spec.build().map_err(|e| refused(&e))?))
    });
    Ok(target)
}

fn elementwise(cx: &mut Lower<'_>, x: Option<View>, y: Option<View>, dims: &[usize]) -> Result<Option<View>> {
    let (Some(x), Some(y)) = (x, y) else { return Ok(None) };
    let mut building = chain::Building::over(vec![x, y]);
    let (x, y) = (building.chain.input(0)?, building.chain.input(1)?);
    let value = building.chain.push(Op::Binary(Binary::Mul, x, y))?;
    let target = cx.allocate(DType::F32, dims);
    chain::push(cx, building, value, &target);
    Ok(Some(target))
}
