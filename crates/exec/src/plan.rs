//! A plan: the steps that carry out one graph for one signature of input shapes.
//!
//! Every value has a known size and a place in the arena. Graphs that data cuts in pieces are not its affair: see
//! [`crate::segment`].

use crate::ExecError;
use crate::buffers::{self, Buffer};
use crate::engine::Engine;
use crate::lower::{Lower, Spans};
use crate::profile::{Profile, StepTime};
use crate::view::{Place, View};
use fusebox_ir::{DType, Graph, NodeId, Tensor, ValueId};
use fusebox_kernels::{Program, RunError, Span, Team};
use fusebox_ops::{Cost, Shapes};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Largest arena a plan may ask for: more than any machine this is meant for has, so larger means a broken model.
pub const MAX_ARENA: usize = 1 << 36;

/// What a step does, for profiles and snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct StepInfo {
    /// Kernel.
    pub kernel: String,
    /// Nodes it carries out.
    pub nodes: Vec<String>,
    /// Why it runs the reference evaluation.
    pub fallback: Option<String>,
    /// Work of the nodes.
    pub cost: Cost,
    /// Spans it reads.
    pub reads: Vec<Span>,
    /// Spans it writes.
    pub writes: Vec<Span>,
}

enum Output {
    Constant(Tensor),
    Arena { dtype: DType, dims: Vec<usize>, span: Span },
}

/// Compiled steps over one arena.
pub struct Plan {
    program: Program,
    inputs: Vec<Option<Span>>,
    outputs: Vec<Output>,
    /// Whether one thread is done before others would have come to help.
    alone: bool,
    /// The steps, in order.
    pub steps: Vec<StepInfo>,
}

/// Nodes that the outputs need, in topological order, given that constants need none.
pub fn needed_nodes(graph: &Graph, constants: &[Option<Tensor>]) -> Vec<NodeId> {
    let mut needed = BTreeSet::new();
    let mut stack: Vec<ValueId> = graph.outputs.clone();
    while let Some(value) = stack.pop() {
        if constants[value.0 as usize].is_some() {
            continue;
        }
        if let Some((node, _)) = graph.value(value).producer
            && needed.insert(node)
        {
            stack.extend(graph.node(node).reads());
        }
    }
    let order = graph.topological().unwrap_or_default();
    order.into_iter().filter(|id| needed.contains(id)).collect()
}

/// Compiles a graph whose values all have known sizes. `needed` are its nodes, inputs first.
///
/// # Errors
/// The node that a kernel refuses, or an arena over [`MAX_ARENA`].
pub fn compile(
    graph: &Graph,
    constants: &[Option<Tensor>],
    needed: &[NodeId],
    engine: &Engine,
) -> Result<Plan, ExecError> {
    check_outputs(graph, needed)?;
    check_sizes(graph, constants, needed)?;
    let mut cx = Lower::new(graph, constants, &engine.weights, &engine.functions, engine.isa);
    let inputs: Vec<Option<View>> = graph.inputs.iter().map(|id| declare_input(&mut cx, *id)).collect();
    for group in crate::lower::schedule(graph, constants, needed) {
        let at = |error| ExecError::lowering(graph.describe(group[group.len() - 1]), &error);
        cx.group(&group).map_err(at)?;
    }
    let outputs: Vec<View> = graph.outputs.iter().map(|id| finish_output(&mut cx, *id)).collect();
    Plan::assemble(cx, &inputs, &outputs, engine.team.threads())
}

impl Plan {
    fn assemble(
        cx: Lower<'_>,
        inputs: &[Option<View>],
        outputs: &[View],
        threads: usize,
    ) -> Result<Self, ExecError> {
        let (graph, constants) = (cx.graph, cx.constants);
        let lives = lives(&cx, inputs, outputs);
        let (spans, arena_len) = buffers::place(&lives);
        if arena_len > MAX_ARENA {
            return Err(ExecError::TooLarge { bytes: arena_len, limit: MAX_ARENA });
        }
        let spans = Spans(&spans);
        let (mut infos, mut steps) = (Vec::new(), Vec::new());
        for pending in cx.steps {
            let name = pending.nodes.first().map_or_else(|| "output".into(), |id| graph.describe(*id));
            let step = (pending.build)(&spans).map_err(|error| ExecError::lowering(name, &error))?;
            let cost = pending.nodes.iter().map(|id| cost(graph, constants, *id));
            infos.push(StepInfo {
                kernel: step.name(),
                nodes: pending.nodes.iter().map(|id| graph.describe(*id)).collect(),
                fallback: pending.fallback,
                cost: cost.fold(Cost::default(), |sum, c| sum + c),
                reads: step.reads(),
                writes: step.writes(),
            });
            steps.push(step);
        }
        let program = Program::new(steps, arena_len)
            .map_err(|error| ExecError::Lowering { node: "plan".into(), reason: error.to_string() })?;
        let inputs = inputs.iter().map(|view| Some(spans.of(view.as_ref()?.buffer()?))).collect();
        let resolve = |(view, id): (&View, &ValueId)| match (&view.place, &constants[id.0 as usize]) {
            (Place::Buffer(_), _) => {
                let span = spans.exactly(view).map_err(|e| ExecError::lowering("output", &e))?;
                Ok(Output::Arena { dtype: view.dtype, dims: view.dims().to_vec(), span })
            }
            (Place::Constant(_), Some(tensor)) => Ok(Output::Constant(tensor.clone())),
            (Place::Constant(_), None) => unreachable!("finish_output copies views of constants"),
        };
        let outputs = outputs.iter().zip(&graph.outputs).map(resolve).collect::<Result<_, ExecError>>()?;
        let alone = is_small(&infos, &program, threads);
        Ok(Self { program, inputs, outputs, alone, steps: infos })
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.program.arena_len()
    }

    /// Runs the plan. `inputs` are in the order of the graph's inputs and have the sizes it was compiled for; what was
    /// measured is added to `profile`.
    ///
    /// # Errors
    /// The node whose step failed.
    pub fn run(
        &self,
        engine: &Engine,
        inputs: &[Tensor],
        profile: Option<&mut Profile>,
    ) -> Result<Vec<Tensor>, ExecError> {
        let start = Instant::now();
        let mut arena = engine.arena(self.arena_bytes())?;
        for (span, tensor) in self.inputs.iter().zip(inputs) {
            if let Some(span) = span {
                arena.bytes_mut(*span).copy_from_slice(tensor.data());
            }
        }
        let mut times: Vec<Duration> = Vec::new();
        let wanted = profile.is_some().then_some(&mut times);
        let run = if self.alone { Team::run_alone } else { Team::run };
        run(&engine.team, &self.program, &mut arena, wanted).map_err(|error| self.locate(error))?;
        let read = |output: &Output| match output {
            Output::Constant(tensor) => Ok(tensor.clone()),
            Output::Arena { dtype, dims, span } => {
                Tensor::from_bytes(*dtype, dims.clone(), arena.bytes(*span).to_vec().into())
            }
        };
        let outputs = self.outputs.iter().map(read).collect::<Result<_, _>>();
        if let Some(profile) = profile {
            let rows = self.steps.iter().zip(times).map(|(info, time)| StepTime {
                kernel: info.kernel.clone(),
                nodes: info.nodes.clone(),
                time,
                fallback: info.fallback.clone(),
                flops: info.cost.flops,
            });
            profile.steps.extend(rows);
            profile.total += start.elapsed();
        }
        outputs.map_err(|error| ExecError::Eval(error.into()))
    }

    fn locate(&self, error: RunError) -> ExecError {
        match error {
            RunError::Step { step, reason } => {
                let node = self.steps.get(step).and_then(|s| s.nodes.first()).cloned().unwrap_or_default();
                ExecError::Step { node, reason }
            }
            other @ RunError::SmallArena { .. } => {
                ExecError::Step { node: "plan".into(), reason: other.to_string() }
            }
        }
    }
}

/// FLOPs of one core in a nanosecond, and bytes: what small steps reach, not what kernels can.
const SPEED: (f64, f64) = (40.0, 10.0);
/// Nanoseconds until sleeping workers are there, and for all to meet at the end of a phase.
const WAKE: f64 = 20_000.0;
const MEET: f64 = 2_000.0;

/// Whether a plan's work is over sooner on one thread than others would save.
fn is_small(steps: &[StepInfo], program: &Program, threads: usize) -> bool {
    let work: f64 = steps.iter().map(|s| s.cost.flops / SPEED.0 + s.cost.bytes / SPEED.1).sum();
    let phases: usize = program.steps().iter().map(|step| step.phases()).sum();
    work * (1.0 - 1.0 / threads.max(1) as f64) < WAKE + MEET * phases as f64
}

/// Refuses nodes that ask for outputs which their operator does not have: nothing would ever write them.
fn check_outputs(graph: &Graph, needed: &[NodeId]) -> Result<(), ExecError> {
    for id in needed {
        let node = graph.node(*id);
        let most = fusebox_ops::op(&node.op).map_or(usize::MAX, |op| op.schema().outputs.1);
        if node.outputs.len() > most {
            let reason = format!("it has {} outputs, {} gives {most}", node.outputs.len(), node.op);
            return Err(ExecError::Lowering { node: graph.describe(*id), reason });
        }
    }
    Ok(())
}

/// Refuses tensors so large that computing their byte size would overflow or exceed the arena's limit.
fn check_sizes(graph: &Graph, constants: &[Option<Tensor>], needed: &[NodeId]) -> Result<(), ExecError> {
    let outputs = needed.iter().flat_map(|id| graph.node(*id).outputs.iter().flatten());
    for value in graph.inputs.iter().chain(outputs) {
        if constants[value.0 as usize].is_some() {
            continue;
        }
        let Some(ty) = graph.value(*value).ty.tensor() else { continue };
        let Some(sizes) = ty.sizes() else { continue };
        let bytes = fusebox_ir::tensor::element_count(&sizes).and_then(|n| ty.dtype.bytes_for(n));
        let bytes = bytes.unwrap_or(usize::MAX);
        if bytes > MAX_ARENA {
            return Err(ExecError::TooLarge { bytes, limit: MAX_ARENA });
        }
    }
    Ok(())
}

fn declare_input(cx: &mut Lower<'_>, id: ValueId) -> Option<View> {
    if cx.constant(id).is_some() {
        return None;
    }
    let (dtype, dims) = cx.sizes(id);
    let view = cx.allocate(dtype, &dims);
    cx.set(id, view.clone());
    Some(view)
}

fn finish_output(cx: &mut Lower<'_>, id: ValueId) -> View {
    cx.attribute(Vec::new());
    let view = cx.view(id);
    let of_constant = matches!(view.place, Place::Constant(_)) && cx.constant(id).is_none();
    if of_constant {
        let order: Vec<usize> = (0..view.dims().len()).collect();
        return cx.copied(&view, &order);
    }
    if cx.constant(id).is_some() { view } else { cx.dense(view) }
}

fn lives(cx: &Lower<'_>, inputs: &[Option<View>], outputs: &[View]) -> Vec<Buffer> {
    let mut lives: Vec<Buffer> =
        cx.buffers.iter().map(|bytes| Buffer { bytes: *bytes, first: usize::MAX, last: 0 }).collect();
    for (index, step) in cx.steps.iter().enumerate() {
        for id in step.reads.iter().chain(&step.writes) {
            let life = &mut lives[id.0];
            life.first = life.first.min(index);
            life.last = life.last.max(index);
        }
    }
    for id in inputs.iter().flatten().filter_map(View::buffer) {
        lives[id.0].first = 0;
    }
    for id in outputs.iter().filter_map(View::buffer) {
        lives[id.0].last = cx.steps.len();
    }
    for life in &mut lives {
        // A buffer that no step touches needs no place (its node was declined or its value is unused).
        if life.first > life.last {
            *life = Buffer { bytes: 0, first: 0, last: 0 };
        }
    }
    lives
}

/// Work of a node under known sizes.
pub fn cost(graph: &Graph, constants: &[Option<Tensor>], id: NodeId) -> Cost {
    let node = graph.node(id);
    let Some(op) = fusebox_ops::op(&node.op) else { return Cost::default() };
    let of = |slot: &Option<ValueId>| slot.map(|v| &graph.value(v).ty).and_then(|ty| ty.tensor());
    let inputs: Vec<_> = node.inputs.iter().map(of).collect();
    let outputs: Vec<_> = node.outputs.iter().map(of).collect();
    let known = |slot: &Option<ValueId>| slot.is_none_or(|v| constants[v.0 as usize].is_some());
    if !node.outputs.is_empty() && node.outputs.iter().all(known) {
        return Cost::default();
    }
    op.cost(&Shapes { attrs: &node.attrs, inputs: &inputs, outputs: &outputs, assume: &|_| 1 })
}
