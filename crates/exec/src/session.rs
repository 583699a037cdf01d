//! A session: one model, its packed weights, its plans, its threads.

use crate::ExecError;
use crate::bind::{arrange, bind};
use crate::plan::{self, Plan};
use crate::profile::Profile;
use crate::weights::Weights;
use fusebox_ir::{Dim, Function, Graph, Model, Tensor, TensorType, Type};
use fusebox_kernels::{Isa, Team};
use fusebox_ops::{Datum, Interpreter};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Plans that a session keeps; the one used longest ago goes first.
const MAX_PLANS: usize = 32;

/// How a session runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// Worker threads; 0 means one per core.
    pub threads: usize,
    /// Instruction set to force, for tests.
    pub isa: Option<Isa>,
}

/// Outputs by name, in the model's order.
pub type Outputs = Vec<(String, Tensor)>;

/// Sizes of the inputs that were given; `None` for inputs left to their default.
type Signature = Vec<Option<Vec<usize>>>;

enum Route {
    Plan(Plan),
    /// Evaluated by the reference, with the reason.
    Reference(String),
}

#[derive(Default)]
struct Plans {
    routes: BTreeMap<Signature, Arc<Route>>,
    /// Signatures, the one used last at the end.
    recent: Vec<Signature>,
}

/// A model ready to run.
pub struct Session {
    graph: Graph,
    functions: Arc<[Function]>,
    weights: Weights,
    team: Team,
    isa: Option<Isa>,
    plans: Mutex<Plans>,
}

impl Session {
    /// Prepares a model. When all input shapes are fixed, its plan is compiled at once.
    ///
    /// # Errors
    /// A graph that breaks an invariant, an unknown operator, or a fault in lowering.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, ExecError> {
        model.graph.verify()?;
        refuse_unknown(&model.graph, &model.functions)?;
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if options.threads == 0 { cores() } else { options.threads };
        let session = Self {
            graph: model.graph.clone(),
            functions: model.functions.clone().into(),
            weights: Weights::default(),
            team: Team::new(threads),
            isa: options.isa,
            plans: Mutex::default(),
        };
        let sizes =
            |id: &fusebox_ir::ValueId| session.graph.value(*id).ty.tensor().and_then(TensorType::sizes);
        let fixed: Option<Vec<Vec<usize>>> = session.graph.inputs.iter().map(sizes).collect();
        if let Some(sizes) = fixed {
            session.prepare(&sizes)?;
        }
        Ok(session)
    }

    /// The model's graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Compiles the plan for given sizes of all inputs, so that the first run need not.
    ///
    /// # Errors
    /// Sizes that contradict the model, or a fault in lowering.
    pub fn prepare(&self, sizes: &[Vec<usize>]) -> Result<(), ExecError> {
        let typed = |(id, sizes): (&fusebox_ir::ValueId, &Vec<usize>)| {
            let declared = self.graph.value(*id).ty.tensor();
            declared.map(|ty| TensorType::known(ty.dtype, sizes))
        };
        let types: Vec<Option<TensorType>> = self.graph.inputs.iter().zip(sizes).map(typed).collect();
        self.route(&types).map(|_| ())
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
        let outputs = self.execute(arrange(&self.graph, inputs)?, None)?;
        Ok(self.output_names().zip(outputs).collect())
    }

    fn run_with(
        &self,
        inputs: &[(&str, Tensor)],
        profile: Option<&mut Profile>,
    ) -> Result<Outputs, ExecError> {
        let data = arrange(&self.graph, inputs)?.into_iter().map(|t| t.map(Datum::Tensor)).collect();
        let outputs = self.execute(data, profile)?.into_iter().map(Datum::into_tensor);
        Ok(self.output_names().zip(outputs.collect::<Result<Vec<_>, _>>()?).collect())
    }

    fn output_names(&self) -> impl Iterator<Item = String> {
        self.graph.outputs.iter().map(|id| self.graph.value(*id).name.clone())
    }

    fn execute(
        &self,
        data: Vec<Option<Datum>>,
        profile: Option<&mut Profile>,
    ) -> Result<Vec<Datum>, ExecError> {
        let types: Vec<Option<TensorType>> =
            data.iter().map(|d| d.as_ref()?.tensor().ok().map(Tensor::ty)).collect();
        for (id, datum) in self.graph.inputs.iter().zip(&data) {
            let value = self.graph.value(*id);
            if value.ty.tensor().is_some() && datum.as_ref().is_some_and(|d| d.tensor().is_err()) {
                let found =
                    if matches!(datum, Some(Datum::Absent)) { "an absent optional" } else { "a sequence" };
                let (name, expected) = (value.name.clone(), value.ty.to_string());
                return Err(ExecError::InputType { name, expected, found: found.into() });
            }
        }
        match &*self.route(&types)? {
            Route::Plan(plan) => {
                let tensors: Vec<Option<Tensor>> = data
                    .into_iter()
                    .map(|d| d.map(Datum::into_tensor).transpose())
                    .collect::<Result<_, _>>()?;
                Ok(plan.run(&self.team, &tensors, profile)?.into_iter().map(Datum::Tensor).collect())
            }
            Route::Reference(_) => Ok(Interpreter::new(&self.functions).run(&self.graph, &data, &[])?),
        }
    }

    /// Calls `see` with the plan for given input types; `Err` holds why there is none and the reference runs instead.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub fn with_plan<R>(
        &self,
        types: &[Option<TensorType>],
        see: impl FnOnce(Result<&Plan, &str>) -> R,
    ) -> Result<R, ExecError> {
        Ok(match &*self.route(types)? {
            Route::Plan(plan) => see(Ok(plan)),
            Route::Reference(reason) => see(Err(reason)),
        })
    }

    fn route(&self, types: &[Option<TensorType>]) -> Result<Arc<Route>, ExecError> {
        let signature: Signature = types.iter().map(|t| t.as_ref().and_then(TensorType::sizes)).collect();
        {
            let mut plans = self.plans.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(route) = plans.routes.get(&signature).cloned() {
                if plans.recent.last() != Some(&signature) {
                    plans.recent.retain(|s| *s != signature);
                    plans.recent.push(signature);
                }
                // The declared element types are checked again: a signature holds sizes only.
                bind(&self.graph, types)?;
                return Ok(route);
            }
        }
        let route = Arc::new(self.compile(types)?);
        let mut plans = self.plans.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if plans.recent.len() >= MAX_PLANS {
            let oldest = plans.recent.remove(0);
            plans.routes.remove(&oldest);
        }
        plans.recent.push(signature.clone());
        plans.routes.insert(signature, route.clone());
        Ok(route)
    }

    fn compile(&self, types: &[Option<TensorType>]) -> Result<Route, ExecError> {
        let binding = bind(&self.graph, types)?;
        let mut graph = self.graph.clone();
        let sizes = |name: &str| binding.get(name).copied().map(Dim::known);
        for index in 0..graph.value_count() {
            let id = fusebox_ir::ValueId(u32::try_from(index).expect("ids are u32"));
            if let Type::Tensor(ty) = &graph.value(id).ty {
                graph.value_mut(id).ty = ty.substitute(&sizes).into();
            }
        }
        for (position, ty) in types.iter().enumerate() {
            if let Some(ty) = ty {
                let id = graph.inputs[position];
                graph.value_mut(id).ty = ty.clone().into();
            }
        }
        let typing = fusebox_ops::infer_graph(&mut graph, &self.functions)?;
        let given: Vec<bool> = types.iter().map(Option::is_some).collect();
        let constants = plan::constants(&graph, &typing.dims, &given);
        let needed = plan::needed_nodes(&graph, &constants);
        if let Some(reason) = plan::unplannable(&graph, &constants, &needed) {
            return Ok(Route::Reference(reason));
        }
        Ok(Route::Plan(Plan::compile(&graph, &constants, &needed, &self.weights, &self.functions, self.isa)?))
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
