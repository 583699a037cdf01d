//! The operator table against `schemas.txt`, the operators of ai.onnx as the onnx package defines them: no operator is
//! missing, versions, attributes and numbers of operands agree, and typing takes every element type that is allowed.
//!
//! Refuses to know what operators compute. After an update of onnx, `schemas.py` writes the list anew.

use fusebox_ir::{Attr, Attrs, DType, Dim, Graph, Node, OpName, TensorType, Type};
use fusebox_ops::attributes::AttrSpec;
use fusebox_ops::{Arg, Edit, Infer, InferError, Op};
use std::cell::Cell;
use std::collections::BTreeMap;

/// Carried through and refused by `run`: strings, and images as files.
const LEFT_OUT: &[&str] =
    &["ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"];

#[derive(Debug)]
struct Operand {
    option: &'static str,
    variable: &'static str,
    types: Vec<DType>,
}

#[derive(Debug, Default)]
struct Listed {
    name: &'static str,
    versions: Vec<i64>,
    is_deprecated: bool,
    attributes: Vec<(&'static str, &'static str, Option<&'static str>)>,
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
    forms: Vec<Form>,
}

/// An operator as one version of it was.
#[derive(Debug)]
struct Form {
    version: i64,
    inputs: usize,
    outputs: usize,
    attributes: Vec<&'static str>,
}

impl Listed {
    fn op(&self) -> Option<&'static dyn Op> {
        fusebox_ops::op(&OpName::onnx(self.name))
    }
}

fn operand(words: &[&'static str]) -> Operand {
    // Types of six bits have no dtype yet: nothing can hold them.
    let types = words[2..].iter().filter_map(|name| DType::from_name(name)).collect();
    Operand { option: words[0], variable: words[1], types }
}

fn list() -> Vec<Listed> {
    let mut found: Vec<Listed> = Vec::new();
    for line in include_str!("../schemas.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        match (line.starts_with("  "), words[0]) {
            (false, name) => {
                let versions = words[1..].iter().filter_map(|word| word.parse().ok()).collect();
                let is_deprecated = words.last() == Some(&"deprecated");
                found.push(Listed { name, versions, is_deprecated, ..Listed::default() });
            }
            (true, kind) => {
                let op = found.last_mut().expect("a line about an operator follows its name");
                match kind {
                    "attribute" => op.attributes.push((words[1], words[2], words.get(3).copied())),
                    "input" => op.inputs.push(operand(&words[1..])),
                    "output" => op.outputs.push(operand(&words[1..])),
                    "form" => op.forms.push(Form {
                        version: words[1].parse().expect("a version"),
                        inputs: words[2].parse().expect("a number of inputs"),
                        outputs: words[3].parse().expect("a number of outputs"),
                        attributes: words[4..].to_vec(),
                    }),
                    other => panic!("schemas.txt has a line of kind {other}"),
                }
            }
        }
    }
    assert!(found.len() > 200, "schemas.txt lists {} operators", found.len());
    found
}

fn complain(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
}

#[test]
fn no_operator_is_missing() {
    let names: Vec<&str> = list().iter().filter(|op| op.op().is_none()).map(|op| op.name).collect();
    assert_eq!(names, LEFT_OUT);
}

#[test]
fn versions_agree() {
    let differs = |listed: &Listed| {
        let ours = listed.op()?.schema().since;
        (ours != listed.versions).then(|| format!("{}: {ours:?}, not {:?}", listed.name, listed.versions))
    };
    complain("versions", &list().iter().filter_map(differs).collect::<Vec<_>>());
}

#[test]
fn attributes_agree() {
    let mut faults = Vec::new();
    for listed in list().iter().filter(|listed| !listed.is_deprecated) {
        let Some(op) = listed.op() else { continue };
        let expected: Vec<(&str, AttrSpec)> = listed
            .attributes
            .iter()
            .filter(|(_, kind, _)| *kind != "graph")
            .map(|(name, kind, default)| (*name, spec(kind, *default)))
            .collect();
        let ours = op.schema().attributes;
        if ours != expected {
            let missing: Vec<_> = expected.iter().filter(|row| !ours.contains(row)).collect();
            let extra: Vec<_> = ours.iter().filter(|row| !expected.contains(row)).collect();
            faults.push(format!("{}: lacks {missing:?}, has {extra:?}", listed.name));
        }
    }
    complain("attributes", &faults);
}

fn spec(kind: &str, default: Option<&'static str>) -> AttrSpec {
    match kind {
        "int" => AttrSpec::Int(default.map(|text| text.parse().expect("an integer"))),
        "float" => AttrSpec::Float(default.map(|text| text.parse().expect("a float"))),
        "string" => AttrSpec::Str(default.map(|text| if text == "\"\"" { "" } else { text })),
        "ints" => AttrSpec::Ints,
        _ => AttrSpec::Other,
    }
}

fn arity(operands: &[Operand]) -> (usize, usize) {
    let least = operands.iter().rposition(|operand| operand.option == "single").map_or(0, |at| at + 1);
    let is_variadic = operands.iter().any(|operand| matches!(operand.option, "variadic" | "mixed"));
    (least, if is_variadic { usize::MAX } else { operands.len() })
}

#[test]
fn numbers_of_operands_agree() {
    let mut faults = Vec::new();
    for listed in list().iter().filter(|listed| !listed.is_deprecated) {
        let Some(op) = listed.op() else { continue };
        let (ours, theirs) = (op.schema(), (arity(&listed.inputs), arity(&listed.outputs)));
        // ONNX counts variadic operands from one where we may demand more.
        let agrees = |ours: (usize, usize), theirs: (usize, usize)| {
            ours.1 == theirs.1 && (ours.0 == theirs.0 || theirs.1 == usize::MAX)
        };
        if !agrees(ours.inputs, theirs.0) || !agrees(ours.outputs, theirs.1) {
            faults.push(format!("{}: {:?} and {:?}, not {theirs:?}", listed.name, ours.inputs, ours.outputs));
        }
    }
    complain("inputs and outputs", &faults);
}

/// Attributes without which an operator cannot be typed.
fn needed(name: &str) -> Attrs {
    let dtype = |dtype: DType| i64::from(dtype.to_onnx());
    match name {
        "AveragePool" | "LpPool" | "MaxPool" | "MaxUnpool" => Attrs::new().with("kernel_shape", vec![1i64]),
        "BitShift" => Attrs::new().with("direction", "LEFT"),
        "Cast" => Attrs::new().with("to", dtype(DType::F32)),
        "Concat" | "ConcatFromSequence" => Attrs::new().with("axis", 0),
        "DepthToSpace" | "SpaceToDepth" => Attrs::new().with("blocksize", 1),
        "Einsum" => Attrs::new().with("equation", "i->i"),
        "LinearAttention" => Attrs::new().with("q_num_heads", 1).with("kv_num_heads", 1),
        "GroupNormalization" => Attrs::new().with("num_groups", 1),
        "LRN" => Attrs::new().with("size", 1),
        "MaxRoiPool" => Attrs::new().with("pooled_shape", vec![1i64, 1]),
        "TfIdfVectorizer" => Attrs::new().with("ngram_indexes", vec![0i64]),
        "RandomNormal" | "RandomUniform" => Attrs::new().with("shape", vec![1i64]),
        _ => Attrs::new(),
    }
}

/// The type that an operand has while others are tried.
fn usual(types: &[DType]) -> Option<DType> {
    let preferred = [DType::F32, DType::I64, DType::U8, DType::Bool];
    preferred.into_iter().find(|dtype| types.contains(dtype)).or(types.first().copied())
}

/// Types an operator whose inputs have these element types, of unknown rank.
fn typed(op: &dyn Op, attrs: &Attrs, dtypes: &[Option<DType>], outputs: usize) -> Result<(), InferError> {
    let ty = |dtype: &Option<DType>| dtype.map(|dtype| Type::from(TensorType::unranked(dtype)));
    let types: Vec<Option<Type>> = dtypes.iter().map(ty).collect();
    let inputs: Vec<Option<Arg<'_>>> =
        types.iter().map(|ty| ty.as_ref().map(|ty| Arg { ty, constant: None, dims: None })).collect();
    let count = Cell::new(0);
    let fresh = || {
        count.set(count.get() + 1);
        Dim::symbol(format!("n{}", count.get()))
    };
    op.infer(&Infer { attrs, inputs: &inputs, outputs, regions: &[], fresh: &fresh }).map(|_| ())
}

#[test]
fn typing_takes_every_element_type() {
    let mut faults = Vec::new();
    for listed in list().iter().filter(|listed| !listed.is_deprecated) {
        let Some(op) = listed.op() else { continue };
        let has_region = listed.attributes.iter().any(|(_, kind, _)| *kind == "graph");
        // Sequences and optionals have no element type of their own.
        let has_tensors = listed.inputs.iter().all(|input| !input.types.is_empty());
        if has_region || !has_tensors || listed.name == "Constant" {
            continue;
        }
        let mut attrs = needed(listed.name);
        if listed.name == "BitCast" {
            attrs.set("to", Attr::Int(0));
        }
        let variables: BTreeMap<&str, &[DType]> =
            listed.inputs.iter().map(|input| (input.variable, &input.types[..])).collect();
        for (variable, types) in &variables {
            for tried in *types {
                let of = |input: &Operand| {
                    if input.variable == *variable && variable != &"-" {
                        Some(*tried)
                    } else {
                        usual(&input.types)
                    }
                };
                if listed.name == "BitCast" {
                    attrs.set("to", i64::from(tried.to_onnx()));
                }
                let dtypes: Vec<Option<DType>> = listed.inputs.iter().map(of).collect();
                if let Err(error) = typed(op, &attrs, &dtypes, listed.outputs.len()) {
                    faults.push(format!("{} with {variable} {tried}: {error}", listed.name));
                }
            }
        }
    }
    complain("element types that typing refuses", &faults);
}

/// A node in the newest form with every default written out and as few inputs as it takes.
fn written_out(listed: &Listed, op: &dyn Op) -> (Graph, fusebox_ir::NodeId) {
    let mut graph = Graph::new();
    let mut attrs = needed(listed.name);
    for (name, spec) in op.schema().attributes {
        if let Some(default) = spec.default().filter(|_| attrs.get(name).is_none()) {
            attrs.set(name, default);
        }
    }
    let (least, _) = op.schema().inputs;
    let input = |at: usize| {
        let operand = listed.inputs.get(at).or(listed.inputs.last()).expect("an input is listed");
        TensorType::unranked(usual(&operand.types).unwrap_or(DType::F32))
    };
    let inputs: Vec<_> = (0..least).map(|at| Some(graph.add_input(format!("x{at}"), input(at)))).collect();
    let outputs: Vec<_> =
        (0..op.schema().outputs.0.max(1)).map(|_| Some(graph.add_typed(Type::Unknown))).collect();
    let node = graph.add_node(Node::new(OpName::onnx(listed.name), inputs, outputs, attrs));
    (graph, node)
}

#[test]
fn older_forms_have_no_attributes_or_operands_of_newer_ones() {
    let mut faults = Vec::new();
    for listed in list().iter().filter(|listed| !listed.is_deprecated) {
        let Some(op) = listed.op() else { continue };
        for form in &listed.forms {
            let (mut graph, node) = written_out(listed, op);
            if op.downgrade(&mut Edit { graph: &mut graph, node, opset: form.version }).is_err() {
                continue;
            }
            let found = graph.node(node);
            let is_same = found.op == OpName::onnx(listed.name);
            let extra: Vec<String> = found
                .attrs
                .iter()
                .map(|(name, _)| name.to_string())
                .filter(|n| !form.attributes.contains(&&n[..]))
                .collect();
            let fits = found.inputs.len() <= form.inputs && found.outputs.len() <= form.outputs;
            if is_same && (!extra.is_empty() || !fits) {
                faults.push(format!(
                    "{} in opset {}: {extra:?}, {} inputs",
                    listed.name,
                    form.version,
                    found.inputs.len()
                ));
            }
        }
    }
    complain("what older opsets do not know", &faults);
}

#[test]
fn nothing_exists_before_its_first_version() {
    for listed in list().iter().filter(|listed| !listed.is_deprecated) {
        let Some(op) = listed.op() else { continue };
        let opset = listed.versions[0] - 1;
        let (mut graph, node) = written_out(listed, op);
        let result = op.downgrade(&mut Edit { graph: &mut graph, node, opset });
        let is_same = graph.node(node).op == OpName::onnx(listed.name);
        assert!(opset == 0 || result.is_err() || !is_same, "{} is written to opset {opset}", listed.name);
    }
}
