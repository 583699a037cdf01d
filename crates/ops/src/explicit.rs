//! Writes sizes that typing found into the targets of Reshape: -1 next to a copied axis means nothing where that axis is
//! empty, and runtimes refuse it there. Refuses to know where a graph came from.

use fusebox_ir::{Graph, Node, NodeId, Tensor, Value, ValueId};
use std::collections::BTreeMap;

/// Replaces -1 in constant targets of Reshape by the size that it stands for, where the target copies another axis and
/// the size is known, in the nodes that `is_ours` names. The graph must be typed. Constants that nothing reads any more
/// remain.
pub fn explicit_sizes(graph: &mut Graph, is_ours: impl Fn(&Node) -> bool) {
    let mut made: BTreeMap<Vec<i64>, ValueId> = BTreeMap::new();
    for id in graph.node_ids() {
        let Some(target) = Some(id).filter(|id| is_ours(graph.node(*id))).and_then(|id| settled(graph, id))
        else {
            continue;
        };
        let value = *made.entry(target.clone()).or_insert_with(|| {
            let tensor = Tensor::vector(target);
            graph.add_value(Value { ty: tensor.ty().into(), constant: Some(tensor), ..Value::default() })
        });
        graph.node_mut(id).inputs[1] = Some(value);
    }
}

fn settled(graph: &Graph, id: NodeId) -> Option<Vec<i64>> {
    let node = graph.node(id);
    if !node.op.is("Reshape") || node.attrs.int_or("allowzero", 0) != 0 {
        return None;
    }
    let mut target = graph.constant(node.input(1)?)?.integers()?;
    let open = target.iter().position(|size| *size == -1).filter(|_| target.contains(&0))?;
    let shape = graph.value(node.output(0)?).ty.tensor()?.shape.as_ref()?;
    let size = shape.get(open)?.value().filter(|size| *size > 0)?;
    target[open] = size;
    Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Builder, DType, Dim, TensorType};

    #[test]
    fn only_known_sizes_beside_copies_are_written_out() {
        let mut b = Builder::new();
        let ty = |width: Dim| TensorType::new(DType::F32, [Dim::symbol("b"), Dim::symbol("s"), width]);
        let (x, open) = (b.input("x", ty(Dim::known(12))), b.input("y", ty(Dim::symbol("w"))));
        let targets: [(_, &[i64]); 4] =
            [(x, &[0, 0, 3, -1]), (x, &[-1, 12]), (open, &[0, 0, 3, -1]), (x, &[0, -1])];
        let outputs = targets.map(|(input, target)| {
            let target = b.i64s(target);
            b.op("Reshape", &[input, target])
        });
        let mut graph = b.finish(&outputs);
        crate::infer_graph(&mut graph, &[]).unwrap();
        explicit_sizes(&mut graph, |_| true);
        let found = outputs.map(|value| {
            let (node, _) = graph.value(value).producer.unwrap();
            graph.constant(graph.node(node).input(1).unwrap()).unwrap().integers().unwrap()
        });
        assert_eq!(found, [vec![0, 0, 3, 4], vec![-1, 12], vec![0, 0, 3, -1], vec![0, -1]]);
    }
}
