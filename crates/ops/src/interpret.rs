//! Evaluates whole graphs operator by operator: the unfused reference.

use crate::limit::{self, Budget};
use crate::op::{Body, Eval, Op, Target};
use crate::{Datum, EvalError, InferError};
use fusebox_ir::{Function, Graph, Node, NodeId, Type, ValueId};

/// Depth of nested regions, function calls and bodies that evaluation follows.
const MAX_DEPTH: usize = 64;

/// Sees every value as it is computed.
pub type Observer<'a> = &'a dyn Fn(&Graph, ValueId, &Datum);

/// Runs the bodies of one control-flow node by other means than the interpreter.
pub trait Bodies {
    /// Outputs of region `region` of the node. `inputs` are in the order of its graph's inputs, `captures` in the order
    /// of its graph's captures.
    ///
    /// # Errors
    /// What fails inside.
    fn run(
        &self,
        region: usize,
        inputs: &[Option<Datum>],
        captures: &[Datum],
    ) -> Result<Vec<Datum>, EvalError>;
}

/// Evaluates graphs by the reference evaluation of their operators.
#[derive(Clone, Copy)]
pub struct Interpreter<'a> {
    functions: &'a [Function],
    observer: Option<Observer<'a>>,
    bodies: Option<&'a dyn Bodies>,
    budget: &'a Budget,
    depth: usize,
}

impl<'a> Interpreter<'a> {
    /// An interpreter that knows the model's functions.
    pub fn new(functions: &'a [Function]) -> Self {
        Self { functions, observer: None, bodies: None, budget: &limit::DEFAULT, depth: 0 }
    }

    /// Calls `observer` with every value of the main graph.
    #[must_use]
    pub fn observed(self, observer: Observer<'a>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Has the bodies of the node that is evaluated next run by `bodies`; what they contain is their affair.
    #[must_use]
    pub fn with_bodies(self, bodies: &'a dyn Bodies) -> Self {
        Self { bodies: Some(bodies), ..self }
    }

    /// Runs a region of the node under evaluation.
    ///
    /// # Errors
    /// What fails inside.
    pub(crate) fn body(
        &self,
        region: usize,
        graph: &Graph,
        inputs: &[Option<Datum>],
        captures: &[Datum],
    ) -> Result<Vec<Datum>, EvalError> {
        match self.bodies {
            Some(bodies) => bodies.run(region, inputs, captures),
            None => self.run(graph, inputs, captures),
        }
    }

    /// Spends a budget instead of the default limits.
    #[must_use]
    pub fn within(self, budget: &'a Budget) -> Self {
        Self { budget, ..self }
    }

    fn nested(&self) -> Result<Self, EvalError> {
        if self.depth >= MAX_DEPTH {
            return Err(EvalError::unsupported(format!("nesting deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1, observer: None, bodies: None, ..*self })
    }

    /// Evaluates a graph. `inputs` are in the order of `graph.inputs`; an absent one needs a default. `captures` are in
    /// the order of `graph.captured`.
    ///
    /// # Errors
    /// The first node that fails, by name.
    pub fn run(
        &self,
        graph: &Graph,
        inputs: &[Option<Datum>],
        captures: &[Datum],
    ) -> Result<Vec<Datum>, EvalError> {
        let mut values: Vec<Option<Datum>> = vec![None; graph.value_count()];
        for (id, value) in graph.values() {
            values[id.0 as usize] = value.constant.clone().map(Datum::Tensor);
        }
        for (position, id) in graph.inputs.iter().enumerate() {
            if let Some(Some(datum)) = inputs.get(position) {
                values[id.0 as usize] = Some(datum.clone());
            }
        }
        for (id, datum) in graph.captured.iter().zip(captures) {
            values[id.0 as usize] = Some(datum.clone());
        }
        // Bodies belong to the node that brought us here, not to those of this graph.
        let this = Self { bodies: None, ..*self };
        let cycle = |id| EvalError::value(format!("node {} is on a cycle", graph.describe(id)));
        let order = graph.topological().map_err(cycle)?;
        let mut uses = use_counts(graph);
        for id in order {
            this.step(graph, id, &mut values, &mut uses).map_err(|source| match source {
                already @ EvalError::AtNode { .. } => already,
                source => EvalError::AtNode { node: graph.describe(id), source: Box::new(source) },
            })?;
        }
        let missing =
            |id: ValueId| EvalError::value(format!("output {:?} has no value", graph.value(id).name));
        graph.outputs.iter().map(|id| values[id.0 as usize].clone().ok_or_else(|| missing(*id))).collect()
    }

    fn step(
        &self,
        graph: &Graph,
        id: NodeId,
        values: &mut [Option<Datum>],
        uses: &mut [usize],
    ) -> Result<(), EvalError> {
        let node = graph.node(id);
        let outputs = {
            let inputs = node.inputs.iter().enumerate().map(|(index, slot)| {
                let read = |value: &ValueId| values[value.0 as usize].as_ref();
                slot.as_ref()
                    .map(|v| read(v).ok_or(EvalError::Infer(InferError::MissingInput { index })))
                    .transpose()
            });
            let inputs: Vec<Option<&Datum>> = inputs.collect::<Result<_, _>>()?;
            let capture = |value: &ValueId| {
                let name = || format!("captured value {:?} has no value", graph.value(*value).name);
                values[value.0 as usize].clone().ok_or_else(|| EvalError::value(name()))
            };
            let captures = node.regions.iter().map(|r| r.captures.iter().map(capture).collect());
            self.node(node, &inputs, &captures.collect::<Result<Vec<_>, _>>()?)?
        };
        for (slot, datum) in node.outputs.iter().zip(outputs) {
            if let Some(value) = slot {
                if let Some(observer) = self.observer {
                    observer(graph, *value, &datum);
                }
                let is_read = uses[value.0 as usize] > 0;
                values[value.0 as usize] = is_read.then_some(datum);
            }
        }
        // Values are dropped after their last reader, so that memory follows the live set and not the whole graph.
        for value in node.reads() {
            uses[value.0 as usize] -= 1;
            if uses[value.0 as usize] == 0 {
                values[value.0 as usize] = None;
            }
        }
        Ok(())
    }

    /// Evaluates one node.
    ///
    /// # Errors
    /// What the operator reports, or that the operator is unknown.
    pub fn node(
        &self,
        node: &Node,
        inputs: &[Option<&Datum>],
        captures: &[Vec<Datum>],
    ) -> Result<Vec<Datum>, EvalError> {
        if let Some(op) = crate::op(&node.op) {
            let (least, most) = op.schema().inputs;
            if inputs.len() < least || inputs.len() > most {
                return Err(EvalError::Infer(crate::typing::arity(op.schema(), inputs.len())));
            }
            // What has subgraphs is sized by the nodes inside them.
            if node.regions.is_empty() {
                self.budget.admit(op, &node.attrs, inputs, node.outputs.len())?;
            }
            let interpreter = &Self { bodies: self.bodies, ..self.nested()? };
            let (attrs, regions, outputs) = (&node.attrs, node.regions.as_slice(), node.outputs.len());
            return op.eval(&Eval { attrs, inputs, outputs, regions, captures, interpreter });
        }
        let is_callee = |f: &&Function| {
            f.domain == *node.op.domain && f.name == *node.op.name && f.overload == node.overload
        };
        let Some(function) = self.functions.iter().find(is_callee) else {
            return Err(EvalError::UnknownOperator { op: node.op.to_string() });
        };
        let body = function.instantiate(&node.attrs);
        let inputs: Vec<Option<Datum>> = inputs.iter().map(|d| d.cloned()).collect();
        self.nested()?.run(&body, &inputs, &[])
    }
}

fn use_counts(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.value_count()];
    for (_, node) in graph.nodes() {
        node.reads().for_each(|value| uses[value.0 as usize] += 1);
    }
    for value in &graph.outputs {
        uses[value.0 as usize] += 1;
    }
    uses
}

/// Evaluates an operator through its body.
pub(crate) fn eval_body<O: Op + ?Sized>(op: &O, cx: &Eval<'_>) -> Result<Vec<Datum>, EvalError> {
    let types: Vec<Option<Type>> = cx
        .inputs
        .iter()
        .map(|datum| datum.map(|d| d.tensor().map_or(Type::Unknown, |t| t.ty().into())))
        .collect();
    let types: Vec<Option<&Type>> = types.iter().map(Option::as_ref).collect();
    let target = Target::Onnx { opset: i64::MAX };
    let body = op.body(&Body { attrs: cx.attrs, inputs: &types, outputs: cx.outputs, target });
    let name = op.schema().name;
    let body = body.ok_or_else(|| EvalError::unsupported(format!("evaluation of {name}")))?;
    let inputs: Vec<Option<Datum>> = cx.inputs.iter().flatten().map(|d| Some((*d).clone())).collect();
    cx.interpreter.run(&body, &inputs, &[])
}
