//! The `Scan` of opset 8 in today's form: its values have a batch axis before the others, its directions another name.
//!
//! A batch is a scan of its own: an outer Scan over axis 0 of everything, whose body scans one example. The lengths of
//! single sequences, which that form also had, cannot be said today. Spec: <https://onnx.ai/onnx/operators/onnx__Scan.html#scan-8>.

use crate::VersionError;
use crate::op::Edit;
use crate::versions::refuse;
use fusebox_ir::{Attrs, Graph, Node, OpName, Region, TensorType, Type, ValueId};

/// What the node in today's form always has and the old one never.
const MARK: &str = "scan_input_axes";

/// Brings a node of opset 8 to today's form.
///
/// # Errors
/// Sequence lengths, or a node that is none of opset 8 either.
pub(super) fn upgrade(edit: &mut Edit<'_>) -> Result<(), VersionError> {
    if edit.node().attrs.get(MARK).is_some() {
        // The inner one of an upgraded pair: bodies are upgraded after the nodes that hold them.
        return Ok(());
    }
    if edit.node().input(0).is_some() {
        return Err(refuse(edit, "sequences of several lengths cannot be scanned since opset 9"));
    }
    let node = edit.node().clone();
    let values: Option<Vec<ValueId>> = node.inputs.iter().skip(1).copied().collect();
    let scanned = node.attrs.int("num_scan_inputs").and_then(|n| usize::try_from(n).ok());
    let is_whole = |(values, scanned): &(Vec<ValueId>, usize)| *scanned > 0 && *scanned <= values.len();
    let (Some((values, scanned)), [body]) = (values.zip(scanned).filter(is_whole), node.regions.as_slice())
    else {
        return Err(refuse(edit, "it needs a body and as many inputs as num_scan_inputs says"));
    };
    let region = Region {
        name: body.name.clone(),
        graph: one_example(edit.graph, &node, &values, scanned),
        captures: body.captures.clone(),
    };
    let node = edit.node();
    node.inputs = values.iter().copied().map(Some).collect();
    node.attrs = scan_attrs(values.len(), None);
    node.regions = vec![region];
    Ok(())
}

fn scan_attrs(scanned: usize, directions: Option<&[i64]>) -> Attrs {
    let attrs = Attrs::new().with("num_scan_inputs", scanned as i64).with(MARK, vec![0i64; scanned]);
    directions.map_or(attrs.clone(), |list| attrs.with("scan_input_directions", list.to_vec()))
}

/// The body of the outer scan: the old node's own scan over one example of the batch.
fn one_example(outer: &Graph, node: &Node, values: &[ValueId], scanned: usize) -> Graph {
    let mut graph = Graph::new();
    let old = &node.regions[0];
    let inputs: Vec<ValueId> =
        values.iter().map(|value| graph.add_input("", without_batch(&outer.value(*value).ty))).collect();
    let captured: Vec<ValueId> =
        old.captures.iter().map(|value| graph.add_typed(outer.value(*value).ty.clone())).collect();
    graph.captured.clone_from(&captured);
    let outputs: Vec<ValueId> = old.graph.outputs.iter().map(|_| graph.add_typed(Type::Unknown)).collect();
    let attrs = scan_attrs(scanned, node.attrs.ints("directions"));
    let mut inner = Node::new(
        OpName::onnx("Scan"),
        inputs.into_iter().map(Some),
        outputs.iter().copied().map(Some),
        attrs,
    );
    inner.regions = vec![Region { captures: captured, ..old.clone() }];
    graph.add_node(inner);
    graph.outputs = outputs;
    graph
}

fn without_batch(ty: &Type) -> Type {
    let Some(TensorType { dtype, shape }) = ty.tensor() else { return Type::Unknown };
    let shape = shape.as_ref().map(|shape| shape.iter().skip(1).cloned().collect());
    TensorType { dtype: *dtype, shape }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;
    use crate::control::scan::Scan;
    use crate::control::testing::Outer;
    use fusebox_ir::{Builder, DType, Tensor};

    /// Adds each slice to the state, collects the sums.
    fn old_scan(attrs: Attrs) -> Graph {
        let mut b = Builder::new();
        let sum = b.input("sum", TensorType::known(DType::F32, &[1]));
        let x = b.input("x", TensorType::known(DType::F32, &[1]));
        let next = b.op("Add", &[sum, x]);
        let seen = b.op("Identity", &[next]);
        let mut outer = Outer::new("Scan", attrs.with("num_scan_inputs", 1));
        let start = outer.constant(Tensor::from_vec(vec![2, 1], vec![0f32, 100.0]).unwrap());
        let x = Tensor::from_vec(vec![2, 3, 1], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let x = outer.constant(x);
        outer.region("body", b.finish(&[next, seen]), vec![]);
        outer.finish(&[start, x], 2)
    }

    fn upgraded(attrs: Attrs) -> Graph {
        let mut graph = old_scan(attrs);
        let node = graph.node_ids()[0];
        // The lengths come first in the old form and are absent here.
        graph.node_mut(node).inputs.insert(0, None);
        Scan.upgrade(&mut Edit { graph: &mut graph, node, opset: 8 }).unwrap();
        graph
    }

    #[test]
    fn every_example_of_the_batch_is_scanned() {
        let run = |graph: &Graph| {
            let found = crate::Interpreter::new(&[]).run(graph, &[], &[]).unwrap();
            found.iter().map(|d| d.tensor().unwrap().floats().unwrap()).collect::<Vec<_>>()
        };
        let graph = upgraded(Attrs::new());
        assert_eq!(run(&graph), [vec![6.0, 115.0], vec![1.0, 3.0, 6.0, 104.0, 109.0, 115.0]]);
        let graph = upgraded(Attrs::new().with("directions", vec![1i64]));
        assert_eq!(run(&graph)[1], [3.0, 5.0, 6.0, 106.0, 111.0, 115.0]);
    }

    #[test]
    fn the_inner_scan_is_not_upgraded_again() {
        let mut graph = upgraded(Attrs::new());
        let before = graph.clone();
        let node = graph.node_ids()[0];
        Scan.upgrade(&mut Edit { graph: &mut graph, node, opset: 8 }).unwrap();
        assert_eq!(graph, before);
    }

    #[test]
    fn lengths_of_sequences_are_refused() {
        let mut graph = old_scan(Attrs::new());
        let node = graph.node_ids()[0];
        let lengths = graph.node(node).input(0);
        graph.node_mut(node).inputs.insert(0, lengths);
        let error = Scan.upgrade(&mut Edit { graph: &mut graph, node, opset: 8 }).unwrap_err();
        assert!(error.to_string().contains("several lengths"), "{error}");
    }
}
