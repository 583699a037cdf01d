//! Takes out what cannot be evaluated, so that everything around it can still be compared.
//!
//! A node of an unknown operator goes through `optimize` untouched. Without it, what it computes becomes an input and
//! what it reads becomes an output; two models that are cut at the same nodes are compared on those. A node whose
//! bodies hold such an operator is taken out whole. Refuses to guess: an output whose type nobody declared leaves the
//! models uncut.

use crate::Model;
use fusebox_ir::{Attrs, Graph, Node, NodeId, OpName, Type, ValueId};
use std::collections::BTreeMap;

/// Two models without the nodes that nobody here can evaluate.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The first model.
    pub original: Model,
    /// The second one.
    pub optimized: Model,
    /// The nodes left out, each as `"name" (domain.Operator)`.
    pub left_out: Vec<String>,
}

/// Cuts both models at the nodes of unknown operators. `None` where there is no such node, where the models hold
/// different ones, or where the type of what they compute is not declared.
pub fn around_unknown(original: &Model, optimized: &Model) -> Option<Parts> {
    let (here, there) = (opaque(original)?, opaque(optimized)?);
    if here.is_empty() || !here.keys().eq(there.keys()) {
        return None;
    }
    if original.graph.node_count() == here.len() {
        // Nothing surrounds them.
        return None;
    }
    let (original, promised) = cut(original, &here, None)?;
    let (optimized, _) = cut(optimized, &there, Some(&promised))?;
    let left_out = here.keys().map(|(op, name)| format!("{name:?} ({op})")).collect();
    Some(Parts { original, optimized, left_out })
}

/// Opaque nodes by operator and label; `None` when two share both.
type Opaque = BTreeMap<(String, String), NodeId>;

fn opaque(model: &Model) -> Option<Opaque> {
    let mut found = Opaque::new();
    for (id, node) in model.graph.nodes().filter(|(_, node)| is_opaque(model, node)) {
        if found.insert((node.op.to_string(), label(&model.graph, node)), id).is_some() {
            return None;
        }
    }
    Some(found)
}

/// The name of a node, or of what it computes where it has none.
fn label(graph: &Graph, node: &Node) -> String {
    let computed = || node.output(0).map(|v| graph.value(v).name.clone()).unwrap_or_default();
    if node.name.is_empty() { computed() } else { node.name.clone() }
}

fn is_opaque(model: &Model, node: &Node) -> bool {
    let is_function = |f: &fusebox_ir::Function| OpName::new(&f.domain, &f.name) == node.op;
    let is_known = fusebox_ops::op(&node.op).is_some() || model.functions.iter().any(is_function);
    let holds_unknown = |graph: &Graph| graph.nodes().any(|(_, inner)| is_opaque(model, inner));
    !is_known || node.regions.iter().any(|region| holds_unknown(&region.graph))
}

/// Names and types of the inputs that stand for what the nodes compute.
type Promised = BTreeMap<String, Type>;

/// Takes the nodes out. The second model gets the inputs that the first one `promised`, whether it reads them or not.
fn cut(model: &Model, nodes: &Opaque, promised: Option<&Promised>) -> Option<(Model, Promised)> {
    let mut cut = model.clone();
    fusebox_ops::infer_graph(&mut cut.graph, &model.functions).ok()?;
    let graph = &mut cut.graph;
    let is_read: Vec<bool> = graph.readers().iter().map(|readers| !readers.is_empty()).collect();
    let mut inputs = Promised::new();
    for ((op, name), id) in nodes {
        let node = graph.remove_node(*id)?;
        for (index, value) in node.outputs.iter().enumerate() {
            let Some(value) = value.filter(|v| is_read[v.0 as usize] || graph.outputs.contains(v)) else {
                continue;
            };
            let label = format!("{name} ({op}), output {index}");
            let ty = graph.value(value).ty.clone();
            ty.tensor().filter(|ty| ty.rank().is_some())?;
            graph.value_mut(value).name = label.clone();
            graph.inputs.push(value);
            inputs.insert(label, ty);
        }
        for (index, value) in node.reads().enumerate() {
            expose(graph, value, format!("{name} ({op}), input {index}"));
        }
    }
    for (label, ty) in promised.into_iter().flatten() {
        if !inputs.contains_key(label) {
            graph.add_input(label.clone(), ty.clone());
        }
    }
    let is_promised = |label: &String| promised.is_none_or(|promised| promised.contains_key(label));
    inputs.keys().all(is_promised).then_some((cut, inputs))
}

/// Makes a value an output under a name of its own.
fn expose(graph: &mut Graph, value: ValueId, name: String) {
    let ty = graph.value(value).ty.clone();
    let output = graph.add_typed(ty);
    graph.value_mut(output).name = name;
    graph.add_node(Node::new(OpName::onnx("Identity"), [Some(value)], [Some(output)], Attrs::default()));
    graph.outputs.push(output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::{VerifyOptions, verify_optimized};
    use fusebox_ir::{Builder, DType, Tensor, TensorType};

    /// `(x * by) -> Strange -> Relu`, the type of what `Strange` makes being declared or not.
    fn model(by: f32, is_declared: bool) -> Model {
        let mut b = Builder::new();
        let ty = TensorType::new(DType::F32, [fusebox_ir::Dim::symbol("n"), fusebox_ir::Dim::known(4)]);
        let x = b.input("x", ty.clone());
        let w = b.constant(Tensor::vector(vec![by; 4]));
        let product = b.op("Mul", &[x, w]);
        let y = b.op("Relu", &[product]);
        let mut graph = b.finish(&[y]);
        let strange = graph.add_typed(if is_declared { ty.into() } else { Type::default() });
        graph.replace_uses(product, strange);
        let op = OpName::new("my.domain", "Strange");
        let mut node = Node::new(op, [Some(product)], [Some(strange)], Attrs::default());
        node.name = "s".into();
        graph.add_node(node);
        fusebox_ir::Model { graph, ..Default::default() }.into()
    }

    #[test]
    fn what_surrounds_an_unknown_operator_is_compared() {
        let options = VerifyOptions::default();
        let same = verify_optimized(&model(2.0, true), &model(2.0, true), &options).unwrap();
        assert!(same.compared() && same.passed());
        assert_eq!(same.left_out, ["\"s\" (my.domain.Strange)"]);
        let other = verify_optimized(&model(2.0, true), &model(3.0, true), &options).unwrap();
        let failed: Vec<&str> = other
            .failed()
            .unwrap()
            .outputs
            .iter()
            .filter(|o| o.failure.is_some())
            .map(|o| o.name.as_str())
            .collect();
        assert_eq!(failed, ["s (my.domain.Strange), input 0"]);
    }

    #[test]
    fn undeclared_types_leave_the_model_uncut_and_unverified() {
        let found =
            verify_optimized(&model(2.0, false), &model(2.0, false), &VerifyOptions::default()).unwrap();
        assert!(!found.compared() && found.left_out.is_empty());
        assert!(found.note.unwrap().contains("my.domain.Strange"));
    }

    #[test]
    fn a_lost_node_is_not_cut_around() {
        let mut lost = model(2.0, true);
        let id = lost.graph.nodes().find(|(_, node)| node.name == "s").unwrap().0;
        let node = lost.graph.remove_node(id).unwrap();
        lost.graph.replace_uses(node.output(0).unwrap(), node.input(0).unwrap());
        assert!(around_unknown(&model(2.0, true), &lost).is_none());
    }
}
