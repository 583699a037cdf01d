//! Runs one graph, the model's or a body's, segment by segment.
//!
//! The first segment is compiled for the sizes of the inputs, each further one for the sizes of what exists by then. A
//! graph without data-dependent sizes has one segment that is one plan. Refuses to know names and declarations.

use crate::ExecError;
use crate::cache::{Cache, Signature, signature};
use crate::engine::Engine;
use crate::plan;
use crate::profile::{Profile, StepTime};
use crate::segment::{self, Cut, Segment};
use fusebox_ir::{Graph, NodeId, Tensor, TensorType, Type, ValueId};
use fusebox_ops::typing::Typer;
use fusebox_ops::{Datum, EvalError, Interpreter};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Plans kept per graph.
pub const MAX_PLANS: usize = 32;

/// A graph with what was compiled for it.
pub struct Executor {
    graph: Graph,
    /// Nodes that the outputs need, inputs first.
    order: Vec<NodeId>,
    segments: Cache<Segment>,
}

impl Executor {
    /// An executor without plans.
    pub fn new(graph: Graph) -> Self {
        let constants: Vec<Option<Tensor>> =
            graph.values().map(|(id, _)| graph.constant(id).cloned()).collect();
        let order = plan::needed_nodes(&graph, &constants);
        Self { graph, order, segments: Cache::new(MAX_PLANS) }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Number of input signatures that plans are kept for.
    pub fn plans(&self) -> usize {
        self.segments.count()
    }

    /// The first segment for inputs of given types; `sizes` gives what is known of the graph's symbols.
    ///
    /// # Errors
    /// A contradiction between types, or a fault in lowering.
    pub fn segment(
        &self,
        engine: &Engine,
        signature: &Signature,
        resolve: &dyn Fn(&TensorType) -> TensorType,
    ) -> Result<Arc<Segment>, ExecError> {
        self.segments.get(signature, || {
            let mut typer = Typer::new(&self.graph, &engine.functions);
            for ty in &mut typer.types {
                if let Type::Tensor(tensor) = ty {
                    *tensor = resolve(tensor);
                }
            }
            let mut given = Vec::new();
            for (id, found) in self.graph.inputs.iter().zip(signature) {
                match found {
                    Some((dtype, sizes)) => {
                        typer.types[id.0 as usize] = TensorType::known(*dtype, sizes).into();
                        given.push(*id);
                    }
                    None if self.graph.value(*id).constant.is_none() => given.push(*id),
                    None => {}
                }
            }
            segment::compile(&self.graph, engine, typer, self.order.clone(), BTreeMap::new(), &given)
        })
    }

    /// Runs the graph on inputs in the graph's order; an absent one takes its default.
    ///
    /// # Errors
    /// The node that failed.
    pub fn run(
        &self,
        engine: &Engine,
        inputs: &[Option<Datum>],
        profile: Option<&mut Profile>,
    ) -> Result<Vec<Datum>, ExecError> {
        let segment = self.segment(engine, &signature(inputs.iter().map(Option::as_ref)), &Clone::clone)?;
        self.run_from(engine, segment, inputs, profile)
    }

    /// As [`Executor::run`], from a first segment that was found before.
    ///
    /// # Errors
    /// The node that failed.
    pub fn run_from(
        &self,
        engine: &Engine,
        mut segment: Arc<Segment>,
        inputs: &[Option<Datum>],
        mut profile: Option<&mut Profile>,
    ) -> Result<Vec<Datum>, ExecError> {
        let mut values = Values { graph: &self.graph, found: BTreeMap::new() };
        for (id, datum) in self.graph.inputs.iter().zip(inputs) {
            if let Some(datum) = datum {
                values.found.insert(*id, datum.clone());
            }
        }
        loop {
            values.plan(engine, &segment, profile.as_deref_mut())?;
            for cut in &segment.cuts {
                values.cut(engine, cut, profile.as_deref_mut())?;
            }
            let Some(rest) = &segment.rest else { break };
            let keep = |id: &ValueId| rest.boundary.contains(id) || self.graph.outputs.contains(id);
            values.found.retain(|id, _| keep(id));
            let boundary = signature(rest.boundary.iter().map(|id| values.found.get(id)));
            let next = rest.next(&self.graph, engine, &boundary)?;
            segment = next;
        }
        self.graph.outputs.iter().map(|id| values.get(*id).map_err(ExecError::Eval)).collect()
    }
}

/// Values of a run that exist outside plans.
struct Values<'a> {
    graph: &'a Graph,
    found: BTreeMap<ValueId, Datum>,
}

impl Values<'_> {
    fn get(&self, id: ValueId) -> Result<Datum, EvalError> {
        let value = self.graph.value(id);
        let found = self.found.get(&id).cloned().or_else(|| value.constant.clone().map(Datum::Tensor));
        found.ok_or_else(|| EvalError::value(format!("{:?} has no value", value.name)))
    }

    fn plan(
        &mut self,
        engine: &Engine,
        segment: &Segment,
        profile: Option<&mut Profile>,
    ) -> Result<(), ExecError> {
        if let Some(plan) = &segment.plan {
            let tensor = |id: &ValueId| self.get(*id).and_then(Datum::into_tensor);
            let inputs: Vec<Tensor> =
                segment.plan_inputs.iter().map(tensor).collect::<Result<_, _>>().map_err(ExecError::Eval)?;
            let outputs = plan.run(engine, &inputs, profile)?;
            let outputs = outputs.into_iter().map(Datum::Tensor);
            self.found.extend(segment.plan_outputs.iter().copied().zip(outputs));
        }
        self.found.extend(segment.found.iter().map(|(id, tensor)| (*id, Datum::Tensor(tensor.clone()))));
        Ok(())
    }

    fn cut(&mut self, engine: &Engine, cut: &Cut, profile: Option<&mut Profile>) -> Result<(), ExecError> {
        let start = Instant::now();
        let node = self.graph.node(cut.node);
        let outputs = self.evaluate(engine, cut).map_err(|source| {
            let node = self.graph.describe(cut.node);
            ExecError::Eval(EvalError::AtNode { node, source: Box::new(source) })
        })?;
        for (slot, datum) in node.outputs.iter().zip(outputs) {
            if let Some(id) = slot {
                self.found.insert(*id, datum);
            }
        }
        if let Some(profile) = profile {
            let time = start.elapsed();
            let has_body = !cut.bodies.is_empty();
            let kind = if has_body { "control" } else { "reference" };
            profile.steps.push(StepTime {
                kernel: format!("{kind}.{}", node.op),
                nodes: vec![self.graph.describe(cut.node)],
                time,
                fallback: (!has_body).then(|| cut.reason.to_owned()),
                flops: 0.0,
            });
            profile.total += time;
        }
        Ok(())
    }

    fn evaluate(&self, engine: &Engine, cut: &Cut) -> Result<Vec<Datum>, EvalError> {
        let node = self.graph.node(cut.node);
        let read = |slot: &Option<ValueId>| slot.map(|id| self.get(id)).transpose();
        let inputs: Vec<Option<Datum>> = node.inputs.iter().map(read).collect::<Result<_, _>>()?;
        let inputs: Vec<Option<&Datum>> = inputs.iter().map(Option::as_ref).collect();
        let capture = |region: &fusebox_ir::Region| region.captures.iter().map(|id| self.get(*id)).collect();
        let captures: Vec<Vec<Datum>> = node.regions.iter().map(capture).collect::<Result<_, _>>()?;
        let bodies = cut.bodies.bind(engine);
        let interpreter = Interpreter::new(&engine.functions);
        match cut.bodies.is_empty() {
            true => interpreter.node(node, &inputs, &captures),
            false => interpreter.with_bodies(&bodies).node(node, &inputs, &captures),
        }
    }
}
