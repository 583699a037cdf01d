//! LSTM, GRU and RNN: the product of all inputs with their weights as one GEMM, then the recurrent kernel.

use super::gemm::{floats, pack, refused};
use super::{Lower, Lowered, Row};
use crate::view::View;
use fusebox_ir::{DType, NodeId, Tensor, ValueId};
use fusebox_kernels::gemm::{GemmSpec, Rhs};
use fusebox_kernels::math::Activation;
use fusebox_kernels::recurrent::{Cell, Direction, RecurrentSpec, RecurrentStep, RecurrentWeights};
use fusebox_kernels::{Layout, Span, SpecError};
use fusebox_ops::recurrent::{self, Form, Function};
use std::sync::Arc;

pub(super) static ROWS: &[Row] =
    &[Row::onnx("GRU", recurrent), Row::onnx("LSTM", recurrent), Row::onnx("RNN", recurrent)];

type Result<T = Lowered> = std::result::Result<T, SpecError>;

const NOWHERE: Span = Span { offset: 0, len: 0 };

/// The kernels' activation; `None` for those that have no kernel.
fn activation(given: &recurrent::Activation) -> Option<Activation> {
    let (alpha, beta) = (given.alpha as f32, given.beta as f32);
    Some(match given.function {
        Function::Relu => Activation::Relu,
        Function::Tanh => Activation::Tanh,
        Function::Sigmoid => Activation::Sigmoid,
        Function::LeakyRelu => Activation::LeakyRelu { alpha },
        Function::HardSigmoid => Activation::HardSigmoid { alpha, beta },
        _ => return None,
    })
}

struct Sizes {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    gates: usize,
}

impl Sizes {
    /// Elements of one position of one sequence after the product with the inputs.
    fn width(&self) -> usize {
        self.directions * self.gates * self.hidden
    }

    fn states(&self) -> [usize; 3] {
        [self.directions, self.batch, self.hidden]
    }
}

/// Constants of a layer.
struct Parameters<'a> {
    w: &'a Tensor,
    r: &'a Tensor,
    /// `[directions, 2·gates·hidden]`: those of the inputs, then those of the state.
    bias: Option<Arc<[f32]>>,
    peepholes: Option<Arc<[f32]>>,
}

fn parameters<'a>(cx: &Lower<'a>, id: NodeId) -> Option<Parameters<'a>> {
    let node = cx.graph.node(id);
    let constant = |index: usize| {
        let value = node.input(index).and_then(|value| cx.constant(value));
        value.filter(|tensor| tensor.dtype() == DType::F32)
    };
    let vector = |index: usize| match node.input(index) {
        None => Some(None),
        Some(_) => constant(index).and_then(floats).map(Some),
    };
    let peepholes = if node.op.name.as_ref() == "LSTM" { vector(7)? } else { None };
    Some(Parameters { w: constant(1)?, r: constant(2)?, bias: vector(3)?, peepholes })
}

fn recurrent(cx: &mut Lower<'_>, id: NodeId) -> Result {
    let node = cx.graph.node(id);
    let Ok(Some(form)) = Form::new(&node.op.name, &node.attrs) else {
        return Ok(Lowered::Declined("attributes that are not understood".into()));
    };
    let flag = |name: &str| node.attrs.int_or(name, 0) != 0;
    let cell = match node.op.name.as_ref() {
        "LSTM" => Cell::Lstm { couples: flag("input_forget") },
        "GRU" => Cell::Gru { linear_before_reset: flag("linear_before_reset") },
        _ => Cell::Rnn,
    };
    let Some(parameters) = parameters(cx, id) else {
        return Ok(Lowered::Declined("its weights are computed at run time, or not f32".into()));
    };
    let x = cx.input(id, 0);
    let (&[a, b, input], &[_, _, hidden]) = (x.dims(), parameters.r.shape()) else {
        return Ok(Lowered::Declined("X and R must have three axes".into()));
    };
    let (steps, batch) = if form.is_batch_first { (b, a) } else { (a, b) };
    let sizes = Sizes { steps, batch, input, hidden, directions: form.reverses.len(), gates: form.gates };
    if x.dtype != DType::F32 || x.is_empty() || hidden == 0 {
        return Ok(Lowered::Declined(format!("no kernel for {}, or for what is empty", x.dtype)));
    }
    if !fit(&sizes, &parameters) {
        return Ok(Lowered::Declined("its weights do not fit its input".into()));
    }
    let Some(directions) = directions(cell, &form, &sizes, &parameters) else {
        return Ok(Lowered::Declined("an activation function without a kernel".into()));
    };
    let Some([lengths, initial_hidden, initial_cell]) = operands(cx, id, &sizes, form.is_batch_first) else {
        return Ok(Lowered::Declined("initial states or lengths of another shape or type".into()));
    };
    let weights = cx.weights.get(parameters.r, &format!("recurrent.{}.{hidden}", sizes.gates), |tensor| {
        let values = tensor.elements::<f32>().map_err(|e| SpecError { reason: e.to_string() })?;
        RecurrentWeights::pack(&values, hidden)
    })?;
    let (inputs, inputs_layout) = products(cx, cell, &sizes, &parameters, (x, form.is_batch_first))?;
    let outputs = Outputs::new(cx, id, form.is_batch_first);
    let scratch = cx.buffer(RecurrentSpec::scratch_bytes(sizes.states().iter().product()));
    let reads = [Some(&inputs), lengths.as_ref(), initial_hidden.as_ref(), initial_cell.as_ref()];
    let reads: Vec<View> = reads.into_iter().flatten().cloned().collect();
    let writes: Vec<&View> = outputs.0.iter().flatten().map(|(target, _)| target).collect();
    let (isa, clip, targets) = (cx.isa, form.clip, outputs.0.clone());
    cx.push(&reads.iter().collect::<Vec<_>>(), &writes, Some(scratch), move |spans| {
        let operand = |view: &View| (spans.operand(view), view.layout.clone());
        let [output, last_hidden, last_cell] = targets.map(|target| {
            target.map(|(view, layout)| Ok::<_, SpecError>((spans.tail(&view)?, layout))).transpose()
        });
        let spec = RecurrentSpec {
            cell,
            clip,
            directions,
            weights,
            inputs: (spans.operand(&inputs), inputs_layout),
            lengths: lengths.as_ref().map(|view| spans.operand(view)),
            initial_hidden: initial_hidden.as_ref().map(operand),
            initial_cell: initial_cell.as_ref().map(operand),
            output: output?,
            last_hidden: last_hidden?,
            last_cell: last_cell?,
            scratch: spans.of(scratch),
        };
        Ok(Box::new(RecurrentStep::new(spec, isa)?))
    });
    for (index, target) in outputs.0.into_iter().enumerate() {
        if let Some((view, _)) = target {
            cx.set_output(id, index, view);
        }
    }
    Ok(Lowered::Done)
}

/// Whether all constants have the sizes that the layer reads.
fn fit(sizes: &Sizes, parameters: &Parameters<'_>) -> bool {
    let (count, rows) = (sizes.directions, sizes.gates * sizes.hidden);
    let holds = |vector: &Option<Arc<[f32]>>, length: usize| {
        vector.as_ref().is_none_or(|values| values.len() == count * length)
    };
    parameters.w.shape() == [count, rows, sizes.input]
        && parameters.r.shape() == [count, rows, sizes.hidden]
        && holds(&parameters.bias, 2 * rows)
        && holds(&parameters.peepholes, 3 * sizes.hidden)
}

fn directions(cell: Cell, form: &Form, sizes: &Sizes, parameters: &Parameters<'_>) -> Option<Vec<Direction>> {
    let (hidden, rows) = (sizes.hidden, sizes.gates * sizes.hidden);
    let part = |vector: &Option<Arc<[f32]>>, at: usize, length: usize| {
        vector.as_ref().map(|values| values[at..][..length].to_vec())
    };
    let resets_late = cell == Cell::Gru { linear_before_reset: true };
    let one = |(index, is_reverse): (usize, &bool)| {
        let functions: Option<Vec<Activation>> = form.functions[index].iter().map(activation).collect();
        // The state's bias of the last gate: behind those of the inputs and of two gates.
        let reset = index * 2 * rows + rows + 2 * hidden;
        Some(Direction {
            is_reverse: *is_reverse,
            functions: functions?,
            peepholes: part(&parameters.peepholes, index * 3 * hidden, 3 * hidden),
            reset_bias: if resets_late { part(&parameters.bias, reset, hidden) } else { None },
        })
    };
    form.reverses.iter().enumerate().map(one).collect()
}

/// Lengths and initial states, states as `[directions, batch, hidden]`; `None` when one does not fit.
fn operands(
    cx: &mut Lower<'_>,
    id: NodeId,
    sizes: &Sizes,
    is_batch_first: bool,
) -> Option<[Option<View>; 3]> {
    let lengths = match cx.graph.node(id).input(4) {
        None => None,
        Some(value) => {
            let view = cx.view(value);
            let fits = view.dtype == DType::I32 && *view.dims() == [sizes.batch];
            Some(fits.then(|| cx.dense(view))?)
        }
    };
    let node = cx.graph.node(id);
    let cell = node.input(6).filter(|_| node.op.name.as_ref() == "LSTM");
    let hidden = node.input(5);
    let mut state = |value: Option<ValueId>| {
        let Some(value) = value else { return Some(None) };
        let view = cx.view(value);
        if view.dims().len() != 3 || view.dtype != DType::F32 {
            return None;
        }
        let view = if is_batch_first { view.permuted(&[1, 0, 2]) } else { view };
        let is_contiguous = sizes.hidden == 1 || view.layout.strides[2] == 1;
        let fits = *view.dims() == sizes.states();
        fits.then(|| Some(if is_contiguous { view } else { cx.dense(view) }))
    };
    Some([lengths, state(hidden)?, state(cell)?])
}

/// Multiplies all positions of all sequences with the input's weights, biases added.
fn products(
    cx: &mut Lower<'_>,
    cell: Cell,
    sizes: &Sizes,
    parameters: &Parameters<'_>,
    (x, is_batch_first): (View, bool),
) -> Result<(View, Layout)> {
    let x = if is_batch_first { x.permuted(&[1, 0, 2]) } else { x };
    // Rows are taken in whichever order they lie in memory: the recurrent kernel reads them by strides.
    let turned = x.permuted(&[1, 0, 2]);
    let (rows, is_turned) = match (x.rows(), turned.rows()) {
        (None, Some(_)) => (turned, true),
        (Some(_), _) => (x, false),
        (None, None) => (cx.dense(x), false),
    };
    let rows = cx.in_arena(rows);
    let (m, k, row_stride) = rows.rows().expect("a dense view has rows");
    let n = sizes.width();
    let packed = pack(cx, parameters.w, None, (k, n), true)?.expect("f32 weights pack");
    let mut spec = GemmSpec::new(m, n, k, NOWHERE, Rhs::Packed(packed), NOWHERE);
    spec.a.row_stride = row_stride;
    spec.epilogue.bias = bias(cell, sizes, parameters);
    spec.force = cx.isa;
    let bytes = spec.scratch_bytes();
    let scratch = (bytes > 0).then(|| cx.buffer(bytes));
    let dims = if is_turned { [sizes.batch, sizes.steps, n] } else { [sizes.steps, sizes.batch, n] };
    let target = cx.allocate(DType::F32, &dims);
    let sink = target.clone();
    cx.push(&[&rows.clone()], &[&target], scratch, move |spans| {
        spec.a.span = spans.tail(&rows)?;
        spec.c.span = spans.tail(&sink)?;
        spec.scratch = scratch.map(|id| spans.of(id));
        Ok(Box::new(spec.build().map_err(|e| refused(&e))?))
    });
    let layout = if is_turned { target.permuted(&[1, 0, 2]).layout } else { target.layout.clone() };
    Ok((target, layout))
}

/// What is added to the product with the inputs: both biases, but for the gate whose state's bias is reset with it.
fn bias(cell: Cell, sizes: &Sizes, parameters: &Parameters<'_>) -> Option<Arc<[f32]>> {
    let rows = sizes.gates * sizes.hidden;
    let keeps = if cell == (Cell::Gru { linear_before_reset: true }) { 2 * sizes.hidden } else { rows };
    let sum = |both: &[f32]| -> Vec<f32> {
        let state = |row: usize| if row < keeps { both[rows + row] } else { 0.0 };
        (0..rows).map(|row| both[row] + state(row)).collect()
    };
    let all = parameters.bias.as_ref()?;
    Some(all.chunks_exact(2 * rows).flat_map(sum).collect())
}

/// Targets of the outputs that are used, with the order in which the kernel counts their dims.
struct Outputs([Option<(View, Layout)>; 3]);

impl Outputs {
    fn new(cx: &mut Lower<'_>, id: NodeId, is_batch_first: bool) -> Self {
        Self([0, 1, 2].map(|index| {
            cx.graph.node(id).output(index)?;
            let view = cx.output(id, index);
            let seen = match (is_batch_first, index) {
                (false, _) => view.clone(),
                (true, 0) => view.permuted(&[1, 2, 0, 3]),
                (true, _) => view.permuted(&[1, 0, 2]),
            };
            Some((view, seen.layout))
        }))
    }
}
