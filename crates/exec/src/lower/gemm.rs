//! Products: Linear, NormLinear, MatMul and Gemm onto the GEMM driver.

use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{Attrs, DType, NodeId, Tensor, ValueId};
use fusebox_kernels::gemm::{
    BatchDim, GemmError, GemmSpec, Matrix, PackedB, Precision, Prologue, Residual, ResidualOrder, Rhs, Source,
};
use fusebox_kernels::math::{Activation, Levels};
use fusebox_kernels::{Span, SpecError};
use fusebox_ops::fused;
use std::sync::Arc;

pub(super) static ROWS: &[Row] = &[
    Row::fusebox("Linear", linear),
    Row::fusebox("NormLinear", norm_linear),
    Row::onnx("Gemm", gemm),
    Row::onnx("MatMul", matmul),
];

type Result<T = Lowered> = std::result::Result<T, SpecError>;

const NOWHERE: Span = Span { offset: 0, len: 0 };

pub(super) fn refused(error: &GemmError) -> SpecError {
    SpecError { reason: error.to_string() }
}

/// The kernels' activation for a fused operator's.
pub(super) fn activation(activation: fused::Activation) -> Option<Activation> {
    Some(match activation {
        fused::Activation::None => return None,
        fused::Activation::Relu => Activation::Relu,
        fused::Activation::Gelu => Activation::Gelu,
        fused::Activation::GeluTanh => Activation::GeluTanh,
        fused::Activation::QuickGelu { alpha } => Activation::QuickGelu { alpha },
        fused::Activation::Silu => Activation::Silu,
        fused::Activation::Sigmoid => Activation::Sigmoid,
        fused::Activation::Tanh => Activation::Tanh,
        fused::Activation::HardSwish => Activation::HardSwish,
        fused::Activation::HardSigmoid { alpha, beta } => Activation::HardSigmoid { alpha, beta },
        fused::Activation::LeakyRelu { alpha } => Activation::LeakyRelu { alpha },
        fused::Activation::Clip { lo, hi } => Activation::Clip { lo, hi },
    })
}

/// A constant as f32 parameters.
pub(super) fn floats(tensor: &Tensor) -> Option<Arc<[f32]>> {
    tensor.elements::<f32>().ok().map(std::convert::Into::into)
}

/// Operand positions of a fused product.
struct Slots {
    weight: usize,
    scale: usize,
    bias: usize,
    residual: usize,
}

/// What follows the product.
#[derive(Default)]
struct Tail {
    alpha: Option<f32>,
    bias: Option<ValueId>,
    residual: Option<ValueId>,
    activation: Option<Activation>,
    residual_first: bool,
    /// Whether int8 quantizes x by one range for the whole tensor.
    shared_range: bool,
    /// Levels that int8 quantizes x to, when the file gives them.
    levels: Option<Levels>,
}

fn linear(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let slots = Slots { weight: 1, scale: 2, bias: 3, residual: 4 };
    fused_product(cx, id, &slots, Prologue::None)
}

fn norm_linear(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id);
    let slots = Slots { weight: 3, scale: 4, bias: 5, residual: 6 };
    let Ok(norm) = fused::Norm::from_attrs(&node.attrs) else {
        return Ok(Lowered::Declined("unknown kind of normalisation".into()));
    };
    let vector = |slot: usize| match node.input(slot) {
        None => Some(None),
        Some(value) => cx.constant(value).and_then(floats).map(Some),
    };
    let (Some(gamma), Some(beta)) = (vector(1), vector(2)) else {
        return Ok(Lowered::Declined("gamma or beta is computed at run time".into()));
    };
    let prologue = match (norm.is_layer, beta) {
        (true, beta) => Prologue::LayerNorm { gamma, beta, epsilon: norm.epsilon },
        (false, None) => Prologue::RmsNorm { gamma, epsilon: norm.epsilon },
        (false, Some(_)) => return Ok(Lowered::Declined("RMS normalisation with beta".into())),
    };
    fused_product(cx, id, &slots, prologue)
}

fn fused_product(cx: &mut Lower<'_>, id: NodeId, slots: &Slots, prologue: Prologue) -> Result {
    let node = cx.graph.node(id);
    let Ok(epilogue) = fused::Epilogue::from_attrs(&node.attrs, false) else {
        return Ok(Lowered::Declined("unknown activation".into()));
    };
    let given = fused::linear::given_levels(&node.attrs);
    let levels = given.and_then(|(scale, zero)| Levels::new(scale, f32::from(zero), (0.0, 255.0)));
    if given.is_some() && levels.is_none() {
        return Ok(Lowered::Declined("its activations have a scale that no kernel takes".into()));
    }
    let tail = Tail {
        alpha: None,
        levels,
        bias: node.input(slots.bias),
        residual: node.input(slots.residual),
        activation: activation(epilogue.activation),
        residual_first: epilogue.residual_first,
        shared_range: fused::linear::is_by_tensor(&node.attrs),
    };
    let weight = node.input(slots.weight).expect("typing checked that the weights are there");
    let scale = node.input(slots.scale);
    product(cx, id, weight, scale, false, prologue, &tail)
}

fn matmul(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let weight = cx.graph.node(id).input(1).expect("arity was checked by typing");
    product(cx, id, weight, None, false, Prologue::None, &Tail::default())
}

fn gemm(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id);
    let attrs: &Attrs = &node.attrs;
    let (alpha, beta) = (attrs.float_or("alpha", 1.0), attrs.float_or("beta", 1.0));
    let c = node.input(2);
    if attrs.int_or("transA", 0) != 0 || (c.is_some() && beta != 1.0) {
        return Ok(Lowered::Declined("transA or beta has no kernel".into()));
    }
    let weight = node.input(1).expect("arity was checked by typing");
    let tail = Tail { alpha: Some(alpha), residual: c, residual_first: true, ..Tail::default() };
    product(cx, id, weight, None, attrs.int_or("transB", 0) != 0, Prologue::None, &tail)
}

/// Lowers `tail(prologue(x)·w)`, where x is input 0 of the node.
fn product(
    cx: &mut Lower<'_>,
    id: NodeId,
    weight: ValueId,
    scale: Option<ValueId>,
    transposed: bool,
    prologue: Prologue,
    tail: &Tail,
) -> Result {
    let x = cx.input(id, 0);
    let Some(output) = cx.graph.node(id).output(0) else { return Ok(Lowered::Done) };
    let (dtype, out_dims) = cx.sizes(output);
    let (_, w_dims) = cx.sizes(weight);
    if x.dtype != DType::F32 || dtype != DType::F32 {
        return Ok(Lowered::Declined(format!("products of {} have no kernel", x.dtype)));
    }
    if out_dims.contains(&0) || x.is_empty() {
        return Ok(Lowered::Declined("an operand is empty".into()));
    }
    match cx.constant(weight).filter(|_| w_dims.len() == 2) {
        Some(tensor) => {
            let scale = scale.and_then(|s| cx.constant(s));
            packed(cx, id, tensor, scale, transposed, prologue, tail)
        }
        None => dynamic(cx, id, weight, transposed, prologue, tail),
    }
}

fn precision(tensor: &Tensor) -> Option<Precision> {
    Some(match tensor.dtype() {
        DType::F32 => Precision::F32,
        DType::F16 => Precision::F16,
        DType::BF16 => Precision::Bf16,
        DType::I8 => Precision::Int8,
        _ => return None,
    })
}

/// Packs a constant matrix, or finds it packed.
pub(super) fn pack(
    cx: &Lower<'_>,
    tensor: &Tensor,
    scale: Option<&Tensor>,
    (k, n): (usize, usize),
    transposed: bool,
) -> Result<Option<Arc<PackedB>>> {
    let Some(precision) = precision(tensor) else { return Ok(None) };
    let scales = match scale {
        Some(scale) => match scale.elements::<f32>() {
            Ok(scales) => Some(scales),
            Err(_) => return Ok(None),
        },
        None => None,
    };
    if (precision == Precision::Int8) != scales.is_some() {
        return Ok(None);
    }
    let form = format!("gemm.{precision}.{k}x{n}.{transposed}");
    cx.weights
        .get(tensor, &form, |tensor| {
            let wrong = |e: fusebox_ir::tensor::TensorError| SpecError { reason: e.to_string() };
            let packed = match precision {
                Precision::F16 => {
                    let values = tensor.elements::<half::f16>().map_err(wrong)?;
                    PackedB::pack(precision, k, n, Source::F16(&values), transposed)
                }
                Precision::Bf16 | Precision::Bf16Dot => {
                    let values = tensor.elements::<half::bf16>().map_err(wrong)?;
                    PackedB::pack(precision, k, n, Source::Bf16(&values), transposed)
                }
                Precision::Int8 => {
                    let values = tensor.elements::<i8>().map_err(wrong)?;
                    let source = Source::Int8 { values: &values, scales: scales.as_deref().unwrap_or(&[]) };
                    PackedB::pack(precision, k, n, source, transposed)
                }
                Precision::F32 => {
                    let values = tensor.elements::<f32>().map_err(wrong)?;
                    PackedB::pack(precision, k, n, Source::F32(&values), transposed)
                }
            };
            packed.map_err(|e| refused(&e))
        })
        .map(Some)
}

fn packed(
    cx: &mut Lower<'_>,
    id: NodeId,
    tensor: &Tensor,
    scale: Option<&Tensor>,
    transposed: bool,
    prologue: Prologue,
    tail: &Tail,
) -> Result {
    let (a, b) = (tensor.shape()[0], tensor.shape()[1]);
    let (k, n) = if transposed { (b, a) } else { (a, b) };
    let Some(weights) = pack(cx, tensor, scale, (k, n), transposed)? else {
        return Ok(Lowered::Declined(format!("weights of {} have no kernel", tensor.dtype())));
    };
    let x = cx.input(id, 0);
    // A scalar-like x of rank 1 is one row.
    let x = if x.rows().is_some() { x } else { cx.dense(x) };
    let x = cx.in_arena(x);
    let Some((m, columns, row_stride)) = x.rows() else {
        return Ok(Lowered::Declined("the rows of x have no common stride".into()));
    };
    if columns != k {
        return Ok(Lowered::Declined(format!("x has {columns} columns, the weights {k} rows")));
    }
    let mut spec = GemmSpec::new(m, n, k, NOWHERE, Rhs::Packed(weights), NOWHERE);
    spec.a.row_stride = row_stride;
    spec.prologue = prologue;
    spec.levels = tail.levels.filter(|_| spec.precision() == Precision::Int8);
    spec.shared_range = tail.shared_range && spec.precision() == Precision::Int8;
    finish(cx, id, spec, x, None, tail)
}

/// ONNX broadcasting of two lists of dims.
fn broadcast_dims(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    let join = |axis: usize| match (at(a, axis), at(b, axis)) {
        (1, size) | (size, 1) => Some(size),
        (x, y) => (x == y).then_some(x),
    };
    (0..rank).map(join).collect()
}

/// Batch strides of a broadcast view, in elements; `None` when one is negative.
fn batch_strides(view: &View, rank: usize) -> Option<Vec<usize>> {
    view.layout.strides[..rank].iter().map(|s| usize::try_from(*s).ok()).collect()
}

fn dynamic(
    cx: &mut Lower<'_>,
    id: NodeId,
    weight: ValueId,
    transposed: bool,
    prologue: Prologue,
    tail: &Tail,
) -> Result {
    let (mut x, mut w) = (cx.input(id, 0), cx.view(weight));
    if w.dtype != DType::F32 {
        return Ok(Lowered::Declined(format!("run-time weights of {} have no kernel", w.dtype)));
    }
    // ONNX MatMul: a vector on the left is a row, on the right a column.
    if x.dims().len() == 1 {
        x = cx.dense(x);
        x = x.reshaped(&[1, x.len()]).expect("a dense view reshapes");
    }
    if w.dims().len() == 1 {
        w = cx.dense(w);
        w = w.reshaped(&[w.len(), 1]).expect("a dense view reshapes");
    }
    if x.layout.strides.last() != Some(&1) && x.dims().last() != Some(&1) {
        x = cx.dense(x);
    }
    let (x, w) = (cx.in_arena(x), cx.in_arena(w));
    let (xr, wr) = (x.dims().len(), w.dims().len());
    let (m, k) = (x.dims()[xr - 2], x.dims()[xr - 1]);
    let (mut rows, mut columns) = (wr - 2, wr - 1);
    if transposed {
        std::mem::swap(&mut rows, &mut columns);
    }
    let n = w.dims()[columns];
    let rank = xr.max(wr) - 2;
    let Some(batch_dims) = broadcast_dims(&x.dims()[..xr - 2], &w.dims()[..wr - 2]) else {
        return Ok(Lowered::Declined("batch dims do not broadcast".into()));
    };
    let extend = |tail: [usize; 2]| batch_dims.iter().copied().chain(tail).collect::<Vec<_>>();
    let (Some(bx), Some(bw)) =
        (x.broadcast(&extend([m, k])), w.broadcast(&extend([w.dims()[wr - 2], w.dims()[wr - 1]])))
    else {
        return Ok(Lowered::Declined("batch dims do not broadcast".into()));
    };
    let stride = |view: &View, axis: usize| usize::try_from(view.layout.strides[axis]).ok();
    let (Some(sx), Some(sw), Some(row_stride), Some(column_stride), Some(a_rows)) = (
        batch_strides(&bx, rank),
        batch_strides(&bw, rank),
        stride(&w, rows),
        stride(&w, columns),
        stride(&x, xr - 2),
    ) else {
        return Ok(Lowered::Declined("an operand is read backwards".into()));
    };
    let rhs = Rhs::Dynamic { span: NOWHERE, row_stride, column_stride };
    let mut spec = GemmSpec::new(m, n, k, NOWHERE, rhs, NOWHERE);
    spec.a.row_stride = if m == 1 { k } else { a_rows };
    spec.prologue = prologue;
    let mut step = m * n;
    for axis in (0..rank).rev() {
        spec.batch.insert(
            0,
            BatchDim { size: batch_dims[axis], a: sx[axis], b: sw[axis], c: step, residual: step },
        );
        step *= batch_dims[axis];
    }
    finish(cx, id, spec, x, Some(w), tail)
}

/// Adds output, tail and scratch, and pushes the step.
fn finish(
    cx: &mut Lower<'_>,
    id: NodeId,
    mut spec: GemmSpec,
    x: View,
    w: Option<View>,
    tail: &Tail,
) -> Result {
    let target = cx.output(id, 0);
    let mut residual = None;
    let mut tail_residual = tail.residual;
    let mut order =
        if tail.residual_first { ResidualOrder::BeforeActivation } else { ResidualOrder::AfterActivation };
    if let Some(bias) = tail.bias {
        match cx.constant(bias).and_then(floats) {
            Some(values) => spec.epilogue.bias = Some(values),
            // A bias that is computed at run time is a residual that repeats for every row.
            None if tail_residual.is_none() => {
                (tail_residual, order) = (Some(bias), ResidualOrder::BeforeActivation);
            }
            None => return Ok(Lowered::Declined("both bias and residual are computed at run time".into())),
        }
    }
    if let Some(value) = tail_residual {
        let constant = cx.constant(value).filter(|t| is_column_vector(t, spec.n)).and_then(floats);
        match constant.filter(|_| spec.epilogue.bias.is_none() && order == ResidualOrder::BeforeActivation) {
            Some(values) => spec.epilogue.bias = Some(values),
            None => residual = Some(residual_rows(cx, value, &target, spec.batch.is_empty())?),
        }
    }
    spec.epilogue.activation = tail.activation;
    spec.epilogue.alpha = tail.alpha.unwrap_or(1.0);
    spec.force = cx.isa;
    if let Some((_, row_stride)) = &residual {
        spec.epilogue.residual = Some(Residual { span: NOWHERE, row_stride: *row_stride, order });
    }
    let bytes = spec.scratch_bytes();
    let scratch = (bytes > 0).then(|| cx.buffer(bytes));
    let reads: Vec<View> =
        [Some(x.clone()), w.clone(), residual.as_ref().map(|r| r.0.clone())].into_iter().flatten().collect();
    let reads: Vec<&View> = reads.iter().collect();
    let sink = target.clone();
    cx.push(&reads, &[&target], scratch, move |spans| {
        spec.a = Matrix { span: spans.tail(&x)?, row_stride: spec.a.row_stride };
        spec.c.span = spans.tail(&sink)?;
        if let (Rhs::Dynamic { span, .. }, Some(w)) = (&mut spec.b, &w) {
            *span = spans.tail(w)?;
        }
        if let (Some(slot), Some((view, _))) = (&mut spec.epilogue.residual, &residual) {
            slot.span = spans.tail(view)?;
        }
        spec.scratch = scratch.map(|id| spans.of(id));
        Ok(Box::new(spec.build().map_err(|e| refused(&e))?))
    });
    cx.set_output(id, 0, target);
    Ok(Lowered::Done)
}

/// Whether a constant broadcasts over rows as one value per column.
fn is_column_vector(tensor: &Tensor, n: usize) -> bool {
    tensor.dtype() == DType::F32 && tensor.len() == n && tensor.shape().last() == Some(&n)
}

/// The residual as rows of the output's shape: its own rows where they have one stride, else a dense copy.
fn residual_rows(cx: &mut Lower<'_>, value: ValueId, target: &View, strided: bool) -> Result<(View, usize)> {
    let view = cx.view(value);
    let broadcast = view.broadcast(target.dims()).ok_or_else(|| SpecError {
        reason: format!("a residual of {:?} does not broadcast to {:?}", view.dims(), target.dims()),
    })?;
    // Batched products step through the residual as through C, so there its rows must lie as those of C do.
    let usable =
        broadcast.rows().filter(|(_, n, stride)| broadcast.buffer().is_some() && (strided || stride == n));
    match usable {
        Some((.., row_stride)) => Ok((broadcast, row_stride)),
        None => {
            let order: Vec<usize> = (0..broadcast.dims().len()).collect();
            let dense = cx.copied(&broadcast, &order);
            let row_stride = dense.dims().last().copied().unwrap_or(1);
            Ok((dense, row_stride))
        }
    }
}
