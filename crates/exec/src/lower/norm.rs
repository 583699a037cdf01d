//! Normalisations and softmax onto the row kernels.

use super::{Lower, Lowered, Row, chain};
use crate::view::View;
use fusebox_ir::{DType, NodeId, ValueId};
use fusebox_kernels::elementwise::{Binary, Op};
use fusebox_kernels::rows::{NormKind, NormSpec, NormStep, RowView, SoftmaxSpec, SoftmaxStep};
use fusebox_kernels::{Operand, SpecError};
use fusebox_ops::fused::Norm;

pub(super) static ROWS: &[Row] = &[
    Row::fusebox("SkipLayerNorm", skip_norm),
    Row::onnx("GroupNormalization", group_norm),
    Row::onnx("InstanceNormalization", group_norm),
    Row::onnx("LayerNormalization", |cx, id| norm(cx, id, NormKind::Layer)),
    Row::onnx("LogSoftmax", |cx, id| softmax(cx, id, true)),
    Row::onnx("RMSNormalization", |cx, id| norm(cx, id, NormKind::Rms)),
    Row::onnx("Softmax", |cx, id| softmax(cx, id, false)),
];

type Result<T = Lowered> = std::result::Result<T, SpecError>;

/// What a norm step does, with views instead of spans.
struct Plan {
    kind: NormKind,
    epsilon: f32,
    columns: usize,
    input: View,
    residual: Option<View>,
    sum: Option<View>,
    gamma: Option<View>,
    beta: Option<View>,
    output: View,
}

fn norm(cx: &mut Lower<'_>, id: NodeId, kind: NormKind) -> Result {
    let node = cx.graph.node(id);
    if node.output(1).is_some() || node.output(2).is_some() {
        return Ok(Lowered::Declined("mean and deviation outputs have no kernel".into()));
    }
    let epsilon = node.attrs.float_or("epsilon", 1e-5);
    let axis = node.attrs.int_or("axis", -1);
    let input = cx.input(id, 0);
    let Some(axis) = super::movement::axis(axis, input.dims().len())
        .filter(|_| input.dtype == DType::F32 && !input.is_empty())
    else {
        return Ok(Lowered::Declined("axis out of range, not f32, or empty".into()));
    };
    let columns: usize = input.dims()[axis..].iter().product();
    let rows: usize = input.dims()[..axis].iter().product();
    let input = as_rows(cx, input, rows, columns);
    let (Some(gamma), Some(beta)) = (vector(cx, node.input(1), columns), vector(cx, node.input(2), columns))
    else {
        return Ok(Lowered::Declined("gamma or beta broadcasts in a way that has no kernel".into()));
    };
    let output = cx.output(id, 0);
    push(
        cx,
        Plan {
            kind,
            epsilon,
            columns,
            input,
            residual: None,
            sum: None,
            gamma,
            beta,
            output: output.clone(),
        },
    );
    cx.set_output(id, 0, output);
    Ok(Lowered::Done)
}

/// Normalises groups of channels (each channel, where none are given) as rows, then scales and shifts channels.
fn group_norm(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id);
    let epsilon = node.attrs.float_or("epsilon", 1e-5);
    let given = node.attrs.int("num_groups");
    let (x, scale, shift) = (cx.input(id, 0), cx.input(id, 1), cx.input(id, 2));
    let dims = x.dims().to_vec();
    let groups = given.map_or(dims.get(1).copied(), |groups| usize::try_from(groups).ok()).unwrap_or(0);
    if dims.len() < 3 || x.dtype != DType::F32 || x.is_empty() || groups == 0 || dims[1] % groups != 0 {
        return Ok(Lowered::Declined("not f32, or groups that do not divide the channels".into()));
    }
    let (Some(scale), Some(shift)) = (chain::per_channel(&scale, &dims), chain::per_channel(&shift, &dims))
    else {
        return Ok(Lowered::Declined("a scale that is not one per channel".into()));
    };
    let rows = dims[0] * groups;
    let columns = x.len() / rows;
    let input = as_rows(cx, x, rows, columns);
    let normalised = cx.allocate(DType::F32, &[rows, columns]);
    let (kind, output) = (NormKind::Layer, normalised.clone());
    let plan =
        Plan { kind, epsilon, columns, input, residual: None, sum: None, gamma: None, beta: None, output };
    push(cx, plan);
    let normalised = normalised.reshaped(&dims).expect("a fresh buffer reshapes");
    let mut building = chain::Building::over(vec![normalised, scale, shift]);
    let chain = &mut building.chain;
    let (x, scale, shift) = (chain.input(0)?, chain.input(1)?, chain.input(2)?);
    let scaled = chain.push(Op::Binary(Binary::Mul, x, scale))?;
    let value = chain.push(Op::Binary(Binary::Add, scaled, shift))?;
    let output = cx.output(id, 0);
    chain::push(cx, building, value, &output);
    cx.set_output(id, 0, output);
    Ok(Lowered::Done)
}

fn skip_norm(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id);
    let Ok(norm) = Norm::from_attrs(&node.attrs) else {
        return Ok(Lowered::Declined("unknown kind of normalisation".into()));
    };
    let (x, skip) = (cx.input(id, 0), cx.input(id, 1));
    let slots = [0, 1].map(|index| node.output(index));
    let Some((dtype, dims)) = slots.into_iter().flatten().next().map(|v| cx.sizes(v)) else {
        return Ok(Lowered::Done);
    };
    // Embeddings of positions are added to every row of a batch: an operand may broadcast.
    let (Some(x), Some(skip)) = (x.broadcast(&dims), skip.broadcast(&dims)) else {
        return Ok(Lowered::Declined("operands of other ranks have no kernel".into()));
    };
    if dtype != DType::F32 || dims.is_empty() || dims.contains(&0) {
        return Ok(Lowered::Declined("not f32, or empty".into()));
    }
    let columns = dims[dims.len() - 1];
    let rows = dims[..dims.len() - 1].iter().product();
    let (input, residual) = (as_rows(cx, x, rows, columns), as_rows(cx, skip, rows, columns));
    let (Some(gamma), Some(beta)) = (vector(cx, node.input(2), columns), vector(cx, node.input(3), columns))
    else {
        return Ok(Lowered::Declined("gamma or beta of another length".into()));
    };
    let kind = if norm.is_layer { NormKind::Layer } else { NormKind::Rms };
    let output = cx.allocate(DType::F32, &dims);
    let sum = node.output(1).is_some().then(|| cx.allocate(DType::F32, &dims));
    let (epsilon, residual) = (norm.epsilon, Some(residual));
    push(
        cx,
        Plan {
            kind,
            epsilon,
            columns,
            input,
            residual,
            sum: sum.clone(),
            gamma,
            beta,
            output: output.clone(),
        },
    );
    cx.set_output(id, 0, output);
    if let Some(sum) = sum {
        cx.set_output(id, 1, sum);
    }
    Ok(Lowered::Done)
}

/// The view as a matrix of rows in the arena.
fn as_rows(cx: &mut Lower<'_>, view: View, rows: usize, columns: usize) -> View {
    let fits = |view: &View| view.reshaped(&[rows, columns]).filter(|flat| flat.rows().is_some());
    let view = cx.in_arena(view);
    match fits(&view) {
        Some(flat) => flat,
        None => {
            let dense = cx.dense(view);
            dense.reshaped(&[rows, columns]).expect("a dense view reshapes")
        }
    }
}

/// A parameter vector, one value per column; `None` when its shape is another one.
fn vector(cx: &mut Lower<'_>, value: Option<ValueId>, columns: usize) -> Option<Option<View>> {
    let Some(value) = value else { return Some(None) };
    let view = cx.view(value);
    if view.len() != columns || view.dtype != DType::F32 {
        return None;
    }
    Some(Some(cx.dense(view)))
}

fn push(cx: &mut Lower<'_>, plan: Plan) {
    let isa = cx.isa;
    let reads = [Some(&plan.input), plan.residual.as_ref(), plan.gamma.as_ref(), plan.beta.as_ref()];
    let reads: Vec<View> = reads.into_iter().flatten().cloned().collect();
    let writes: Vec<View> = [Some(&plan.output), plan.sum.as_ref()].into_iter().flatten().cloned().collect();
    cx.push(&reads.iter().collect::<Vec<_>>(), &writes.iter().collect::<Vec<_>>(), None, move |spans| {
        let rows = |view: &View| {
            let (_, _, stride) = view.rows().expect("as_rows made it a matrix");
            Ok::<_, SpecError>(RowView { span: spans.tail(view)?, stride })
        };
        let dense =
            |view: &View| Ok::<_, SpecError>(RowView { span: spans.tail(view)?, stride: plan.columns });
        let operand = |view: &View| match view.buffer() {
            Some(_) => spans.tail(view).map(Operand::Arena),
            None => Ok(spans.operand(view)),
        };
        let spec = NormSpec {
            kind: plan.kind,
            rows: plan.input.dims()[0],
            columns: plan.columns,
            input: rows(&plan.input)?,
            residual: plan.residual.as_ref().map(rows).transpose()?,
            sum: plan.sum.as_ref().map(dense).transpose()?,
            gamma: plan.gamma.as_ref().map(operand).transpose()?,
            beta: plan.beta.as_ref().map(operand).transpose()?,
            epsilon: plan.epsilon,
            output: dense(&plan.output)?,
        };
        Ok(Box::new(NormStep::new(spec, isa)?))
    });
}

fn softmax(cx: &mut Lower<'_>, id: NodeId, log: bool) -> Result {
    let input = cx.input(id, 0);
    let axis = super::movement::axis(cx.graph.node(id).attrs.int_or("axis", -1), input.dims().len());
    let Some(axis) = axis.filter(|_| input.dtype == DType::F32 && !input.is_empty()) else {
        return Ok(Lowered::Declined("axis out of range, not f32, or empty".into()));
    };
    let input = cx.in_arena(input);
    let input = cx.dense(input);
    let output = cx.output(id, 0);
    let (isa, source, sink, dims) = (cx.isa, input.clone(), output.clone(), input.dims().to_vec());
    cx.push(&[&input], &[&output], None, move |spans| {
        let (input, output) = (spans.tail(&source)?, spans.tail(&sink)?);
        let spec = SoftmaxSpec { dims, axis, log, scale: 1.0, mask: None, input, output };
        Ok(Box::new(SoftmaxStep::new(spec, isa)?))
    });
    cx.set_output(id, 0, output);
    Ok(Lowered::Done)
}
