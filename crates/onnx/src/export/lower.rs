//! Chooses the opset of the file and brings every node to it: operators to the form that it has there, fused
//! operators to functions or to their bodies.

use super::{ExportError, Opset, Target};
use crate::inline::{NamesInUse, inline};
use crate::upgrade::{newest_opset, standard_opset};
use fusebox_ir::graph::FUSEBOX;
use fusebox_ir::{Attrs, Function, Graph, Model, NodeId, OpName, OpsetImport, Type, ValueId};
use fusebox_ops::op::{Body, Edit};
use fusebox_ops::{Op, op};

/// Opset for models that were not imported.
const DEFAULT_OPSET: i64 = 17;
/// Oldest opset that is written.
const OLDEST_OPSET: i64 = 7;

/// Makes the model that is to be written, with its opset imports.
pub(super) fn lower(model: &Model, opset: Opset, target: Target) -> Result<Model, ExportError> {
    let mut lowered = Model { graph: Graph::new(), functions: Vec::new(), ..model.clone() };
    let imported = standard_opset(&model.opsets);
    let choice = match opset {
        Opset::AsWritten => {
            lowered.graph = model.graph.clone();
            lowered.functions.clone_from(&model.functions);
            return Ok(lowered);
        }
        Opset::Lowest => Range { imported, asked: None },
        Opset::Exactly(version) => Range { imported, asked: Some(version) },
    };
    let (opset, (graph, fused)) = choice.search(&model.graph, target)?;
    lowered.graph = graph;
    let local = choice_for_functions(model, target)?;
    lowered.functions = local.into_iter().chain(fused).collect();
    set_opset(&mut lowered.opsets, "", opset, || imported.is_some() || uses(&lowered.graph, ""));
    for domain in [FUSEBOX, "com.microsoft"] {
        let used = uses(&lowered.graph, domain) || lowered.functions.iter().any(|f| uses(&f.graph, domain));
        set_opset(&mut lowered.opsets, domain, 1, || used);
    }
    Ok(lowered)
}

/// Functions of the model itself, each at the lowest opset that it can have.
fn choice_for_functions(model: &Model, target: Target) -> Result<Vec<Function>, ExportError> {
    let mut functions = Vec::new();
    for function in &model.functions {
        // A body that calls fused operators would need functions of its own: it gets their definitions inline.
        let target = if target == Target::Fusebox { Target::Onnx } else { target };
        let imported = standard_opset(&function.opsets);
        let (opset, (graph, _)) = Range { imported, asked: None }.search(&function.graph, target)?;
        let mut function = Function { graph, ..function.clone() };
        let uses_standard = uses(&function.graph, "");
        set_opset(&mut function.opsets, "", opset, || imported.is_some() || uses_standard);
        let uses_microsoft = uses(&function.graph, "com.microsoft");
        set_opset(&mut function.opsets, "com.microsoft", 1, || uses_microsoft);
        functions.push(function);
    }
    Ok(functions)
}

/// Sets the version of a domain; adds the domain when `wanted`, and removes it when it is ours and not wanted.
fn set_opset(opsets: &mut Vec<OpsetImport>, domain: &str, version: i64, wanted: impl Fn() -> bool) {
    let plain = |d: &str| d == domain || (domain.is_empty() && d == "ai.onnx");
    // A file may import a domain twice, at one version: what is set must hold for all of it.
    let mut first = true;
    opsets.retain(|o| !plain(&o.domain) || std::mem::take(&mut first));
    match opsets.iter_mut().find(|o| plain(&o.domain)) {
        Some(_) if domain == FUSEBOX && !wanted() => opsets.retain(|o| o.domain != FUSEBOX),
        // A foreign domain keeps the version that the file gave it.
        Some(found) if domain.is_empty() => found.version = version,
        Some(_) => {}
        None if wanted() => opsets.push(OpsetImport { domain: domain.into(), version }),
        None => {}
    }
}

/// Whether a node of the domain occurs in the graph or its regions.
fn uses(graph: &Graph, domain: &str) -> bool {
    let inside = |node: &fusebox_ir::Node| node.regions.iter().any(|r| uses(&r.graph, domain));
    graph.nodes().any(|(_, node)| &*node.op.domain == domain || inside(node))
}

/// A graph at some opset, and the functions that its fused operators need.
type Lowered = (Graph, Vec<Function>);

/// Which opsets are in question.
struct Range {
    imported: Option<i64>,
    asked: Option<i64>,
}

impl Range {
    /// The lowest opset of the range that holds the graph.
    fn search(&self, graph: &Graph, target: Target) -> Result<(i64, Lowered), ExportError> {
        let newest = newest_opset().max(self.imported.unwrap_or(0));
        if let Some(asked) = self.asked {
            if !(OLDEST_OPSET..=newest).contains(&asked) {
                return Err(ExportError::NoSuchOpset { opset: asked, newest });
            }
            self.check_pinned(graph, asked)?;
            return Ok((asked, attempt(graph, asked, target, true)?));
        }
        let first = self.imported.unwrap_or(DEFAULT_OPSET);
        let mut opset = first.max(youngest_operator(graph));
        loop {
            match attempt(graph, opset, target, false) {
                Ok(lowered) => {
                    self.check_pinned(graph, opset)?;
                    return Ok((opset, lowered));
                }
                Err(error) if opset >= newest => return Err(error),
                Err(_) => opset += 1,
            }
        }
    }

    /// An operator that the table does not know means what the imported opset says, and nothing else.
    fn check_pinned(&self, graph: &Graph, opset: i64) -> Result<(), ExportError> {
        let Some(imported) = self.imported.filter(|imported| *imported != opset) else { return Ok(()) };
        match unknown_standard(graph) {
            Some(node) => Err(ExportError::Pinned { node, opset, imported }),
            None => Ok(()),
        }
    }
}

fn unknown_standard(graph: &Graph) -> Option<String> {
    graph.nodes().find_map(|(id, node)| {
        if node.op.domain.is_empty() && op(&node.op).is_none() {
            return Some(graph.describe(id));
        }
        node.regions.iter().find_map(|region| unknown_standard(&region.graph))
    })
}

/// The opset in which the youngest operator of the graph appeared.
fn youngest_operator(graph: &Graph) -> i64 {
    let first = |name: &OpName| op(name).and_then(|o| o.schema().since.first()).copied().unwrap_or(1);
    let of_node = |node: &fusebox_ir::Node| {
        let inside = node.regions.iter().map(|r| youngest_operator(&r.graph)).max().unwrap_or(1);
        if node.op.domain.is_empty() { first(&node.op).max(inside) } else { inside }
    };
    graph.nodes().map(|(_, node)| of_node(node)).max().unwrap_or(1)
}

/// Tries one opset.
fn attempt(graph: &Graph, opset: i64, target: Target, is_asked_for: bool) -> Result<Lowered, ExportError> {
    let mut lowering = Lowering { opset, target, is_asked_for, functions: Vec::new() };
    let mut graph = graph.clone();
    lowering.graph(&mut graph)?;
    Ok((graph, lowering.functions))
}

struct Lowering {
    opset: i64,
    target: Target,
    /// Whether the caller chose the opset: then operators that it lacks are written out rather than refused.
    is_asked_for: bool,
    functions: Vec<Function>,
}

impl Lowering {
    fn graph(&mut self, graph: &mut Graph) -> Result<(), ExportError> {
        let mut names = NamesInUse::of(graph);
        for id in graph.node_ids() {
            let mut regions = std::mem::take(&mut graph.node_mut(id).regions);
            regions.iter_mut().try_for_each(|region| self.graph(&mut region.graph))?;
            graph.node_mut(id).regions = regions;
            let name = graph.node(id).op.clone();
            let Some(known) = op(&name) else { continue };
            match &*name.domain {
                "" => self.downgrade(graph, id, known, &mut names)?,
                FUSEBOX => self.fused(graph, id, known, &mut names)?,
                // Operators of com.microsoft that have a definition are not for every runtime.
                _ if self.target == Target::Onnx => {
                    if let Some(body) = self.body(graph, id, known) {
                        write_out(graph, id, &body, &mut names)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn downgrade(
        &self,
        graph: &mut Graph,
        node: NodeId,
        known: &dyn Op,
        names: &mut NamesInUse,
    ) -> Result<(), ExportError> {
        let opset = self.opset;
        // Forms that hold in this opset need no look.
        if known.schema().since.last().is_some_and(|last| *last <= opset) {
            return Ok(());
        }
        let before = graph.node(node).clone();
        let Err(error) = known.downgrade(&mut Edit { graph, node, opset }) else { return Ok(()) };
        if self.is_asked_for {
            *graph.node_mut(node) = before;
            if let Some(body) = self.body(graph, node, known) {
                return write_out(graph, node, &body, names);
            }
        }
        let node = graph.describe(node);
        Err(ExportError::Opset { node, opset, reason: error.to_string() })
    }

    fn fused(
        &mut self,
        graph: &mut Graph,
        id: NodeId,
        known: &dyn Op,
        names: &mut NamesInUse,
    ) -> Result<(), ExportError> {
        let Some(body) = self.body(graph, id, known) else {
            let reason = "its definition in standard operators needs another opset or element type".into();
            return Err(ExportError::Opset { node: graph.describe(id), opset: self.opset, reason });
        };
        if self.target != Target::Fusebox {
            return write_out(graph, id, &body, names);
        }
        let node = graph.node(id);
        let name = self.function_for(&node.op.name.clone(), node.inputs.as_slice(), &node.attrs, body);
        graph.node_mut(id).op = OpName::fusebox(&name);
        Ok(())
    }

    /// Definition of a node in operators that the target has.
    fn body(&self, graph: &Graph, id: NodeId, known: &dyn Op) -> Option<Graph> {
        let (opset, node) = (self.opset, graph.node(id));
        let types: Vec<Option<&Type>> =
            node.inputs.iter().map(|input| input.map(|value| &graph.value(value).ty)).collect();
        let target = match self.target {
            Target::OnnxRuntime => fusebox_ops::Target::OnnxRuntime { opset },
            Target::Fusebox | Target::Onnx => fusebox_ops::Target::Onnx { opset },
        };
        let mut body =
            known.body(&Body { attrs: &node.attrs, inputs: &types, outputs: node.outputs.len(), target })?;
        // Runtimes refuse -1 where the axis beside it is an empty batch; a body that cannot be typed keeps it.
        let mut typed = body.clone();
        if fusebox_ops::infer_graph(&mut typed, &[]).is_ok() {
            fusebox_ops::explicit::explicit_sizes(&mut typed, |_| true);
            for id in body.node_ids() {
                let target = typed.node(id).inputs.get(1).copied().flatten();
                if typed.node(id).inputs != body.node(id).inputs
                    && let Some(target) = target
                {
                    let constant = typed.value(target).clone();
                    body.node_mut(id).inputs[1] = Some(body.add_value(constant));
                }
            }
        }
        Some(body)
    }

    /// Name of the function with this body, made when there is none yet.
    fn function_for(&mut self, op: &str, inputs: &[Option<ValueId>], attrs: &Attrs, body: Graph) -> String {
        let required: Vec<String> = attrs.iter().map(|(name, _)| name.to_owned()).collect();
        let graph = definition(body, inputs);
        let prefix = format!("{op}__");
        let same = |f: &&Function| f.name.starts_with(&prefix) && f.required == required && f.graph == graph;
        if let Some(found) = self.functions.iter().find(same) {
            return found.name.clone();
        }
        let count = self.functions.iter().filter(|f| f.name.starts_with(&prefix)).count();
        let name = format!("{prefix}{count}");
        let mut opsets = vec![OpsetImport { domain: String::new(), version: self.opset }];
        if uses(&graph, "com.microsoft") {
            opsets.push(OpsetImport { domain: "com.microsoft".into(), version: 1 });
        }
        let (domain, doc) = (FUSEBOX.into(), format!("Defines {op} in standard operators."));
        self.functions.push(Function {
            domain,
            name: name.clone(),
            graph,
            required,
            opsets,
            doc,
            ..Function::default()
        });
        name
    }
}

/// Replaces a node by its body.
fn write_out(graph: &mut Graph, id: NodeId, body: &Graph, names: &mut NamesInUse) -> Result<(), ExportError> {
    let present: Vec<Option<ValueId>> =
        graph.node(id).inputs.iter().copied().filter(Option::is_some).collect();
    inline(graph, id, body, &present, &|_| None, names)?;
    Ok(())
}

/// The body as a function's: no types, and one input per position of the call, absent ones included.
fn definition(mut body: Graph, inputs: &[Option<ValueId>]) -> Graph {
    let ids: Vec<ValueId> = body.values().map(|(id, _)| id).collect();
    for id in ids {
        if body.value(id).constant.is_none() {
            body.value_mut(id).ty = Type::Unknown;
        }
    }
    let present = std::mem::take(&mut body.inputs);
    let mut present = present.into_iter();
    for (position, input) in inputs.iter().enumerate() {
        let formal = match input {
            Some(_) => present.next(),
            None => None,
        };
        let formal = formal.unwrap_or_else(|| {
            let name = format!("absent_{position}");
            body.add_value(fusebox_ir::Value { name, ..Default::default() })
        });
        body.inputs.push(formal);
    }
    body
}
