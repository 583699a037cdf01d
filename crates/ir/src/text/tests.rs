//! Print and parse are inverse on random graphs, blind to insertion order, and survive any text.

use super::*;
use crate::{Attrs, Builder, DType, Dim, Node, NodeId, OpName, Region, Type, Value, ValueId};
use proptest::prelude::*;

fn dim() -> impl Strategy<Value = Dim> {
    let leaf = prop_oneof![
        (-3i64..40).prop_map(Dim::known),
        Just(Dim::known(i64::MIN)),
        prop_oneof!["[a-c]", "batch", "floordiv", "past seq", "\"\\PC{1,3}", "_"].prop_map(Dim::symbol),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        (inner.clone(), inner, 0..7).prop_map(|(a, b, kind)| match kind {
            0 => a.add(&b),
            1 => a.sub(&b),
            2 => a.mul(&b),
            3 => a.floor_div(&b),
            4 => a.modulo(&b),
            5 => a.larger(&b),
            _ => a.smaller(&b),
        })
    })
}

fn dtype() -> impl Strategy<Value = DType> {
    (1..=26i32).prop_map(|number| DType::from_onnx(number).unwrap())
}

fn ty() -> impl Strategy<Value = Type> {
    let tensor =
        (dtype(), prop::option::of(prop::collection::vec(dim(), 0..4))).prop_map(|(dtype, shape)| {
            Type::Tensor(TensorType { dtype, shape: shape.map(|dims| dims.into_iter().collect()) })
        });
    let leaf =
        prop_oneof![6 => tensor, 1 => Just(Type::Unknown), 1 => any::<Vec<u8>>().prop_map(Type::Foreign)];
    leaf.prop_recursive(2, 4, 1, |inner| {
        prop_oneof![
            inner.clone().prop_map(|t| Type::Sequence(Box::new(t))),
            inner.prop_map(|t| Type::Optional(Box::new(t)))
        ]
    })
}

/// Any bits of any type: NaN payloads, booleans that are neither, padding that is not zero.
fn tensor() -> impl Strategy<Value = Tensor> {
    let shapes = prop::collection::vec(0usize..4, 0..3);
    (dtype(), shapes).prop_flat_map(|(dtype, shape)| {
        let count: usize = shape.iter().product();
        let bytes = prop::collection::vec(any::<u8>(), dtype.bytes_for(count).unwrap_or(0));
        let strings = prop::collection::vec(any::<Vec<u8>>(), count);
        (bytes, strings).prop_map(move |(bytes, strings)| match dtype {
            DType::String => Tensor::from_strings(shape.clone(), strings).unwrap(),
            _ => Tensor::from_bytes(dtype, shape.clone(), bytes.into()).unwrap(),
        })
    })
}

fn attr() -> impl Strategy<Value = Attr> {
    prop_oneof![
        any::<i64>().prop_map(Attr::Int),
        any::<u32>().prop_map(|bits| Attr::Float(f32::from_bits(bits))),
        prop::sample::select(vec![0.0f32, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-5])
            .prop_map(Attr::Float),
        any::<String>().prop_map(|s| Attr::String(s.into_bytes())),
        any::<Vec<u8>>().prop_map(Attr::String),
        tensor().prop_map(Attr::Tensor),
        prop::collection::vec(any::<i64>(), 0..3).prop_map(Attr::Ints),
        prop::collection::vec(any::<f32>(), 0..3).prop_map(Attr::Floats),
        prop::collection::vec(any::<Vec<u8>>(), 0..3).prop_map(Attr::Strings),
        prop::collection::vec(tensor(), 0..3).prop_map(Attr::Tensors),
        ty().prop_map(Attr::Type),
        (any::<String>(), any::<i32>()).prop_map(|(name, kind)| Attr::Reference(name.into(), kind)),
        any::<Vec<u8>>().prop_map(Attr::Foreign),
    ]
}

fn attrs() -> impl Strategy<Value = Attrs> {
    let name = prop_oneof![4 => "[a-z]{1,4}", 1 => any::<String>()];
    prop::collection::vec((name, attr()), 0..3)
        .prop_map(|items| items.into_iter().map(|(name, attr)| (name.into(), attr)).collect())
}

#[derive(Clone, Debug)]
struct NodePlan {
    op: (String, String, String),
    attrs: Attrs,
    reads: Vec<Option<(bool, prop::sample::Index)>>,
    outputs: Vec<Option<Type>>,
    region: Option<(Box<Graph>, Vec<prop::sample::Index>)>,
    metadata: Vec<(String, String)>,
}

fn node_plan(regions: bool) -> BoxedStrategy<NodePlan> {
    let word = prop_oneof![3 => "[A-C]", 1 => any::<String>()];
    let domain = prop_oneof![3 => Just(String::new()), 1 => Just("ai.fusebox".into()), 1 => any::<String>()];
    let overload = prop_oneof![3 => Just(String::new()), 1 => any::<String>()];
    let reads = prop::collection::vec(
        prop::option::weighted(0.8, (prop::bool::weighted(0.3), any::<prop::sample::Index>())),
        0..4,
    );
    let outputs = prop::collection::vec(prop::option::weighted(0.9, ty()), 0..3);
    let region = if regions {
        let captures = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
        prop::option::weighted(0.2, (graph(false).prop_map(Box::new), captures)).boxed()
    } else {
        Just(None).boxed()
    };
    let metadata = prop::collection::vec((any::<String>(), any::<String>()), 0..2);
    ((domain, word, overload), attrs(), reads, outputs, region, metadata)
        .prop_map(|(op, attrs, reads, outputs, region, metadata)| NodePlan {
            op,
            attrs,
            reads,
            outputs,
            region,
            metadata,
        })
        .boxed()
}

pub(crate) fn graph(regions: bool) -> BoxedStrategy<Graph> {
    let nodes = prop::collection::vec(node_plan(regions), 0..7);
    let constants = prop::collection::vec(tensor(), 1..4);
    let inputs = prop::collection::vec((ty(), prop::option::weighted(0.1, tensor())), 1..4);
    let outputs = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (nodes, constants, inputs, outputs)
        .prop_map(|(nodes, constants, inputs, outputs)| {
            let mut graph = Graph::new();
            let mut values: Vec<ValueId> = Vec::new();
            for (index, (ty, default)) in inputs.into_iter().enumerate() {
                let id = graph.add_input(format!("in{index}"), ty);
                graph.value_mut(id).constant = default;
                values.push(id);
            }
            let constants: Vec<ValueId> = constants.into_iter().map(|t| graph.add_constant("", t)).collect();
            for plan in nodes {
                let pick = |(constant, index): (bool, prop::sample::Index)| {
                    *index.get(if constant { &constants } else { &values })
                };
                let inputs: Vec<Option<ValueId>> = plan.reads.into_iter().map(|r| r.map(pick)).collect();
                let mut made = Vec::new();
                let outputs: Vec<Option<ValueId>> = plan
                    .outputs
                    .into_iter()
                    .map(|ty| ty.map(|ty| graph.add_typed(ty)))
                    .inspect(|v| made.extend(*v))
                    .collect();
                let mut node = Node::new(OpName::new(&plan.op.0, &plan.op.1), inputs, outputs, plan.attrs);
                node.overload = plan.op.2;
                node.metadata = plan.metadata;
                if let Some((mut inner, captures)) = plan.region {
                    let captures: Vec<ValueId> = captures.iter().map(|i| *i.get(&values)).collect();
                    for _ in &captures {
                        let value = inner.add_typed(Type::Unknown);
                        inner.captured.push(value);
                        inner.outputs.push(value);
                    }
                    node.regions.push(Region { name: "body".into(), graph: *inner, captures });
                }
                graph.add_node(node);
                values.extend(made);
            }
            graph.outputs = outputs.iter().map(|i| *i.get(&values)).collect();
            graph
        })
        .boxed()
}

/// The same graph with its values and nodes inserted in another order.
pub(crate) fn shuffled(graph: &Graph, key: impl Fn(usize) -> u64) -> Graph {
    let mut slots: Vec<usize> = (0..graph.value_count()).collect();
    slots.sort_by_key(|i| key(*i));
    let mut other = Graph::new();
    other.metadata.clone_from(&graph.metadata);
    let mut map = vec![ValueId(0); slots.len()];
    for slot in slots {
        let value = graph.value(ValueId(slot as u32)).clone();
        map[slot] = other.add_value(Value { producer: None, ..value });
    }
    let place = |id: &ValueId| map[id.0 as usize];
    other.inputs = graph.inputs.iter().map(place).collect();
    other.outputs = graph.outputs.iter().map(place).collect();
    other.captured = graph.captured.iter().map(place).collect();
    let mut nodes: Vec<NodeId> = graph.node_ids();
    nodes.sort_by_key(|id| key(id.0 as usize + 1000));
    for id in nodes {
        let mut node = graph.node(id).clone();
        node.inputs.iter_mut().flatten().for_each(|v| *v = place(v));
        node.outputs.iter_mut().flatten().for_each(|v| *v = place(v));
        node.regions.iter_mut().flat_map(|r| &mut r.captures).for_each(|v| *v = place(v));
        other.add_node(node);
    }
    other
}

/// Signs that a mutated text is likely to still be nearly a graph.
const TOKENS: &[&str] = &[
    "graph ",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "%0",
    "%1",
    " = ",
    "->",
    ": ",
    "f32",
    "u4",
    "f32[2]",
    "?",
    "1",
    "-",
    "nan",
    "inf",
    "0x1f",
    "#12",
    "\"a\"",
    "floordiv(",
    "mul(",
    "a*",
    "a+",
    "captures ",
    "seq(",
    "&a:1",
    "![",
    "..",
    "99999999999999999999",
    "1e999",
    "\\",
    "\"",
    "é",
    "model ",
    "raw ",
    ",",
    "_",
];

proptest! {
    #[test]
    fn printing_and_reading_are_inverse(graph in graph(true)) {
        prop_assert_eq!(graph.verify(), Ok(()));
        let text = print(&graph, &PrintOptions::complete());
        let back = parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(back.verify(), Ok(()));
        prop_assert_eq!(&text, &print(&back, &PrintOptions::complete()));
        prop_assert_eq!(back.node_count(), graph.node_count());
        // Summarised constants come back from the graph itself; named text reads like unnamed text.
        let brief = PrintOptions { inline_limit: 1, names: true, metadata: true };
        let known = Constants::of(&graph);
        let back = parse_with(&print(&graph, &brief), &|_, hash| known.get(hash).cloned()).unwrap();
        prop_assert_eq!(&text, &print(&back, &PrintOptions::complete()));
    }

    #[test]
    fn insertion_order_does_not_show(graph in graph(true), salt in any::<u64>()) {
        let key = |i: usize| (i as u64 + 1).wrapping_mul(salt | 1).rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let other = shuffled(&graph, key);
        prop_assert_eq!(print(&graph, &PrintOptions::complete()), print(&other, &PrintOptions::complete()));
    }

    #[test]
    fn any_text_gives_a_graph_or_an_error(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse_model(&text, &|_, _| None);
    }

    #[test]
    fn any_tokens_give_a_graph_or_an_error(picks in prop::collection::vec(0..TOKENS.len(), 0..60)) {
        let text: String = picks.into_iter().map(|i| TOKENS[i]).collect();
        for text in [text.clone(), format!("graph (%0: f32[{text}"), format!("graph (%0: ?) -> () {{ %1 = A[b={text}")] {
            if let Err(error) = parse(&text) {
                prop_assert!(text.get(error.span.clone()).is_some(), "span {:?} of {:?}", error.span, text);
            }
        }
    }

    #[test]
    fn a_damaged_text_gives_a_graph_or_an_error(graph in graph(true), at in any::<prop::sample::Index>(), token in 0..TOKENS.len()) {
        let mut text = print(&graph, &PrintOptions::complete());
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) { at -= 1; }
        let _ = parse(&text[..at]);
        text.insert_str(at, TOKENS[token]);
        if let Ok(graph) = parse(&text) {
            prop_assert_eq!(graph.verify(), Ok(()));
        }
    }
}

fn sample() -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("batch"), Dim::known(3)]));
    let w = b.constant(Tensor::from_vec(vec![3, 4], (0..12).map(|i| i as f32).collect()).unwrap());
    let small = b.constant(Tensor::vector(vec![1.0f32, 2.5, -0.0, f32::INFINITY]));
    let y = b.op("MatMul", &[x, w]);
    let z = b.node(
        OpName::fusebox("Linear"),
        &[Some(y), None, Some(small)],
        2,
        Attrs::new().with("activation", "gelu").with("alpha", 1.0).with("axes", vec![0, -1]),
    );
    b.graph.value_mut(z[0]).ty = TensorType::new(DType::F32, [Dim::symbol("batch"), Dim::known(4)]).into();
    b.finish(&[z[0]])
}

#[test]
fn the_form_is_as_documented() {
    let hash = short_hash(&Tensor::from_vec(vec![3, 4], (0..12).map(|i| i as f32).collect()).unwrap());
    let expected = format!(
        "graph (%0: f32[batch, 3]) -> (%2) {{\n  %1 = MatMul(%0, f32[3, 4]{{#{hash:016x}}})\n  %2, %3 = \
         ai.fusebox.Linear[activation=\"gelu\", alpha=1.0, axes=[0, -1]](%1, _, f32[4]{{1, 2.5, -0, inf}}) : \
         f32[batch, 4], ?\n}}\n"
    );
    assert_eq!(sample().to_string(), expected);
}

#[test]
fn a_model_reads_back() {
    let mut model = crate::Model { graph: sample(), ir_version: 9, ..crate::Model::default() };
    model.opsets = vec![crate::OpsetImport { domain: String::new(), version: 17 }];
    model.metadata = vec![("key".into(), "a \"value\"".into())];
    model.producer_name = "pytorch".into();
    model.functions = vec![crate::Function {
        domain: "ai.fusebox".into(),
        name: "Linear".into(),
        graph: sample(),
        required: vec!["activation".into()],
        defaults: Attrs::new().with("alpha", 0.5),
        opsets: model.opsets.clone(),
        ..crate::Function::default()
    }];
    let text = print_model(&model, &PrintOptions::complete());
    let back = parse_model(&text, &|_, _| None).unwrap();
    assert_eq!(print_model(&back, &PrintOptions::complete()), text);
    assert_eq!(
        (back.opsets, back.producer_name, back.metadata),
        (model.opsets, model.producer_name, model.metadata)
    );
    assert_eq!(back.functions[0].defaults, model.functions[0].defaults);
}

/// Text, then what the message must say.
const REFUSED: &[(&str, &str)] = &[
    ("", "line 1, column 1: expected `graph`, found the end of the text"),
    ("graph (%0: f32[2]) -> (%1) {\n}", "line 1, column 24: %1 is not defined above"),
    ("graph (%0: f32[2]) -> (%1) {\n  %1 = Relu(%2)\n}", "line 2, column 13: %2 is not defined above"),
    ("graph (%0: f32[2]) -> () {\n  %0 = Relu(%0)\n}", "line 2, column 3: %0 is already defined"),
    ("graph (%0: f31[2]) -> () {}", "line 1, column 12: `f31` is no element type"),
    ("graph () -> (f32[2]{1}) {}", "a constant of shape [2] has 2 elements, 1 are given"),
    ("graph () -> (f32[n]{1}) {}", "a constant needs sizes that are known"),
    ("graph () -> (u8[1]{256}) {}", "256 is no u8"),
    ("graph () -> (f16[1]{1e6}) {}", "1e6 is no f16"),
    ("graph () -> (f32[9]{#ab}) {}", "print with a larger inline limit, or parse with a source"),
    ("graph () -> (f32[1]{\"a\"}) {}", "expected a number, inf or nan, found a string"),
    ("graph () -> () { () = A[a=1, a=2]() }", "attribute \"a\" is given twice"),
    ("graph () -> () { () = A[a=[1, 2.0]]() }", "a list holds integers, floats, strings or tensors"),
    ("graph () -> () { %0 = A() : ?, ? }", "1 outputs but 2 types"),
    ("graph () -> () { () = \"A", "this string has no closing quote"),
    ("graph () -> () { () = \"\\q\"", "not an escape"),
    ("graph () -> () { () = A() $", "'$' means nothing here"),
    ("graph (%0: f32[1.5]) -> () {}", "1.5 is no 64-bit integer"),
    ("graph () -> () { () = A() { b = graph () captures (%0: ?) -> () {} } }", "a capture of a region needs"),
    ("graph () -> () {} graph", "expected the end of the text, found `graph`"),
];

#[test]
fn each_refusal_says_what_and_where() {
    for (text, expected) in REFUSED {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}\n gives {message}\n not {expected}");
    }
}

#[test]
fn nesting_and_growth_are_limited() {
    let deep = format!("graph (%0: {}", "seq(".repeat(100_000));
    assert!(matches!(parse(&deep).unwrap_err().kind, ParseErrorKind::TooDeep { .. }));
    let deep = format!("graph (%0: f32[{}", "(".repeat(100_000));
    assert!(matches!(parse(&deep).unwrap_err().kind, ParseErrorKind::TooDeep { .. }));
    let region = "() = A() { b = graph () -> () { ";
    let deep = format!("graph () -> () {{ {}", region.repeat(10_000));
    assert!(matches!(parse(&deep).unwrap_err().kind, ParseErrorKind::TooDeep { .. }));
    let grown = format!("graph (%0: f32[{}1]) -> () {{}}", "(a + b + c + d)*".repeat(10_000));
    assert!(matches!(parse(&grown).unwrap_err().kind, ParseErrorKind::DimTooLong { .. }));
    let wide = format!("graph (%0: f32[{}1]) -> () {{}}", "a - a + ".repeat(100_000));
    assert!(matches!(parse(&wide).unwrap_err().kind, ParseErrorKind::DimTooLong { .. }));
}

#[test]
fn a_broken_graph_still_prints() {
    let mut graph = sample();
    let ids = graph.node_ids();
    let stray = graph.add_typed(Type::Unknown);
    graph.node_mut(ids[0]).inputs[0] = Some(stray);
    assert!(graph.to_string().contains("MatMul(undef, "));
    let last = graph.outputs[0];
    graph.node_mut(ids[0]).inputs[0] = Some(last);
    assert!(graph.to_string().contains("MatMul(%2, "));
}

#[test]
fn a_supplied_constant_must_be_the_right_one() {
    let text = sample().to_string();
    let error = parse_with(&text, &|_, _| Some(Tensor::scalar(0f32))).unwrap_err();
    assert!(error.to_string().contains("the source of constants gave f32[]"), "{error}");
}

#[test]
fn sixteen_bit_floats_print_short_and_exact() {
    let tensor = Tensor::vector(vec![half::f16::from_f32(0.1), half::f16::MAX, half::f16::from_bits(1)]);
    let mut b = Builder::new();
    let value = b.constant(tensor);
    assert!(b.finish(&[value]).to_string().contains("f16[3]{0.1, 65500, 6e-8}"));
}
