//! A model: the main graph, functions, opset imports, and all that a file says besides.

use crate::{Attr, Attrs, Graph};

/// A part of a file that we carry without reading, as wire bytes under the name of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Field name.
    pub field: String,
    /// Wire bytes of the field's message.
    pub bytes: Vec<u8>,
}

/// Version of an operator set that a model or function relies on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpsetImport {
    /// Domain, `""` for ai.onnx.
    pub domain: String,
    /// Version.
    pub version: i64,
}

/// A model-local function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// Domain.
    pub domain: String,
    /// Operator type that it defines.
    pub name: String,
    /// Overload.
    pub overload: String,
    /// The body; its inputs and outputs are the function's.
    pub graph: Graph,
    /// Attributes that a call must give.
    pub required: Vec<String>,
    /// Attributes that a call may give, with defaults.
    pub defaults: Attrs,
    /// Operator sets of the body.
    pub opsets: Vec<OpsetImport>,
    /// Doc string.
    pub doc: String,
    /// Key-value metadata.
    pub metadata: Vec<(String, String)>,
    /// Parts of the file that we carry without reading.
    pub carried: Vec<Carried>,
}

/// A whole model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The main graph.
    pub graph: Graph,
    /// Model-local functions in file order.
    pub functions: Vec<Function>,
    /// Operator sets, in file order.
    pub opsets: Vec<OpsetImport>,
    /// ONNX IR version of the file.
    pub ir_version: i64,
    /// Producer name.
    pub producer_name: String,
    /// Producer version.
    pub producer_version: String,
    /// Domain of the model.
    pub domain: String,
    /// Version of the model.
    pub model_version: i64,
    /// Doc string.
    pub doc: String,
    /// Key-value metadata in file order.
    pub metadata: Vec<(String, String)>,
    /// Parts of the file that we carry without reading.
    pub carried: Vec<Carried>,
}

impl Model {
    /// Version imported for a domain (`""` and `ai.onnx` are one).
    pub fn opset(&self, domain: &str) -> Option<i64> {
        let plain = |d: &str| if d == "ai.onnx" { String::new() } else { d.to_owned() };
        self.opsets.iter().find(|o| plain(&o.domain) == plain(domain)).map(|o| o.version)
    }
}

impl Function {
    /// The body with references to the caller's attributes replaced by their values, given or default. A reference
    /// to an attribute that is neither given nor defaulted disappears, as ONNX defines it.
    pub fn instantiate(&self, call: &Attrs) -> Graph {
        let mut graph = self.graph.clone();
        substitute(&mut graph, &|name| call.get(name).or_else(|| self.defaults.get(name)).cloned());
        graph
    }
}

fn substitute(graph: &mut Graph, value: &dyn Fn(&str) -> Option<Attr>) {
    for id in graph.node_ids() {
        let node = graph.node_mut(id);
        let resolve = |(name, attr): (&str, &Attr)| match attr {
            Attr::Reference(caller, _) => value(caller).map(|attr| (name.into(), attr)),
            other => Some((name.into(), other.clone())),
        };
        node.attrs = node.attrs.iter().filter_map(resolve).collect();
        for region in &mut node.regions {
            substitute(&mut region.graph, value);
        }
    }
}
