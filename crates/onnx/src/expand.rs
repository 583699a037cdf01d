//! Replaces operators of other vendors by their definitions in standard operators, so that rules and kernels see what
//! they mean.
//!
//! A definition needs types (ranks, head counts): the graph is typed first, and where they are not known the node
//! stays as it is. Refuses to know operators: the table says which have a definition.

use crate::inline::{ExpandError, MAX_NODES, NamesInUse, inline};
use fusebox_ir::{Function, Graph, NodeId, Type, ValueId};
use fusebox_ops::op;
use fusebox_ops::op::{Body, Target};

/// Domain whose operators, and those of the domains below it, are replaced.
const MICROSOFT: &str = "com.microsoft";

/// Replaces every com.microsoft operator that has a definition, in the graph and in its regions, whose values must be
/// typed. Returns the number of nodes replaced.
///
/// # Errors
/// When more than half a million nodes would be made.
pub fn expand_operators(graph: &mut Graph, functions: &[Function]) -> Result<usize, ExpandError> {
    let mut names = NamesInUse::of(graph);
    let mut replaced = 0;
    for id in graph.node_ids() {
        if graph.total_node_count() > MAX_NODES {
            return Err(ExpandError::TooManyNodes { limit: MAX_NODES });
        }
        let mut regions = std::mem::take(&mut graph.node_mut(id).regions);
        for region in &mut regions {
            for (inner, outer) in region.graph.captured.clone().into_iter().zip(&region.captures) {
                let ty = graph.value(*outer).ty.clone();
                region.graph.value_mut(inner).ty = ty;
            }
            // A contradiction is reported where the whole graph is typed.
            drop(fusebox_ops::infer_graph(&mut region.graph, functions));
            replaced += expand_operators(&mut region.graph, functions)?;
        }
        graph.node_mut(id).regions = regions;
        let Some(body) = definition(graph, id) else { continue };
        let present: Vec<Option<ValueId>> =
            graph.node(id).inputs.iter().copied().filter(Option::is_some).collect();
        if present.len() != body.inputs.len() || graph.node(id).outputs.len() > body.outputs.len() {
            continue;
        }
        inline(graph, id, &body, &present, &|_| None, &mut names)?;
        replaced += 1;
    }
    Ok(replaced)
}

fn is_microsoft(domain: &str) -> bool {
    domain.strip_prefix(MICROSOFT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn definition(graph: &Graph, id: NodeId) -> Option<Graph> {
    let node = graph.node(id);
    let known = op(&node.op).filter(|_| is_microsoft(&node.op.domain))?;
    let types: Vec<Option<&Type>> =
        node.inputs.iter().map(|input| input.map(|value| &graph.value(value).ty)).collect();
    let target = Target::Onnx { opset: i64::MAX };
    known.body(&Body { attrs: &node.attrs, inputs: &types, outputs: node.outputs.len(), target })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Attrs, Builder, DType, Dim, OpName, TensorType};

    #[test]
    fn known_operators_are_written_out_and_others_stay() {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("b"), Dim::known(4)]));
        let y = b.node(OpName::new(MICROSOFT, "QuickGelu"), &[Some(x)], 1, Attrs::new())[0];
        let z = b.node(OpName::new(MICROSOFT, "NobodyKnows"), &[Some(y)], 1, Attrs::new())[0];
        let mut graph = b.finish(&[z]);
        assert_eq!(expand_operators(&mut graph, &[]).unwrap(), 1);
        graph.verify().unwrap();
        let names: Vec<String> = graph.nodes().map(|(_, node)| node.op.to_string()).collect();
        assert!(names.contains(&"Sigmoid".to_string()) && names.iter().any(|n| n.contains("NobodyKnows")));
    }
}
