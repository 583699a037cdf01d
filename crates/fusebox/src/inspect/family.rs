//! What kind of network a graph is, from the operators that it cannot do without.

use fusebox_ir::{Graph, Node, NodeId, graph::FUSEBOX};
use serde::Serialize;
use std::fmt;

/// What a graph is built of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Family {
    /// The word for it: `attention`, `CNN`, `MLP`, `recurrent`, with `embeddings` or `hybrid` where they apply.
    pub name: String,
    /// Attention blocks: fused operators, or a Softmax between two products.
    pub attention: usize,
    /// Convolutions.
    pub convolutions: usize,
    /// Products with constant weights.
    pub linear: usize,
    /// Recurrent operators.
    pub recurrent: usize,
    /// Tables that are looked up.
    pub embeddings: usize,
}

impl Family {
    /// Looks at a graph.
    pub fn of(graph: &Graph) -> Self {
        let mut family = Self::default();
        let readers = graph.readers();
        for (id, node) in graph.nodes() {
            let is_any = |names: &[&str]| names.contains(&&*node.op.name);
            let has_weights = |slot: usize| node.input(slot).is_some_and(|v| graph.constant(v).is_some());
            let is_fused = &*node.op.domain == FUSEBOX || &*node.op.domain == "com.microsoft";
            if is_any(&["Attention", "MultiHeadAttention", "GroupQueryAttention"]) {
                family.attention += 1;
            } else if node.op.is("Softmax") {
                family.attention += usize::from(between_products(graph, &readers, id));
            } else if is_any(&["Conv", "ConvTranspose", "ConvInteger", "QLinearConv"]) {
                family.convolutions += 1;
            } else if is_any(&["MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"]) {
                // Weights left of the product occur too, and quantized ones behind a DequantizeLinear.
                family.linear += usize::from(has_weights(0) || has_weights(1));
            } else if is_fused && is_any(&["Linear", "NormLinear", "FusedMatMul", "MatMulNBits"]) {
                family.linear += 1;
            } else if is_any(&["LSTM", "GRU", "RNN"]) {
                family.recurrent += 1;
            } else if node.op.is("Gather") {
                family.embeddings += usize::from(is_table(graph, node));
            }
        }
        family.name = family.word();
        family
    }

    fn word(&self) -> String {
        let mut parts = Vec::new();
        if self.attention > 0 {
            parts.push("attention");
        }
        // Attention networks cut images into patches, and sound into frames, by a few convolutions.
        if self.convolutions > 2 * self.attention {
            parts.push("CNN");
        }
        if self.recurrent > 0 {
            parts.push("recurrent");
        }
        if parts.is_empty() && self.linear > 0 {
            parts.push("MLP");
        }
        if parts.is_empty() { "other".into() } else { parts.join(" + ") }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.attention, "attention block"),
            (self.convolutions, "convolution"),
            (self.linear, "linear layer"),
            (self.recurrent, "recurrent layer"),
            (self.embeddings, "embedding"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }))
            .collect();
        write!(f, "{}", self.name)?;
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join(", ")) }
    }
}

/// Whether a Softmax has a product somewhere before and directly or closely behind it: attention, not a classifier.
fn between_products(graph: &Graph, readers: &[smallvec::SmallVec<[NodeId; 2]>], softmax: NodeId) -> bool {
    let is_product = |id: NodeId| {
        let node = graph.node(id);
        let both_computed = node.inputs.iter().flatten().all(|v| graph.constant(*v).is_none());
        (node.op.is("MatMul") || node.op.is("Einsum")) && both_computed
    };
    let before = |id: NodeId| -> Vec<NodeId> {
        let inputs = graph.node(id).inputs.iter().flatten();
        inputs.filter_map(|v| graph.value(*v).producer.map(|(n, _)| n)).collect()
    };
    let after = |id: NodeId| -> Vec<NodeId> {
        let outputs = graph.node(id).outputs.iter().flatten();
        outputs.flat_map(|v| readers[v.0 as usize].iter().copied()).collect()
    };
    // Scales, masks and safe-softmax guards stand between; six steps see over all of them.
    let reaches = |next: &dyn Fn(NodeId) -> Vec<NodeId>| {
        let mut front = vec![softmax];
        for _ in 0..6 {
            front = front.into_iter().flat_map(next).collect();
            front.sort_unstable();
            front.dedup();
            if front.iter().any(|id| is_product(*id)) {
                return true;
            }
        }
        false
    };
    reaches(&before) && reaches(&after)
}

/// Whether a Gather looks up rows of a constant matrix by computed indices.
fn is_table(graph: &Graph, node: &Node) -> bool {
    let table = node.input(0).and_then(|v| graph.constant(v));
    let by_index = node.input(1).is_some_and(|v| graph.constant(v).is_none());
    by_index && table.is_some_and(|t| t.shape().len() == 2 && t.dtype().is_float())
}
