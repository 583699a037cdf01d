//! What RNN, GRU and LSTM share: reading of inputs, directions, sequence lengths, layout, typing.
//!
//! Refuses to know what a cell computes. Everything is computed in f64 and rounded once per output. Steps past the end
//! of a sequence give zeros in `Y`; the last state is that of the last step inside.
//! Spec: <https://onnx.ai/onnx/operators/onnx__LSTM.html> and its neighbours.

use super::activations::{self, Activation};
use crate::inference::{FLOATS, expect, expect_same};
use crate::op::{Edit, Eval, Infer, Inferred};
use crate::select::checked_count;
use crate::versions::refuse;
use crate::view::from_f64;
use crate::{Datum, EvalError, InferError, Shapes, VersionError};
use fusebox_ir::{Attr, Attrs, DType, Dim, Tensor, TensorType};
use ndarray::{ArrayD, IxDyn};

/// What makes one kind of layer differ from the others.
pub(super) struct Kind {
    /// Weight matrices per direction.
    pub gates: usize,
    /// Activation functions per direction, by default.
    pub activations: &'static [&'static str],
    /// Whether it carries a cell state besides the hidden state.
    pub has_cell: bool,
}

/// Weights of one direction; rows are gate after gate, each `hidden` long.
pub(super) struct Direction<'a> {
    /// Neurons.
    pub hidden: usize,
    /// `[gates * hidden, input]`.
    w: &'a [f64],
    /// `[gates * hidden, hidden]`.
    r: &'a [f64],
    /// `[gates * hidden]`, added to the product with the input.
    pub wb: &'a [f64],
    /// `[gates * hidden]`, added to the product with the state.
    pub rb: &'a [f64],
    /// `[3 * hidden]`: peepholes of the input, output and forget gates.
    pub peepholes: &'a [f64],
    /// Activation functions.
    pub functions: &'a [Activation],
    /// Limit on what enters a function.
    clip: f64,
}

impl Direction<'_> {
    /// Row `row` of the input's weights times the input.
    pub(super) fn input_product(&self, row: usize, x: &[f64]) -> f64 {
        dot(&self.w[row * x.len()..][..x.len()], x)
    }

    /// Row `row` of the state's weights times a state.
    pub(super) fn state_product(&self, row: usize, state: &[f64]) -> f64 {
        dot(&self.r[row * state.len()..][..state.len()], state)
    }

    /// Function `index` of a clipped value.
    pub(super) fn activate(&self, index: usize, x: f64) -> f64 {
        // Neither clamp nor max and min: a NaN in `clip` must not panic, one in `x` must not become a number.
        let x = if x < -self.clip { -self.clip } else { x };
        self.functions[index].at(if x > self.clip { self.clip } else { x })
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// State of one sequence; `cell` is empty where the layer has none.
pub(super) struct State {
    /// What a step gives out.
    pub hidden: Vec<f64>,
    /// What an LSTM remembers.
    pub cell: Vec<f64>,
}

struct Sizes {
    directions: usize,
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    is_batch_first: bool,
}

fn wrong_attribute(name: &str, expected: &str) -> InferError {
    InferError::Attribute { name: name.into(), expected: expected.into() }
}

/// Whether each direction runs backwards.
pub(super) fn directions(attrs: &Attrs) -> Result<&'static [bool], InferError> {
    match attrs.str("direction").unwrap_or("forward") {
        "forward" => Ok(&[false]),
        "reverse" => Ok(&[true]),
        "bidirectional" => Ok(&[false, true]),
        _ => Err(wrong_attribute("direction", "forward, reverse or bidirectional")),
    }
}

/// Types of `Y`, `Y_h` and, for an LSTM, `Y_c`.
///
/// # Errors
/// Wrong element types, attributes and ranks.
pub(super) fn infer(cx: &Infer<'_>, kind: &Kind) -> Result<Vec<Inferred>, InferError> {
    expect(cx, 0, FLOATS)?;
    for index in [1, 2, 3, 5, 6, 7] {
        expect_same(cx, 0, index)?;
    }
    let count = directions(cx.attrs)?.len();
    activations::read(cx.attrs, kind.activations, count)?;
    let Some(x) = cx.tensor(0) else { return Ok(crate::sizes::unknown(cx)) };
    let axes = |index: usize| -> Result<Option<&[Dim]>, InferError> {
        match cx.tensor(index).and_then(|ty| ty.shape.as_deref()) {
            Some(shape) if shape.len() != 3 => {
                Err(InferError::shape(format!("input {index} must have three axes, its shape is {shape:?}")))
            }
            shape => Ok(shape),
        }
    };
    let (shape, state_weights) = (axes(0)?, axes(2)?);
    axes(1)?;
    let is_batch_first = cx.attrs.int_or("layout", 0) != 0;
    let hidden = cx.attrs.int("hidden_size").map(Dim::known);
    let hidden = state_weights.map(|shape| shape[2].clone()).filter(|d| d.value().is_some()).or(hidden);
    let hidden = hidden.or_else(|| state_weights.map(|shape| shape[2].clone()));
    let hidden = hidden.unwrap_or_else(|| (cx.fresh)());
    let size = |axis: usize| shape.map_or_else(|| (cx.fresh)(), |shape| shape[axis].clone());
    let (first, second, count) = (size(0), size(1), Dim::known(count as i64));
    let (outputs, states) = if is_batch_first {
        (vec![first.clone(), second, count.clone(), hidden.clone()], vec![first, count, hidden])
    } else {
        (vec![first, count.clone(), second.clone(), hidden.clone()], vec![count, second, hidden])
    };
    let states = Inferred::from(TensorType::new(x.dtype, states));
    let mut types = vec![TensorType::new(x.dtype, outputs).into(), states.clone(), states];
    types.truncate(cx.outputs);
    Ok(types)
}

fn read_sizes(cx: &Eval<'_>, kind: &Kind) -> Result<Sizes, EvalError> {
    let directions = directions(cx.attrs)?.len();
    let is_batch_first = cx.attrs.int_or("layout", 0) != 0;
    let (x, w, r) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
    let (&[a, b, input], &[_, _, hidden]) = (x.shape(), r.shape()) else {
        let reason =
            format!("X and R must have three axes, their shapes are {:?} and {:?}", x.shape(), r.shape());
        return Err(EvalError::value(reason));
    };
    let (steps, batch) = if is_batch_first { (b, a) } else { (a, b) };
    let rows = hidden.saturating_mul(kind.gates);
    for (name, tensor, expected) in
        [("W", w, [directions, rows, input]), ("R", r, [directions, rows, hidden])]
    {
        if tensor.shape() != expected {
            let found = tensor.shape();
            return Err(EvalError::value(format!("{name} must have shape {expected:?}, found {found:?}")));
        }
    }
    Ok(Sizes { directions, steps, batch, input, hidden, is_batch_first })
}

/// An optional float input of a given shape, zeros when absent.
fn floats(cx: &Eval<'_>, index: usize, name: &str, shape: &[usize]) -> Result<Vec<f64>, EvalError> {
    let count = checked_count(DType::F64, shape)?;
    let Some(tensor) = cx.optional(index)? else { return Ok(vec![0.0; count]) };
    if tensor.shape() != shape {
        let found = tensor.shape();
        return Err(EvalError::value(format!("{name} must have shape {shape:?}, found {found:?}")));
    }
    let wrong = || InferError::DType { index, expected: "a float type".into(), found: tensor.dtype() };
    Ok(tensor.floats().ok_or_else(wrong)?)
}

/// Steps of every sequence of the batch.
fn lengths(cx: &Eval<'_>, sizes: &Sizes) -> Result<Vec<usize>, EvalError> {
    let Some(given) = cx.integers(4)? else { return Ok(vec![sizes.steps; sizes.batch]) };
    let length = |value: &i64| usize::try_from(*value).ok().filter(|value| *value <= sizes.steps);
    let lengths: Option<Vec<usize>> = given.iter().map(length).collect();
    lengths.filter(|lengths| lengths.len() == sizes.batch).ok_or_else(|| {
        let (batch, steps) = (sizes.batch, sizes.steps);
        EvalError::value(format!(
            "sequence_lens must hold {batch} lengths from 0 to {steps}, it is {given:?}"
        ))
    })
}

/// Runs a layer. `step` moves a state over one element of a sequence.
///
/// # Errors
/// Inputs whose shapes contradict each other.
pub(super) fn eval(
    cx: &Eval<'_>,
    kind: &Kind,
    step: impl Fn(&Direction<'_>, &[f64], &mut State),
) -> Result<Vec<Datum>, EvalError> {
    let sizes = &read_sizes(cx, kind)?;
    let &Sizes { directions: count, steps, batch, input, hidden, is_batch_first } = sizes;
    let rows = kind.gates * hidden;
    let x = floats(cx, 0, "X", cx.tensor(0)?.shape())?;
    let w = floats(cx, 1, "W", &[count, rows, input])?;
    let r = floats(cx, 2, "R", &[count, rows, hidden])?;
    let b = floats(cx, 3, "B", &[count, 2 * rows])?;
    let lengths = lengths(cx, sizes)?;
    let state_shape = if is_batch_first { [batch, count, hidden] } else { [count, batch, hidden] };
    let state_at = |d: usize, n: usize| hidden * if is_batch_first { n * count + d } else { d * batch + n };
    let mut last_hidden = floats(cx, 5, "initial_h", &state_shape)?;
    let optional = |index: usize, name: &str, shape: &[usize]| {
        if kind.has_cell { floats(cx, index, name, shape) } else { Ok(Vec::new()) }
    };
    let mut last_cell = optional(6, "initial_c", &state_shape)?;
    let peepholes = optional(7, "P", &[count, 3 * hidden])?;
    let functions = activations::read(cx.attrs, kind.activations, count)?;
    let clip = cx.attrs.float("clip").map_or(f64::INFINITY, f64::from);

    let (shape, y_strides) = if is_batch_first {
        ([batch, steps, count, hidden], (count * hidden, hidden, steps * count * hidden))
    } else {
        ([steps, count, batch, hidden], (count * batch * hidden, batch * hidden, hidden))
    };
    let mut y = vec![0f64; checked_count(DType::F64, &shape)?];
    for (d, is_reverse) in directions(cx.attrs)?.iter().enumerate() {
        let (b, p) = (&b[d * 2 * rows..][..2 * rows], 3 * hidden);
        let per_direction = kind.activations.len();
        let weights = Direction {
            hidden,
            w: &w[d * rows * input..][..rows * input],
            r: &r[d * rows * hidden..][..rows * hidden],
            wb: &b[..rows],
            rb: &b[rows..],
            peepholes: if kind.has_cell { &peepholes[d * p..][..p] } else { &[] },
            functions: &functions[d * per_direction..][..per_direction],
            clip,
        };
        for (n, length) in lengths.iter().copied().enumerate() {
            let at = state_at(d, n);
            let cell = if kind.has_cell { last_cell[at..][..hidden].to_vec() } else { Vec::new() };
            let mut state = State { hidden: last_hidden[at..][..hidden].to_vec(), cell };
            for position in 0..length {
                let t = if *is_reverse { length - 1 - position } else { position };
                let source = input * if is_batch_first { n * steps + t } else { t * batch + n };
                step(&weights, &x[source..][..input], &mut state);
                let target = t * y_strides.0 + d * y_strides.1 + n * y_strides.2;
                y[target..][..hidden].copy_from_slice(&state.hidden);
            }
            last_hidden[at..][..hidden].copy_from_slice(&state.hidden);
            if kind.has_cell {
                last_cell[at..][..hidden].copy_from_slice(&state.cell);
            }
        }
    }
    let dtype = cx.tensor(0)?.dtype();
    let mut outputs = vec![rounded(dtype, &shape, y)?, rounded(dtype, &state_shape, last_hidden)?];
    if kind.has_cell {
        outputs.push(rounded(dtype, &state_shape, last_cell)?);
    }
    Ok(outputs.into_iter().map(Datum::from).collect())
}

fn rounded(dtype: DType, shape: &[usize], values: Vec<f64>) -> Result<Tensor, EvalError> {
    from_f64(dtype, &ArrayD::from_shape_vec(IxDyn(shape), values)?)
}

/// FLOPs of the products with both weight matrices, over all steps.
pub(super) fn flops(shapes: &Shapes<'_>) -> f64 {
    let weights = shapes.input_elements(1) + shapes.input_elements(2);
    let steps = shapes.input(0).and_then(|x| Some(x.first()? * x.get(1)?)).unwrap_or(0.0);
    2.0 * steps * weights
}

/// Removes what opsets before 7 had and later ones do not: `output_sequence`, which said whether `Y` is written.
pub(super) fn upgrade(edit: &mut Edit<'_>) {
    if edit.opset < 7 {
        edit.node().attrs.remove("output_sequence");
    }
}

/// Writes the form of an older opset.
///
/// # Errors
/// When the batch comes first, which came with opset 14.
pub(super) fn downgrade(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.opset < 14 {
        if edit.node().attrs.int_or("layout", 0) != 0 {
            return Err(refuse(edit, "layout = 1 came with opset 14"));
        }
        edit.node().attrs.remove("layout");
    }
    if edit.opset < 7 {
        let is_used = i64::from(edit.node().output(0).is_some());
        edit.node().attrs.set("output_sequence", Attr::Int(is_used));
    }
    Ok(())
}
