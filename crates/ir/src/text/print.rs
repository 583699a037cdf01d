//! Writes graphs and models as text.
//!
//! A value is called by the number that its definition has in canonical order, never by its name. Constants stand
//! where they are read. Printing never fails: what a broken graph leaves undefined is written `undef`.

use super::{PrintOptions, canonical_order, literal};
use crate::{Attr, Function, Graph, Model, Node, NodeId, OpName, Tensor, Type, Value, ValueId};
use std::collections::BTreeMap;
use std::fmt::Write;

const FAILS: &str = "writing to a string cannot fail";

/// Hash of what a node does, whatever it reads: operator, overload, attributes, regions, number of outputs.
pub(crate) fn signature(graph: &Graph, id: NodeId) -> u64 {
    let node = graph.node(id);
    let mut text = String::new();
    let writer = Writer::new(PrintOptions { inline_limit: 0, ..PrintOptions::default() });
    writer.head(&mut text, node);
    for region in &node.regions {
        literal::name(&mut text, &region.name);
        writer.graph(&mut text, &region.graph, None, 0);
    }
    for output in &node.outputs {
        text.push(if output.is_some() { '%' } else { '_' });
    }
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// What each value is called. Constants that are not inputs have no label: they are written out where they are read.
#[derive(Default)]
pub(crate) struct Labels(pub(crate) BTreeMap<ValueId, String>);

impl Labels {
    /// `%0`, `%1`, … in the order of the definitions.
    pub(crate) fn numbered(graph: &Graph, order: &[NodeId]) -> Self {
        let mut labels = Self::default();
        for value in definitions(graph, order) {
            let number = labels.0.len();
            labels.0.entry(value).or_insert_with(|| format!("%{number}"));
        }
        labels
    }

    pub(crate) fn get(&self, value: ValueId) -> Option<&str> {
        self.0.get(&value).map(String::as_str)
    }
}

/// Inputs, captures, outputs of nodes: what is numbered, in that order.
pub(crate) fn definitions<'a>(graph: &'a Graph, order: &'a [NodeId]) -> impl Iterator<Item = ValueId> + 'a {
    let outputs = order.iter().flat_map(|id| graph.node(*id).outputs.iter().flatten());
    graph.inputs.iter().chain(&graph.captured).chain(outputs).copied()
}

/// A graph being written, and the labels of its values.
pub(crate) struct Scope<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) labels: Labels,
}

/// Writes the parts of the text form.
pub(crate) struct Writer {
    options: PrintOptions,
    /// Whether large constants are written without their hash and results without their types.
    anonymous: bool,
}

fn separated<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    for (index, item) in items.into_iter().enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        write(out, item);
    }
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn comment(out: &mut String, name: &str) {
    out.extend(
        name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }),
    );
}

impl Writer {
    pub(crate) fn new(options: PrintOptions) -> Self {
        Self { options, anonymous: false }
    }

    /// Writes large constants without their content and results without their types.
    pub(crate) fn without_content(&self) -> Self {
        Self { anonymous: true, ..*self }
    }

    /// The model: a header, the main graph, the functions.
    pub(super) fn model(&self, model: &Model) -> String {
        let mut out = format!("model ir_version={} version={}", model.ir_version, model.model_version);
        self.opsets(&mut out, &model.opsets);
        let about = [("producer", &model.producer_name), ("producer_version", &model.producer_version)];
        for (key, value) in about.into_iter().chain([("domain", &model.domain)]) {
            if self.options.metadata && !value.is_empty() {
                write!(out, " {key}=").expect(FAILS);
                literal::quote(&mut out, value.as_bytes());
            }
        }
        self.metadata(&mut out, &model.metadata);
        out.push_str("\n\n");
        self.graph(&mut out, &model.graph, None, 0);
        out.push('\n');
        for function in &model.functions {
            out.push('\n');
            self.function(&mut out, function);
        }
        out
    }

    fn opsets(&self, out: &mut String, opsets: &[crate::OpsetImport]) {
        for opset in opsets {
            out.push_str(" opset(");
            literal::quote(out, opset.domain.as_bytes());
            write!(out, ")={}", opset.version).expect(FAILS);
        }
    }

    fn function(&self, out: &mut String, function: &Function) {
        out.push_str("function ");
        op(out, &OpName::new(&function.domain, &function.name), &function.overload);
        self.opsets(out, &function.opsets);
        out.push_str(" requires[");
        separated(out, &function.required, |out, name| literal::name(out, name));
        out.push_str("] defaults");
        self.attrs(out, &function.defaults);
        self.metadata(out, &function.metadata);
        out.push(' ');
        self.graph(out, &function.graph, None, 0);
        out.push('\n');
    }

    fn metadata(&self, out: &mut String, entries: &[(String, String)]) {
        if self.options.metadata && !entries.is_empty() {
            metadata(out, entries);
        }
    }

    /// A graph. `sources` are the enclosing values behind a region's captures.
    pub(super) fn graph(
        &self,
        out: &mut String,
        graph: &Graph,
        sources: Option<(&Scope<'_>, &[ValueId])>,
        depth: usize,
    ) {
        let order = canonical_order(graph);
        let scope = Scope { graph, labels: Labels::numbered(graph, &order) };
        self.interface(out, &scope, sources);
        self.metadata(out, &graph.metadata);
        out.push_str(" {");
        self.interface_names(out, graph);
        out.push('\n');
        for id in order {
            indent(out, depth + 1);
            self.node(out, &scope, id, depth + 1);
            out.push('\n');
        }
        indent(out, depth);
        out.push('}');
    }

    /// `graph (inputs) captures (values) -> (outputs)`.
    pub(crate) fn interface(
        &self,
        out: &mut String,
        scope: &Scope<'_>,
        sources: Option<(&Scope<'_>, &[ValueId])>,
    ) {
        let graph = scope.graph;
        out.push_str("graph (");
        separated(out, &graph.inputs, |out, value| {
            self.definition(out, scope, *value);
            if let Some(default) = value_of(graph, *value).and_then(|v| v.constant.as_ref()) {
                out.push_str(" = ");
                self.constant(out, default);
            }
        });
        if !graph.captured.is_empty() {
            out.push_str(") captures (");
            separated(out, graph.captured.iter().enumerate(), |out, (index, value)| {
                self.definition(out, scope, *value);
                if let Some((outer, values)) = sources {
                    out.push_str(" = ");
                    self.read(out, outer, values.get(index).copied());
                }
            });
        }
        out.push_str(") -> (");
        separated(out, &graph.outputs, |out, value| self.read(out, scope, Some(*value)));
        out.push(')');
    }

    fn interface_names(&self, out: &mut String, graph: &Graph) {
        if self.options.names {
            let name = |out: &mut String, value: &ValueId| comment(out, name_of(graph, *value));
            out.push_str("  // ");
            comment(out, &graph.name);
            out.push('(');
            separated(out, &graph.inputs, name);
            out.push_str(") -> (");
            separated(out, &graph.outputs, name);
            out.push(')');
        }
    }

    fn definition(&self, out: &mut String, scope: &Scope<'_>, value: ValueId) {
        out.push_str(scope.labels.get(value).unwrap_or("undef"));
        out.push_str(": ");
        ty(out, &type_of(scope.graph, value));
    }

    /// A read of a value: its label, a constant, `_` when absent.
    pub(crate) fn read(&self, out: &mut String, scope: &Scope<'_>, value: Option<ValueId>) {
        let Some(value) = value else { return out.push('_') };
        match (scope.labels.get(value), value_of(scope.graph, value).and_then(|v| v.constant.as_ref())) {
            (Some(label), _) => out.push_str(label),
            (None, Some(tensor)) => self.constant(out, tensor),
            (None, None) => out.push_str("undef"),
        }
    }

    /// A node: one line, more if it has regions; neither indented nor ended.
    pub(crate) fn node(&self, out: &mut String, scope: &Scope<'_>, id: NodeId, depth: usize) {
        let node = scope.graph.node(id);
        if node.outputs.is_empty() {
            out.push_str("()");
        }
        separated(out, &node.outputs, |out, value| self.read(out, scope, *value));
        out.push_str(" = ");
        self.head(out, node);
        out.push('(');
        separated(out, &node.inputs, |out, value| self.read(out, scope, *value));
        out.push(')');
        if !node.regions.is_empty() {
            out.push_str(" {\n");
            for region in &node.regions {
                indent(out, depth + 1);
                literal::name(out, &region.name);
                out.push_str(" = ");
                self.graph(out, &region.graph, Some((scope, &region.captures)), depth + 1);
                out.push('\n');
            }
            indent(out, depth);
            out.push('}');
        }
        let types: Vec<Type> = node.outputs.iter().flatten().map(|v| type_of(scope.graph, *v)).collect();
        if !self.anonymous && types.iter().any(|t| *t != Type::Unknown) {
            out.push_str(" : ");
            separated(out, &types, ty);
        }
        self.metadata(out, &node.metadata);
        self.node_names(out, scope.graph, node);
    }

    fn node_names(&self, out: &mut String, graph: &Graph, node: &Node) {
        let outputs: Vec<&str> = node.outputs.iter().flatten().map(|v| name_of(graph, *v)).collect();
        if self.options.names && !(node.name.is_empty() && outputs.iter().all(|n| n.is_empty())) {
            out.push_str("  // ");
            comment(out, &node.name);
            out.push_str(" -> ");
            separated(out, outputs, comment);
        }
    }

    /// Operator and attributes.
    fn head(&self, out: &mut String, node: &Node) {
        op(out, &node.op, &node.overload);
        if !node.attrs.is_empty() {
            self.attrs(out, &node.attrs);
        }
    }

    fn attrs(&self, out: &mut String, attrs: &crate::Attrs) {
        out.push('[');
        separated(out, attrs.iter(), |out, (name, attr)| {
            literal::name(out, name);
            out.push('=');
            self.attr(out, attr);
        });
        out.push(']');
    }

    fn attr(&self, out: &mut String, attr: &Attr) {
        match attr {
            Attr::Int(value) => write!(out, "{value}").expect(FAILS),
            Attr::Float(value) => out.push_str(&literal::float_attr(*value)),
            Attr::String(bytes) => literal::quote(out, bytes),
            Attr::Tensor(tensor) => self.constant(out, tensor),
            Attr::Ints(items) => list(out, "", items, |out, v| write!(out, "{v}").expect(FAILS)),
            Attr::Floats(items) => list(out, "floats", items, |out, v| *out += &literal::float_attr(*v)),
            Attr::Strings(items) => list(out, "strings", items, |out, v| literal::quote(out, v)),
            Attr::Tensors(items) => list(out, "tensors", items, |out, v| self.constant(out, v)),
            Attr::Type(value) => {
                out.push_str("type(");
                ty(out, value);
                out.push(')');
            }
            Attr::Reference(name, kind) => {
                out.push('&');
                literal::name(out, name);
                write!(out, ":{kind}").expect(FAILS);
            }
            Attr::Foreign(bytes) => {
                out.push_str("foreign(");
                literal::hex(out, bytes);
                out.push(')');
            }
        }
    }

    /// A constant: type, then its elements or, beyond the limit, its content hash.
    fn constant(&self, out: &mut String, tensor: &Tensor) {
        write!(out, "{}{{", tensor.ty()).expect(FAILS);
        if tensor.len() > self.options.inline_limit && self.anonymous {
            out.push('#');
        } else if tensor.len() > self.options.inline_limit {
            write!(out, "#{:016x}", super::short_hash(tensor)).expect(FAILS);
        } else if literal::is_clean(tensor) {
            separated(out, 0..tensor.len(), |out, index| out.push_str(&literal::element(tensor, index)));
        } else {
            out.push_str("raw ");
            literal::hex(out, tensor.data());
        }
        out.push('}');
    }
}

/// ` !["key"="value", …]`.
pub(super) fn metadata(out: &mut String, entries: &[(String, String)]) {
    out.push_str(" ![");
    separated(out, entries, |out, (key, value)| {
        literal::quote(out, key.as_bytes());
        out.push('=');
        literal::quote(out, value.as_bytes());
    });
    out.push(']');
}

/// A list; an empty one, whose items cannot say what it is of, is marked with `kind`.
fn list<T>(out: &mut String, kind: &str, items: &[T], write: impl Fn(&mut String, &T)) {
    out.push_str(if items.is_empty() { kind } else { "" });
    out.push('[');
    separated(out, items, |out, item| write(out, item));
    out.push(']');
}

fn value_of(graph: &Graph, value: ValueId) -> Option<&Value> {
    ((value.0 as usize) < graph.value_count()).then(|| graph.value(value))
}

fn name_of(graph: &Graph, value: ValueId) -> &str {
    value_of(graph, value).map_or("", |v| &v.name)
}

pub(super) fn type_of(graph: &Graph, value: ValueId) -> Type {
    value_of(graph, value).map_or(Type::Unknown, |v| v.ty.clone())
}

/// `domain.Name@overload`; a part that is not an identifier is quoted.
pub(crate) fn op(out: &mut String, op: &OpName, overload: &str) {
    if !op.domain.is_empty() {
        if op.domain.split('.').all(literal::is_plain) {
            out.push_str(&op.domain);
        } else {
            literal::quote(out, op.domain.as_bytes());
        }
        out.push('.');
    }
    literal::name(out, &op.name);
    if !overload.is_empty() {
        out.push('@');
        literal::name(out, overload);
    }
}

/// A type; differs from `Display` in that it keeps the bytes of foreign types.
pub(super) fn ty(out: &mut String, value: &Type) {
    match value {
        Type::Sequence(inner) => {
            out.push_str("seq(");
            ty(out, inner);
            out.push(')');
        }
        Type::Optional(inner) => {
            out.push_str("optional(");
            ty(out, inner);
            out.push(')');
        }
        Type::Foreign(bytes) => {
            out.push_str("foreign(");
            literal::hex(out, bytes);
            out.push(')');
        }
        other => write!(out, "{other}").expect(FAILS),
    }
}
