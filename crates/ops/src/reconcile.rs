//! Declarations that the graph contradicts: a batch size that was made symbolic in the inputs but not elsewhere, stale
//! value_info of an edited model. What the operators compute is right; what the file says of it gives way.
//!
//! Only sizes are reconciled. Element types that contradict each other are an error of the model, which typing reports.

use crate::typing::{Typer, refine};
use fusebox_ir::{Dim, Function, Graph, NodeId, TensorType, Type, ValueId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sizes at which a declared size and a computed one are compared. They must agree at all.
const PROBES: [i64; 4] = [1, 2, 24, 224];

/// Rounds of a graph and its bodies: what one learns of captured values, the other declares.
const ROUNDS: usize = 3;

/// Replaces declared types of node outputs by what the operators compute where the two contradict each other, for some
/// size of the inputs' symbols. Returns whether there were any; a graph that agrees with itself is left as it is.
pub fn reconcile(graph: &mut Graph, functions: &[Function]) -> bool {
    let mut found = false;
    for _ in 0..ROUNDS {
        let (here, types, refused) = reconcile_values(graph, functions);
        let inside = reconcile_bodies(graph, functions, &types, &refused);
        found |= here || inside;
        if !inside {
            break;
        }
    }
    found
}

/// The values of the graph itself; also all types, and the nodes that cannot be typed.
fn reconcile_values(graph: &mut Graph, functions: &[Function]) -> (bool, Vec<Type>, BTreeSet<NodeId>) {
    let mut refused = BTreeSet::new();
    let Ok(order) = graph.topological() else { return (false, Vec::new(), refused) };
    let given = symbols(graph);
    let mut changed = Vec::new();
    let mut typer = Typer::new(graph, functions);
    for id in order {
        let results = match typer.outputs(id) {
            Ok(Some(results)) => results,
            Ok(None) => continue,
            Err(_) => {
                refused.insert(id);
                continue;
            }
        };
        for (slot, inferred) in graph.node(id).outputs.iter().zip(results) {
            let Some(value) = *slot else { continue };
            let index = value.0 as usize;
            if let Some(ty) = instead(&typer.types[index], &inferred.ty, &given) {
                typer.types[index] = ty;
                changed.push(value);
            } else if let Ok(ty) = refine(&typer.types[index], &inferred.ty) {
                typer.types[index] = ty;
            }
            typer.keep_dims(value, inferred.dims);
        }
    }
    let types = typer.types;
    for value in &changed {
        graph.value_mut(*value).ty = types[value.0 as usize].clone();
    }
    (!changed.is_empty(), types, refused)
}

/// The bodies, with what they capture typed as outside. Those of a node that cannot be typed forget what they declare.
fn reconcile_bodies(
    graph: &mut Graph,
    functions: &[Function],
    types: &[Type],
    refused: &BTreeSet<NodeId>,
) -> bool {
    let has_bodies = |(id, node): (NodeId, &fusebox_ir::Node)| (!node.regions.is_empty()).then_some(id);
    let nodes: Vec<NodeId> = graph.nodes().filter_map(has_bodies).collect();
    let mut found = false;
    for id in nodes {
        for region in &mut graph.node_mut(id).regions {
            for (inner, outer) in region.graph.captured.clone().into_iter().zip(&region.captures) {
                region.graph.value_mut(inner).ty = types[outer.0 as usize].clone();
            }
            found |= reconcile(&mut region.graph, functions);
            found |= refused.contains(&id) && forget(&mut region.graph);
        }
    }
    found
}

/// Forgets the declared sizes of what nodes compute. Returns whether there were any.
fn forget(graph: &mut Graph) -> bool {
    let values: Vec<ValueId> =
        graph.nodes().flat_map(|(_, node)| node.outputs.iter().flatten().copied()).collect();
    let mut found = false;
    for value in values {
        if let Type::Tensor(TensorType { shape: shape @ Some(_), .. }) = &mut graph.value_mut(value).ty {
            *shape = None;
            found = true;
        }
    }
    found
}

/// Symbols of the inputs.
fn symbols(graph: &Graph) -> BTreeSet<Arc<str>> {
    let shapes = graph.inputs.iter().chain(&graph.captured).filter_map(|id| graph.value(*id).ty.tensor());
    shapes.filter_map(|ty| ty.shape.as_ref()).flatten().flat_map(Dim::symbols).collect()
}

/// The type to take instead of the declared one, where it is contradicted.
fn instead(declared: &Type, inferred: &Type, given: &BTreeSet<Arc<str>>) -> Option<Type> {
    let (Type::Tensor(declared), Type::Tensor(inferred)) = (declared, inferred) else { return None };
    let (Some(old), Some(new)) = (&declared.shape, &inferred.shape) else { return None };
    if declared.dtype != inferred.dtype {
        return None;
    }
    let agree = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| agrees(old, new, given));
    (!agree).then(|| TensorType { dtype: declared.dtype, shape: Some(new.clone()) }.into())
}

/// Whether a declared size can be what was computed, whatever the sizes of the inputs.
fn agrees(declared: &Dim, computed: &Dim, given: &BTreeSet<Arc<str>>) -> bool {
    let follows = |dim: &Dim| dim.symbols().iter().all(|symbol| given.contains(symbol));
    if declared == computed || !follows(declared) || !follows(computed) {
        return true; // a name of its own, or a size that only the data decides
    }
    let at = |dim: &Dim, probe: i64| dim.substitute(&|_| Some(Dim::known(probe))).value();
    PROBES.iter().all(|probe| at(declared, *probe) == at(computed, *probe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Builder, DType, Tensor};

    fn declared(output: [Dim; 2]) -> Graph {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n"), Dim::known(4)]));
        let w = b.constant(Tensor::from_vec(vec![4, 3], vec![0f32; 12]).unwrap());
        let y = b.op("MatMul", &[x, w]);
        let mut graph = b.finish(&[y]);
        graph.value_mut(y).ty = TensorType::new(DType::F32, output).into();
        graph
    }

    fn reconciled(output: [Dim; 2]) -> (bool, String) {
        let mut graph = declared(output);
        let found = reconcile(&mut graph, &[]);
        let ty = graph.value(graph.outputs[0]).ty.to_string();
        crate::infer_graph(&mut graph, &[]).unwrap();
        (found, ty)
    }

    #[test]
    fn what_is_computed_beats_what_is_declared_of_it() {
        assert_eq!(reconciled([Dim::symbol("n"), Dim::known(7)]), (true, "f32[n, 3]".into()));
        // A batch that was made symbolic in the inputs alone.
        assert_eq!(reconciled([Dim::known(1), Dim::known(3)]), (true, "f32[n, 3]".into()));
        let twice = Dim::symbol("n").mul(&Dim::known(2));
        assert_eq!(reconciled([twice, Dim::known(3)]), (true, "f32[n, 3]".into()));
    }

    #[test]
    fn names_of_their_own_and_what_agrees_stay() {
        assert_eq!(reconciled([Dim::symbol("n"), Dim::known(3)]), (false, "f32[n, 3]".into()));
        assert_eq!(reconciled([Dim::symbol("m"), Dim::known(3)]), (false, "f32[m, 3]".into()));
    }

    #[test]
    fn element_types_are_not_reconciled() {
        let mut graph = declared([Dim::symbol("n"), Dim::known(3)]);
        let y = graph.outputs[0];
        graph.value_mut(y).ty = TensorType::known(DType::I64, &[2, 9]).into();
        assert!(!reconcile(&mut graph, &[]));
        assert!(crate::infer_graph(&mut graph, &[]).is_err());
    }
}
