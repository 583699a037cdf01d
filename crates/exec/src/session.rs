//! A session: one model, its packed weights, its plans, its threads.

use crate::ExecError;
use crate::bind::{arrange, bind};
use crate::cache::Signature;
use crate::engine::Engine;
use crate::executor::Executor;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::segment::Segment;
use fusebox_ir::{Dim, Function, Graph, Model, Tensor, TensorType};
use fusebox_kernels::{Isa, MAX_THREADS};
use fusebox_ops::Datum;
use std::sync::Arc;

/// How a session runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// Worker threads, at most [`fusebox_kernels::MAX_THREADS`]; 0 means one per core.
    pub threads: usize,
    /// Instruction set to force, for tests.
    pub isa: Option<Isa>,
}

/// Outputs by name, in the model's order; the tensors of a sequence as `name[0]`, `name[1]`, ….
pub type Outputs = Vec<(String, Tensor)>;

/// A model ready to run.
pub struct Session {
    executor: Executor,
    engine: Engine,
}

impl Session {
    /// Prepares a model. When all input shapes are fixed, its plan is compiled at once.
    ///
    /// # Errors
    /// A graph that breaks an invariant, an unknown operator, threads that there cannot be, or a fault in lowering.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, ExecError> {
        model.graph.verify()?;
        refuse_unknown(&model.graph, &model.functions)?;
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if options.threads == 0 { cores().min(MAX_THREADS) } else { options.threads };
        let mut graph = model.graph.clone();
        crate::fold::fold(&mut graph, &model.functions, threads);
        let session = Self {
            executor: Executor::new(graph),
            engine: Engine::new(model.functions.clone().into(), threads, options.isa)?,
        };
        let sizes =
            |id: &fusebox_ir::ValueId| session.graph().value(*id).ty.tensor().and_then(TensorType::sizes);
        let fixed: Option<Vec<Vec<usize>>> = session.graph().inputs.iter().map(sizes).collect();
        if let Some(sizes) = fixed {
            session.prepare(&sizes)?;
        }
        Ok(session)
    }

    /// The model's graph.
    pub fn graph(&self) -> &Graph {
        self.executor.graph()
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        self.engine.team.threads()
    }

    /// Compiles the plan for given sizes of all inputs, so that the first run need not.
    ///
    /// # Errors
    /// Sizes that contradict the model, or a fault in lowering.
    pub fn prepare(&self, sizes: &[Vec<usize>]) -> Result<(), ExecError> {
        let typed = |(id, sizes): (&fusebox_ir::ValueId, &Vec<usize>)| {
            let declared = self.graph().value(*id).ty.tensor();
            declared.map(|ty| TensorType::known(ty.dtype, sizes))
        };
        let types: Vec<Option<TensorType>> = self.graph().inputs.iter().zip(sizes).map(typed).collect();
        self.segment(&types).map(|_| ())
    }

    /// Runs the model on named inputs.
    ///
    /// # Errors
    /// Inputs that do not fit the model, or the node that failed.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Outputs, ExecError> {
        self.run_with(inputs, None)
    }

    /// Runs the model and times every step.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&self, inputs: &[(&str, Tensor)]) -> Result<(Outputs, Profile), ExecError> {
        let mut profile = Profile::default();
        let outputs = self.run_with(inputs, Some(&mut profile))?;
        Ok((outputs, profile))
    }

    /// Runs the model on named values, sequences and optionals among them.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_data(&self, inputs: &[(&str, Datum)]) -> Result<Vec<(String, Datum)>, ExecError> {
        let outputs = self.execute(&arrange(self.graph(), inputs)?, None)?;
        Ok(self.output_names().zip(outputs).collect())
    }

    fn run_with(
        &self,
        inputs: &[(&str, Tensor)],
        profile: Option<&mut Profile>,
    ) -> Result<Outputs, ExecError> {
        let data: Vec<Option<Datum>> =
            arrange(self.graph(), inputs)?.into_iter().map(|t| t.map(Datum::Tensor)).collect();
        let outputs = self.execute(&data, profile)?;
        Ok(self.output_names().zip(outputs).flat_map(|(name, datum)| datum.into_tensors(&name)).collect())
    }

    fn output_names(&self) -> impl Iterator<Item = String> {
        self.graph().outputs.iter().map(|id| self.graph().value(*id).name.clone())
    }

    fn execute(
        &self,
        data: &[Option<Datum>],
        profile: Option<&mut Profile>,
    ) -> Result<Vec<Datum>, ExecError> {
        let types: Vec<Option<TensorType>> =
            data.iter().map(|d| d.as_ref()?.tensor().ok().map(Tensor::ty)).collect();
        for (id, datum) in self.graph().inputs.iter().zip(data) {
            let value = self.graph().value(*id);
            if value.ty.tensor().is_some() && datum.as_ref().is_some_and(|d| d.tensor().is_err()) {
                let found =
                    if matches!(datum, Some(Datum::Absent)) { "an absent optional" } else { "a sequence" };
                let (name, expected) = (value.name.clone(), value.ty.to_string());
                return Err(ExecError::InputType { name, expected, found: found.into() });
            }
        }
        let segment = self.segment(&types)?;
        self.executor.run_from(&self.engine, segment, data, profile)
    }

    /// Calls `see` with what given input types compile to: `Ok` holds the plan of the whole graph, `Err` that of what
    /// comes before the first size that depends on data, where there is any.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub fn with_plan<R>(
        &self,
        types: &[Option<TensorType>],
        see: impl FnOnce(Result<&Plan, Option<&Plan>>) -> R,
    ) -> Result<R, ExecError> {
        let segment = self.segment(types)?;
        let is_whole = segment.rest.is_none() && segment.cuts.is_empty();
        Ok(match &segment.plan {
            Some(plan) if is_whole => see(Ok(plan)),
            plan => see(Err(plan.as_ref())),
        })
    }

    /// Number of input signatures that plans are kept for, and bytes of the arena that they share.
    pub fn footprint(&self) -> (usize, usize) {
        (self.executor.plans(), self.engine.arena_bytes())
    }

    fn segment(&self, types: &[Option<TensorType>]) -> Result<Arc<Segment>, ExecError> {
        let binding = bind(self.graph(), types)?;
        let sizes = |name: &str| binding.get(name).copied().map(Dim::known);
        let found = |ty: &Option<TensorType>| {
            let ty = ty.as_ref()?;
            Some((ty.dtype, ty.sizes()?))
        };
        let signature: Signature = types.iter().map(found).collect();
        self.executor.segment(&self.engine, &signature, &|ty| ty.substitute_symbols(&sizes))
    }
}

fn refuse_unknown(graph: &Graph, functions: &[Function]) -> Result<(), ExecError> {
    for (id, node) in graph.nodes() {
        let is_function = functions.iter().any(|f| f.domain == *node.op.domain && f.name == *node.op.name);
        if fusebox_ops::op(&node.op).is_none() && !is_function {
            return Err(ExecError::UnknownOperator { node: graph.describe(id), op: node.op.to_string() });
        }
        node.regions.iter().try_for_each(|region| refuse_unknown(&region.graph, functions))?;
    }
    Ok(())
}
