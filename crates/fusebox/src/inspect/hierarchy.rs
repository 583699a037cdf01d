//! The module hierarchy that exporters leave in metadata and names.
//!
//! torch's dynamo exporter writes `pkg.torch.onnx.name_scopes`, `pkg.torch.onnx.class_hierarchy` and `namespace`;
//! the TorchScript exporter writes node names such as `/encoder/layer.0/attention/MatMul`. Fused nodes name the nodes
//! that they were made from. A node that has none of these belongs to no module.

use crate::work;
use fusebox_ir::{Graph, Node, diff::SOURCES};
use serde::Serialize;
use std::collections::BTreeSet;

/// Metadata keys in the order in which they are trusted.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";
const CLASSES: &str = "pkg.torch.onnx.class_hierarchy";
const NAMESPACE: &str = "namespace";
/// What torch writes when it does not know the module either.
const NOWHERE: &str = "_empty_nn_module_stack";

/// A module with everything inside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Module {
    /// Last part of its path, e.g. `layer.0`; empty for the whole model.
    pub name: String,
    /// Class, where the exporter wrote it, without its package.
    pub class: Option<String>,
    /// Nodes inside, those of submodules included.
    pub nodes: usize,
    /// Elements of the constants that its nodes read.
    pub parameters: f64,
    /// FLOPs of its nodes.
    pub flops: f64,
    /// Submodules in the order of their first node.
    pub modules: Vec<Module>,
}

/// The modules of a graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hierarchy {
    /// The whole model.
    pub root: Module,
    /// Share of the nodes that say where they belong.
    pub share: f64,
}

/// Where a node belongs: modules from the outermost, each with its full path and its class where known.
type Place = Vec<(Vec<String>, Option<String>)>;

impl Hierarchy {
    /// Reads the hierarchy of a typed graph.
    pub fn of(graph: &Graph) -> Self {
        let mut root = Module::default();
        let mut seen = BTreeSet::new();
        let mut placed = 0usize;
        for (_, node) in graph.nodes() {
            let place = place_of(node);
            placed += usize::from(place.is_some());
            let flops = work::of_node(graph, node).flops;
            // A weight that several nodes read belongs to the first of them.
            let fresh =
                node.inputs.iter().flatten().filter(|v| graph.constant(**v).is_some() && seen.insert(**v));
            let weights = fresh
                .filter_map(|v| graph.constant(*v))
                .filter(|t| t.dtype().is_float() || t.dtype().bits() <= 8);
            let parameters: f64 = weights.map(|t| t.len() as f64).sum();
            root.add(place.as_ref(), flops, parameters);
        }
        let share = placed as f64 / graph.node_count().max(1) as f64;
        Self { root, share }
    }
}

impl Module {
    fn add(&mut self, place: Option<&Place>, flops: f64, parameters: f64) {
        self.count(flops, parameters);
        let Some((path, _)) = place.and_then(|place| place.last()) else { return };
        let mut module = self;
        for (depth, part) in path.iter().enumerate() {
            let index = match module.modules.iter().position(|m| m.name == *part) {
                Some(index) => index,
                None => {
                    module.modules.push(Self { name: part.clone(), ..Self::default() });
                    module.modules.len() - 1
                }
            };
            module = &mut module.modules[index];
            module.count(flops, parameters);
            if module.class.is_none() {
                let own = place.into_iter().flatten().find(|(other, _)| *other == path[..=depth]);
                module.class = own.and_then(|(_, class)| class.clone());
            }
        }
    }

    fn count(&mut self, flops: f64, parameters: f64) {
        self.nodes += 1;
        self.flops += flops;
        self.parameters += parameters;
    }
}

fn place_of(node: &Node) -> Option<Place> {
    if let Some(scopes) = node.metadata(SCOPES).map(list) {
        let classes = node.metadata(CLASSES).map(list).unwrap_or_default();
        let classes = classes.iter().map(String::as_str).chain(std::iter::repeat(""));
        return of_scopes(scopes.iter().map(String::as_str).zip(classes));
    }
    if let Some(namespace) = node.metadata(NAMESPACE) {
        return of_scopes(namespace.split('/').map(|s| s.split_once(": ").unwrap_or((s, ""))));
    }
    let sources = node.metadata(SOURCES).into_iter().flat_map(|list| list.split(';'));
    let mut names = sources.chain([node.name.as_str()]).map(str::trim);
    let path = names.find_map(|name| name.strip_prefix('/')?.rsplit_once('/').map(|(path, _)| path))?;
    Some(vec![(parts(path), None)])
}

/// Modules from scopes with their classes, outermost first; the last scope is the operation itself.
fn of_scopes<'a>(scopes: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Place> {
    let mut place: Place =
        scopes.map(|(path, class)| (parts(path), Some(short(class)).filter(|c| !c.is_empty()))).collect();
    place.pop()?;
    let is_unknown =
        |(path, _): &(Vec<String>, Option<String>)| path.iter().any(|part| part.starts_with(NOWHERE));
    if place.is_empty() || place.iter().any(is_unknown) { None } else { Some(place) }
}

/// `layers.0.attention` and `layers.0/attention` as `layers.0`, `attention`: a number stays with what it numbers.
fn parts(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split(['/', '.']).filter(|part| !part.is_empty()) {
        match parts.last_mut() {
            Some(last) if part.bytes().all(|b| b.is_ascii_digit()) => {
                last.push('.');
                last.push_str(part);
            }
            _ => parts.push(part.to_owned()),
        }
    }
    parts
}

/// A class without its package.
fn short(class: &str) -> String {
    class.rsplit('.').next().unwrap_or(class).trim().to_owned()
}

/// The strings of a Python list literal.
fn list(literal: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut rest = literal;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = rest[start..].chars().next().unwrap_or('\'');
        let Some(length) = rest[start + 1..].find(quote) else { break };
        strings.push(rest[start + 1..start + 1 + length].to_owned());
        rest = &rest[start + length + 2..];
    }
    strings
}

/// A line of the hierarchy as a tree: a module, or several that differ only in their number.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Level, 0 at the top.
    pub depth: usize,
    /// Name; `layer.0..11` for twelve alike.
    pub name: String,
    /// How many modules it stands for.
    pub count: usize,
    /// The module, or the first of them; without its submodules.
    pub module: Module,
}

impl Hierarchy {
    /// The tree down to `levels`, siblings that are alike folded into one line.
    pub fn lines(&self, levels: usize) -> Vec<Line> {
        let mut flat = Vec::new();
        flatten(&self.root, 0, levels, &mut flat);
        fold(&flat)
    }
}

fn flatten(module: &Module, depth: usize, levels: usize, out: &mut Vec<(usize, Module)>) {
    if depth >= levels {
        return;
    }
    for child in &module.modules {
        // A module that only wraps another is shown in one line with it.
        let mut name = child.name.clone();
        let mut shown = child;
        while let [only] = shown.modules.as_slice()
            && only.nodes == shown.nodes
        {
            name = format!("{name}/{}", only.name);
            shown = only;
        }
        out.push((depth, Module { name, modules: Vec::new(), ..shown.clone() }));
        flatten(shown, depth + 1, levels, out);
    }
}

fn fold(modules: &[(usize, Module)]) -> Vec<Line> {
    let mut folded = Vec::new();
    let mut index = 0;
    while let Some((depth, module)) = modules.get(index) {
        let block = |from: usize| {
            let length = modules[from + 1..].iter().take_while(|(d, _)| d > depth).count() + 1;
            &modules[from..from + length]
        };
        let first = block(index);
        let mut count = 1;
        while let Some((d, _)) = modules.get(index + count * first.len())
            && d == depth
            && alike(first, block(index + count * first.len()))
        {
            count += 1;
        }
        let name = match (count, module.name.rsplit_once('.')) {
            (1, _) | (_, None) => module.name.clone(),
            (_, Some((stem, number))) => {
                let last =
                    number.parse::<usize>().map_or_else(|_| String::new(), |n| (n + count - 1).to_string());
                format!("{stem}.{number}..{last}")
            }
        };
        folded.push(Line { depth: *depth, name, count, module: module.clone() });
        folded.extend(fold(&first[1..]));
        index += count * first.len();
    }
    folded
}

/// Whether two subtrees are the same but for the number at their root.
fn alike(a: &[(usize, Module)], b: &[(usize, Module)]) -> bool {
    let stem = |m: &Module| m.name.rsplit_once('.').map(|(stem, _)| stem.to_owned());
    let same = |(x, y): (&(usize, Module), &(usize, Module))| {
        x.0 == y.0
            && x.1.name == y.1.name
            && x.1.class == y.1.class
            && x.1.nodes == y.1.nodes
            && x.1.parameters == y.1.parameters
    };
    a.len() == b.len()
        && stem(&a[0].1).is_some()
        && stem(&a[0].1) == stem(&b[0].1)
        && a[0].1.nodes == b[0].1.nodes
        && a[1..].iter().zip(&b[1..]).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Builder, DType, TensorType};
    use std::collections::BTreeMap;

    fn paths(module: &Module) -> BTreeMap<String, usize> {
        fn walk(module: &Module, path: &str, out: &mut BTreeMap<String, usize>) {
            for child in &module.modules {
                let path =
                    if path.is_empty() { child.name.clone() } else { format!("{path}/{}", child.name) };
                out.insert(path.clone(), child.nodes);
                walk(child, &path, out);
            }
        }
        let mut out = BTreeMap::new();
        walk(module, "", &mut out);
        out
    }

    fn graph(names: &[(&str, &[(&str, &str)])]) -> Graph {
        let mut b = Builder::new();
        let mut x = b.input("x", TensorType::known(DType::F32, &[2]));
        for _ in names {
            x = b.op("Abs", &[x]);
        }
        let mut graph = b.finish(&[x]);
        for (id, (name, metadata)) in graph.node_ids().into_iter().zip(names) {
            graph.node_mut(id).name = (*name).into();
            graph.node_mut(id).metadata =
                metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        }
        graph
    }

    #[test]
    fn dynamo_scopes_and_torchscript_names_give_the_same_paths() {
        let scopes = "['', 'encoder', 'encoder.layers.0', 'encoder.layers.0.fc', 'linear_3']";
        let classes =
            "['a.Model', 'a.Encoder', 'a.Layer', 'torch.nn.modules.linear.Linear', 'aten.linear.default']";
        let namespace =
            ": a.Model/encoder: a.Encoder/encoder.layers.0.fc: torch.nn.Linear/linear: aten.linear";
        let graph = graph(&[
            ("n0", &[(SCOPES, scopes), (CLASSES, classes)]),
            ("/encoder/layers.0/fc/MatMul", &[]),
            ("fused", &[(SOURCES, "/encoder/layers.0/fc/Add; x")]),
            ("n3", &[(NAMESPACE, namespace)]),
            ("plain", &[]),
        ]);
        let hierarchy = Hierarchy::of(&graph);
        assert_eq!(hierarchy.share, 0.8);
        let expected = [("encoder", 4), ("encoder/layers.0", 4), ("encoder/layers.0/fc", 4)];
        assert_eq!(paths(&hierarchy.root), expected.map(|(p, n)| (p.to_owned(), n)).into());
        let fc = &hierarchy.root.modules[0].modules[0].modules[0];
        assert_eq!(fc.class.as_deref(), Some("Linear"));
    }

    #[test]
    fn equal_layers_are_folded_into_one_line() {
        let names: Vec<String> =
            (0..3).flat_map(|l| [format!("/h/layer.{l}/a/Abs"), format!("/h/layer.{l}/b/Abs")]).collect();
        let graph = graph(&names.iter().map(|n| (n.as_str(), &[] as &[_])).collect::<Vec<_>>());
        let lines = Hierarchy::of(&graph).lines(9);
        let lines: Vec<String> =
            lines.iter().map(|l| format!("{} {} {}", l.depth, l.name, l.count)).collect();
        assert_eq!(lines, ["0 h 1", "1 layer.0..2 3", "2 a 1", "2 b 1"]);
    }
}
