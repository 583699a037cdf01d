//! What If, Loop and Scan share: typing and running of their subgraphs, and joining what several runs give.
//!
//! Refuses to know any of the three. Captured values are typed where the interpreter of types filled them in.

use crate::op::{Eval, Infer, Inferred};
use crate::typing::infer_with;
use crate::{Datum, EvalError, InferError, limit};
use fusebox_ir::{Dim, Graph, Region, Tensor, TensorType, Type};
use std::cell::Cell;

/// Iterations, those of loops inside included, after which a loop is refused: one that never ends must not hang the
/// program.
pub(super) const MAX_ITERATIONS: usize = 1_000_000;

thread_local! {
    /// Loops that run on this thread, inside each other, and the iterations of all of them.
    static RUNNING: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// A loop that runs: counts iterations and what they collect. Bodies run on the thread of their loop.
pub(super) struct Iterations {
    /// Bytes collected since the system was last asked for memory.
    collected: u64,
}

impl Iterations {
    pub(super) fn begin() -> Self {
        let (depth, count) = RUNNING.get();
        RUNNING.set((depth + 1, if depth == 0 { 0 } else { count }));
        Self { collected: 0 }
    }

    /// Counts an iteration.
    ///
    /// # Errors
    /// More iterations than [`MAX_ITERATIONS`].
    pub(super) fn next(&self) -> Result<(), EvalError> {
        let (depth, count) = RUNNING.get();
        RUNNING.set((depth, count + 1));
        if count < MAX_ITERATIONS {
            return Ok(());
        }
        Err(EvalError::value(format!("the loop has not ended after {MAX_ITERATIONS} iterations")))
    }

    /// Counts a value that an iteration leaves to be collected.
    ///
    /// # Errors
    /// When the system has no memory for more of them.
    pub(super) fn collect(&mut self, value: &Datum) -> Result<(), EvalError> {
        let bytes = value.tensor().map_or(0, |tensor| tensor.data().len() as u64);
        self.collected = self.collected.saturating_add(bytes + size_of::<Datum>() as u64);
        if self.collected < limit::LARGE {
            return Ok(());
        }
        let (needed, available) = (std::mem::take(&mut self.collected), crate::memory::available());
        if needed <= available { Ok(()) } else { Err(EvalError::OutOfMemory { needed, available }) }
    }
}

impl Drop for Iterations {
    fn drop(&mut self) {
        let (depth, count) = RUNNING.get();
        RUNNING.set((depth - 1, count));
    }
}

/// The subgraph of a name.
///
/// # Errors
/// When the node has none.
pub(super) fn region<'a>(regions: &'a [Region], name: &str) -> Result<(usize, &'a Region), InferError> {
    let missing = || InferError::Attribute { name: name.into(), expected: "a subgraph".into() };
    regions.iter().enumerate().find(|(_, region)| region.name == name).ok_or_else(missing)
}

/// Runs the subgraph of a name.
///
/// # Errors
/// What the subgraph reports.
pub(super) fn run(cx: &Eval<'_>, name: &str, inputs: Vec<Datum>) -> Result<Vec<Datum>, EvalError> {
    let (index, region) = region(cx.regions, name)?;
    if inputs.len() != region.graph.inputs.len() {
        let (found, expected) = (inputs.len(), region.graph.inputs.len());
        return Err(EvalError::value(format!("the subgraph {name} takes {expected} inputs, found {found}")));
    }
    let inputs: Vec<Option<Datum>> = inputs.into_iter().map(Some).collect();
    let captures = cx.captures.get(index).map_or(&[][..], Vec::as_slice);
    cx.interpreter.body(index, &region.graph, &inputs, captures)
}

/// Types of a subgraph's outputs for the given input types; unknown ones leave what the graph declares.
///
/// # Errors
/// The contradiction inside.
pub(super) fn infer(graph: &Graph, inputs: &[Type]) -> Result<Vec<Inferred>, InferError> {
    let mut graph = graph.clone();
    let formals = graph.inputs.clone();
    for (formal, ty) in formals.into_iter().zip(inputs) {
        if *ty != Type::Unknown {
            graph.value_mut(formal).ty = ty.clone();
        }
    }
    let typing = infer_with(&mut graph, &[], Vec::new()).map_err(|error| error.source)?;
    let of = |id: &fusebox_ir::ValueId| {
        let dims = typing.dims.get(id.0 as usize).cloned().flatten();
        Inferred { ty: graph.value(*id).ty.clone(), dims }
    };
    Ok(graph.outputs.iter().map(of).collect())
}

/// Type that both of two types are of: sizes that differ become fresh.
pub(super) fn join(a: &Type, b: &Type, cx: &Infer<'_>) -> Type {
    match (a, b) {
        _ if a == b => a.clone(),
        (Type::Tensor(a), Type::Tensor(b)) if a.dtype == b.dtype => match (&a.shape, &b.shape) {
            (Some(x), Some(y)) if x.len() == y.len() => {
                let size = |(x, y): (&Dim, &Dim)| if x == y { x.clone() } else { (cx.fresh)() };
                TensorType::new(a.dtype, x.iter().zip(y).map(size)).into()
            }
            _ => TensorType::unranked(a.dtype).into(),
        },
        (Type::Sequence(a), Type::Sequence(b)) => Type::Sequence(Box::new(join(a, b, cx))),
        _ => Type::Unknown,
    }
}

/// Types that stay true over all iterations for what is carried, and what the body gives for them. The body takes
/// `own` before what is carried, and gives one value of its own first.
///
/// # Errors
/// The contradiction inside.
pub(super) fn stabilize(
    cx: &Infer<'_>,
    graph: &Graph,
    own: &[Type],
    carried: Vec<Type>,
) -> Result<(Vec<Type>, Vec<Inferred>), InferError> {
    widen(cx, carried, 1, &|carried| infer(graph, &[own, carried].concat()))
}

/// As [`stabilize`] for a body that takes `slices` after its states and gives the states first.
///
/// # Errors
/// The contradiction inside.
pub(super) fn stabilize_states(
    cx: &Infer<'_>,
    graph: &Graph,
    states: Vec<Type>,
    slices: &[Type],
) -> Result<(Vec<Type>, Vec<Inferred>), InferError> {
    widen(cx, states, 0, &|states| infer(graph, &[states, slices].concat()))
}

/// Types a body for what is carried.
type Typed<'a> = &'a dyn Fn(&[Type]) -> Result<Vec<Inferred>, InferError>;

/// Sizes that an iteration changes become fresh, until none changes that was not fresh already. A second round finds
/// what the first one's widening changes; a rank that is still moving after that is unknown.
fn widen(
    cx: &Infer<'_>,
    mut carried: Vec<Type>,
    skip: usize,
    body: Typed<'_>,
) -> Result<(Vec<Type>, Vec<Inferred>), InferError> {
    let mut widened = vec![Vec::<usize>::new(); carried.len()];
    for round in 0..4 {
        let after = body(&carried)?;
        let mut changed = false;
        for ((before, after), widened) in carried.iter_mut().zip(after.iter().skip(skip)).zip(&mut widened) {
            let next = match (&*before, &after.ty) {
                (Type::Tensor(a), Type::Tensor(b)) if round < 3 => widen_one(cx, a, b, widened),
                (Type::Tensor(a), Type::Tensor(b)) if a.dtype == b.dtype && a.shape == b.shape => None,
                (a, b) if a == b => None,
                (Type::Sequence(_), Type::Sequence(_)) if round == 0 => Some(join(before, &after.ty, cx)),
                (a, _) => Some(without_sizes(a)).filter(|loose| loose != a),
            };
            if let Some(next) = next {
                *before = next;
                changed = true;
            }
        }
        if !changed {
            return Ok((carried, after));
        }
    }
    let after = body(&carried)?;
    Ok((carried, after))
}

/// `before` with sizes that `after` changes made fresh; `None` when none does that is not in `widened`.
fn widen_one(
    cx: &Infer<'_>,
    before: &TensorType,
    after: &TensorType,
    widened: &mut Vec<usize>,
) -> Option<Type> {
    let (Some(a), Some(b)) = (&before.shape, &after.shape) else {
        return before.shape.is_some().then(|| TensorType::unranked(before.dtype).into());
    };
    if a.len() != b.len() {
        return Some(TensorType::unranked(before.dtype).into());
    }
    let moved: Vec<usize> = (0..a.len()).filter(|i| a[*i] != b[*i] && !widened.contains(i)).collect();
    let size = |(i, dim): (usize, &Dim)| if moved.contains(&i) { (cx.fresh)() } else { dim.clone() };
    let next = TensorType::new(before.dtype, a.iter().enumerate().map(size));
    widened.extend(&moved);
    (!moved.is_empty()).then(|| next.into())
}

/// The type without its sizes: what stays true over iterations that may change them.
pub(super) fn without_sizes(ty: &Type) -> Type {
    match ty {
        Type::Tensor(tensor) => TensorType::unranked(tensor.dtype).into(),
        Type::Sequence(inner) => Type::Sequence(Box::new(without_sizes(inner))),
        _ => Type::Unknown,
    }
}

/// Joins the values of an output over all iterations along a new axis; `declared` gives the type when there were none.
///
/// # Errors
/// When they differ in type or shape.
pub(super) fn stack(values: Vec<Datum>, axis: i64, declared: &Type) -> Result<Datum, EvalError> {
    let tensors: Vec<Tensor> = values.into_iter().map(Datum::into_tensor).collect::<Result<_, _>>()?;
    let Some(first) = tensors.first() else { return empty(axis, declared) };
    let at = crate::axis::normalize(axis, first.shape().len() + 1)?;
    let widened = |tensor: &Tensor| {
        let mut shape = tensor.shape().to_vec();
        shape.insert(at.min(shape.len()), 1);
        tensor.reshaped(shape)
    };
    let tensors: Vec<Tensor> = tensors.iter().map(widened).collect::<Result<_, _>>()?;
    let parts: Vec<&Tensor> = tensors.iter().collect();
    Ok(crate::movement::concat(&parts, at as i64)?.into())
}

/// The result of no iterations: an empty axis, sizes that are not known 0.
fn empty(axis: i64, declared: &Type) -> Result<Datum, EvalError> {
    let unknown = || EvalError::unsupported("an output of zero iterations whose type is not declared");
    let ty = declared.tensor().ok_or_else(unknown)?;
    let size = |dim: &Dim| dim.value().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    let mut shape: Vec<usize> = ty.shape.iter().flatten().map(size).collect();
    let at = crate::axis::normalize(axis, shape.len() + 1)?;
    shape.insert(at, 0);
    let none = crate::select::zero(ty.dtype)?;
    Ok(crate::select::select(&none, shape, std::iter::empty())?.into())
}

/// The boolean that an input holds, when typing knows it.
pub(super) fn known_condition(cx: &Infer<'_>, index: usize) -> Option<bool> {
    match crate::inference::elements(cx, index)?.as_slice() {
        [only] => only.value().map(|value| value != 0),
        _ => None,
    }
}

/// A single boolean.
///
/// # Errors
/// When there is none.
pub(super) fn condition(datum: &Datum) -> Result<bool, EvalError> {
    let tensor = datum.tensor()?;
    let wrong = || EvalError::value(format!("the condition must be one bool, found {}", tensor.ty()));
    match (tensor.dtype(), tensor.data().first()) {
        (fusebox_ir::DType::Bool, Some(byte)) if tensor.len() == 1 => Ok(*byte != 0),
        _ => Err(wrong()),
    }
}
