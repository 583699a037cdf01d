//! Brings an imported model to the one form that all other crates expect: every operator of ai.onnx in its newest
//! form, fused operators under their own names, constants as constants.
//!
//! The opset that the file imported stays in `Model::opsets`: export starts from it. What a form means is the
//! operator table's knowledge; nodes of unknown operators stay as they are.

use crate::ImportError;
use fusebox_ir::{Graph, Model, NodeId, OpName, OpsetImport, Tensor, Value};
use fusebox_ops::op::Edit;
use fusebox_ops::{VersionError, op, ops};

/// Newest opset of ai.onnx in which an operator of the table changed.
pub(crate) fn newest_opset() -> i64 {
    let newest =
        ops().iter().filter(|o| o.schema().domain.is_empty()).filter_map(|o| o.schema().since.last());
    newest.copied().max().unwrap_or(1)
}

/// Newest opset whose models are read. What changed after [`newest_opset`] are element types and operators that the
/// table does not have.
const NEWEST_READ: i64 = 28;

/// Version of ai.onnx among opset imports.
pub(crate) fn standard_opset(opsets: &[OpsetImport]) -> Option<i64> {
    opsets.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map(|o| o.version)
}

/// Upgrades the graph, all regions and all functions.
///
/// # Errors
/// When an old form has no equivalent, or the opset is newer than the table.
pub(crate) fn upgrade(model: &mut Model) -> Result<(), ImportError> {
    let newest = newest_opset().max(NEWEST_READ);
    let check = |owner: &str, opsets: &[OpsetImport]| match standard_opset(opsets) {
        Some(version) if version > newest => {
            Err(ImportError::OpsetTooNew { owner: owner.into(), version, newest })
        }
        version => Ok(version),
    };
    let opset = check("the model", &model.opsets)?;
    recognise_fused(&mut model.graph);
    upgrade_graph(&mut model.graph, opset)?;
    lift_constants(&mut model.graph);
    model.functions.retain(|f| fused_name(&OpName::new(&f.domain, &f.name)).is_none());
    for function in &mut model.functions {
        let opset = check(&format!("function {:?}", function.name), &function.opsets)?;
        recognise_fused(&mut function.graph);
        upgrade_graph(&mut function.graph, opset)?;
    }
    Ok(())
}

/// The fused operator that `Name__suffix` specialises, when the table has it.
fn fused_name(name: &OpName) -> Option<OpName> {
    if &*name.domain != fusebox_ir::graph::FUSEBOX {
        return None;
    }
    let base = OpName::fusebox(name.name.split("__").next()?);
    op(&base).is_some().then_some(base)
}

fn recognise_fused(graph: &mut Graph) {
    each_node(graph, &mut |graph, id| {
        let node = graph.node_mut(id);
        if let Some(base) = fused_name(&node.op) {
            node.op = base;
        }
    });
}

/// Calls `visit` on every node of the graph and of its regions, innermost last.
fn each_node(graph: &mut Graph, visit: &mut dyn FnMut(&mut Graph, NodeId)) {
    for id in graph.node_ids() {
        visit(graph, id);
        if !graph.has_node(id) || graph.node(id).regions.is_empty() {
            continue;
        }
        let mut regions = std::mem::take(&mut graph.node_mut(id).regions);
        regions.iter_mut().for_each(|region| each_node(&mut region.graph, visit));
        graph.node_mut(id).regions = regions;
    }
}

/// Times that types are inferred to help an upgrade; real models need one.
const MAX_ROUNDS: usize = 16;

/// A node that could not be upgraded yet, and why.
type Failure = (NodeId, VersionError);

fn upgrade_graph(graph: &mut Graph, opset: Option<i64>) -> Result<(), ImportError> {
    let Some(opset) = opset else { return Ok(()) };
    let mut left = upgrade_nodes(graph, graph.node_ids(), opset);
    let mut rounds = 0;
    while let Some((id, source)) = left.first() {
        // Some forms need the rank of an input, which the file may not say: types of what is upgraded so far help.
        let fault = ImportError::Upgrade { node: graph.describe(*id), opset, source: source.clone() };
        let count = left.len();
        let mut typed = graph.clone();
        // A contradiction elsewhere does not take away the types found before it.
        drop(fusebox_ops::infer_graph(&mut typed, &[]));
        take_types(graph, &typed);
        left = upgrade_nodes(graph, left.iter().map(|(id, _)| *id).collect(), opset);
        rounds += 1;
        if left.len() == count || rounds == MAX_ROUNDS {
            return Err(fault);
        }
    }
    for id in graph.node_ids() {
        let mut regions = std::mem::take(&mut graph.node_mut(id).regions);
        let done = regions.iter_mut().try_for_each(|region| {
            for (outside, inside) in region.captures.iter().zip(region.graph.captured.clone()) {
                let ty = graph.value(*outside).ty.clone();
                region.graph.value_mut(inside).ty = ty;
            }
            upgrade_graph(&mut region.graph, Some(opset))
        });
        graph.node_mut(id).regions = regions;
        done?;
    }
    Ok(())
}

fn upgrade_nodes(graph: &mut Graph, ids: Vec<NodeId>, opset: i64) -> Vec<Failure> {
    let mut failures = Vec::new();
    for node in ids {
        let name = &graph.node(node).op;
        let Some(known) = op(name).filter(|_| name.domain.is_empty()) else { continue };
        // An operator that has not changed since needs no look.
        if known.schema().since.last().is_some_and(|last| *last <= opset) {
            continue;
        }
        if opset < 6 {
            // A hint on memory that opset 6 took away.
            graph.node_mut(node).attrs.remove("consumed_inputs");
        }
        if let Err(error) = known.upgrade(&mut Edit { graph, node, opset }) {
            failures.push((node, error));
        }
    }
    failures
}

fn take_types(graph: &mut Graph, typed: &Graph) {
    for (id, value) in typed.values() {
        graph.value_mut(id).ty.clone_from(&value.ty);
    }
}

/// Turns `Constant` nodes into constants, with name, doc string and metadata.
fn lift_constants(graph: &mut Graph) {
    each_node(graph, &mut |graph, id| {
        let node = graph.node(id);
        let Some((tensor, output)) = constant_of(node).zip(node.output(0)) else { return };
        let Some(node) = graph.remove_node(id) else { return };
        let Value { metadata, doc, constant, ty, .. } = graph.value_mut(output);
        *ty = tensor.ty().into();
        *constant = Some(tensor);
        metadata.extend(node.metadata);
        if doc.is_empty() {
            *doc = node.doc;
        }
    });
}

fn constant_of(node: &fusebox_ir::Node) -> Option<Tensor> {
    use fusebox_ir::Attr;
    if !node.op.is("Constant")
        || node.attrs.len() != 1
        || !node.carried.iter().all(|c| c.field == "attribute")
    {
        return None;
    }
    match node.attrs.iter().next()? {
        ("value", Attr::Tensor(tensor)) => Some(tensor.clone()),
        ("value_float", Attr::Float(value)) => Some(Tensor::scalar(*value)),
        ("value_int", Attr::Int(value)) => Some(Tensor::scalar(*value)),
        ("value_floats", Attr::Floats(values)) => Some(Tensor::vector(values.clone())),
        ("value_ints", Attr::Ints(values)) => Some(Tensor::vector(values.clone())),
        ("value_string", Attr::String(value)) => Tensor::from_strings(vec![], vec![value.clone()]).ok(),
        ("value_strings", Attr::Strings(values)) => {
            Tensor::from_strings(vec![values.len()], values.clone()).ok()
        }
        _ => None,
    }
}
