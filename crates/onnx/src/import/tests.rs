//! Every fault that a model can have, with the message that it gets.

use super::*;
use bytes::Bytes;
use fusebox_ir::{Attr, DType};
use onnx_ir::{AttributeProto, AttributeType, GraphProto, NodeProto, TensorProto, ValueInfoProto};

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    NodeProto { op_type: op.into(), input: names(inputs), output: names(outputs), ..NodeProto::default() }
}

fn info(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), ..ValueInfoProto::default() }
}

fn graph(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &[&str]) -> GraphProto {
    let infos = |names: &[&str]| names.iter().map(|n| info(n)).collect();
    GraphProto {
        name: "g".into(),
        node: nodes,
        input: infos(inputs),
        output: infos(outputs),
        ..GraphProto::default()
    }
}

fn model(graph: GraphProto) -> ModelProto {
    let mut model = ModelProto { ir_version: 8, graph: Some(graph).into(), ..ModelProto::default() };
    import_opset(&mut model, "", 17);
    model
}

fn import_opset(model: &mut ModelProto, domain: &str, version: i64) {
    let opset = OpsetImport { domain: domain.into(), version };
    crate::entries::push_opsets!(model.opset_import, [opset]);
}

fn read(model: &ModelProto) -> Result<Model, ImportError> {
    let bytes = Bytes::from(model.write_to_bytes().unwrap());
    load_bytes(&bytes, &LoadOptions { upgrade: false, ..LoadOptions::default() })
}

fn fault(model: &ModelProto) -> String {
    let error = read(model).unwrap_err();
    assert!(!error.help().is_empty());
    error.to_string()
}

fn with_graph_attribute(mut node: NodeProto, name: &str, body: GraphProto) -> NodeProto {
    let mut attribute =
        AttributeProto { name: name.into(), type_: AttributeType::GRAPH.into(), ..Default::default() };
    attribute.g = Some(body).into();
    node.attribute.push(attribute);
    node
}

#[test]
fn broken_graphs_are_named() {
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to]);
    assert_eq!(
        fault(&model(graph(vec![relu("b", "a"), relu("a", "b")], &[], &["a"]))),
        "graph \"g\" is cyclic: node Relu #0 reads its own output, directly or through other nodes"
    );
    assert_eq!(
        fault(&model(graph(vec![relu("z", "a")], &["x"], &["a"]))),
        "in graph \"g\", node Relu #0 reads \"z\", which no node, input or initializer defines"
    );
    assert_eq!(
        fault(&model(graph(vec![relu("x", "a")], &["x"], &["q"]))),
        "in graph \"g\", its output list reads \"q\", which no node, input or initializer defines"
    );
    assert_eq!(
        fault(&model(graph(vec![relu("x", "a"), relu("x", "a")], &["x"], &["a"]))),
        "in graph \"g\", \"a\" is defined twice: by node Relu #0 and by node Relu #1"
    );
    assert_eq!(
        fault(&model(graph(vec![relu("x", "x")], &["x"], &["x"]))),
        "in graph \"g\", \"x\" is defined twice: by a graph input and by node Relu #0"
    );
    assert_eq!(fault(&ModelProto { ir_version: 8, ..ModelProto::default() }), "the model has no graph");
}

#[test]
fn opsets_must_be_declared_once() {
    let mut foreign = node("Frobnicate", &["x"], &["y"]);
    foreign.domain = "com.example".into();
    let mut plain = model(graph(vec![foreign], &["x"], &["y"]));
    assert_eq!(
        fault(&plain),
        "the model imports no opset for domain \"com.example\", which node Frobnicate #0 needs"
    );
    import_opset(&mut plain, "com.example", 2);
    assert!(read(&plain).is_ok());
    import_opset(&mut plain, "ai.onnx", 13);
    assert_eq!(
        fault(&plain),
        "the model imports opset 13 of domain \"ai.onnx\" and opset 17 of the same domain"
    );
    let mut zero = model(graph(vec![], &["x"], &["x"]));
    import_opset(&mut zero, "a", 0);
    assert_eq!(fault(&zero), "the model imports opset 0 of domain \"a\" (versions begin at 1)");
}

#[test]
fn operators_of_known_domains_need_no_import() {
    let mut gelu = node("Gelu", &["x"], &["y"]);
    gelu.domain = "com.microsoft".into();
    let read = read(&model(graph(vec![gelu], &["x"], &["y"]))).unwrap();
    assert!(read.opsets.contains(&OpsetImport { domain: "com.microsoft".into(), version: 1 }));
}

#[test]
fn opsets_beyond_the_table_are_refused_on_upgrade() {
    let mut newer = ModelProto { graph: Some(graph(vec![], &["x"], &["x"])).into(), ..ModelProto::default() };
    import_opset(&mut newer, "", 1000);
    assert!(read(&newer).is_ok());
    let bytes = Bytes::from(newer.write_to_bytes().unwrap());
    let error = load_bytes(&bytes, &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, ImportError::OpsetTooNew { version: 1000, .. }), "{error}");
}

#[test]
fn subgraphs_capture_through_every_level() {
    let inner = graph(vec![node("Add", &["x", "w"], &["i"])], &[], &["i"]);
    let middle =
        graph(vec![with_graph_attribute(node("If", &["c"], &["m"]), "then_branch", inner)], &[], &["m"]);
    let outer = with_graph_attribute(node("If", &["c"], &["y"]), "then_branch", middle);
    let late = node("Relu", &["x"], &["w"]);
    let model = read(&model(graph(vec![outer, late], &["x", "c"], &["y"]))).unwrap();
    // `Relu` is read first, whose output the body captures.
    let (_, outer) = model.graph.nodes().last().unwrap();
    let middle = &outer.regions[0];
    let names = |graph: &fusebox_ir::Graph, ids: &[fusebox_ir::ValueId]| {
        ids.iter().map(|id| graph.value(*id).name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&model.graph, &middle.captures), ["c", "x", "w"]);
    let (_, nested) = middle.graph.nodes().next().unwrap();
    assert_eq!(names(&middle.graph, &nested.regions[0].captures), ["x", "w"]);
}

#[test]
fn shadowing_inside_a_subgraph_keeps_both_values() {
    let body = graph(vec![node("Neg", &["y"], &["x"]), node("Abs", &["x"], &["r"])], &[], &["r"]);
    let outer = with_graph_attribute(node("If", &["c"], &["z"]), "then_branch", body);
    let start = node("Relu", &["x"], &["y"]);
    let model = read(&model(graph(vec![start, outer], &["x", "c"], &["z"]))).unwrap();
    let written =
        crate::to_bytes(&model, &crate::SaveOptions { opset: crate::Opset::AsWritten, ..Default::default() });
    let again =
        load_bytes(&written.unwrap().into(), &LoadOptions { upgrade: false, ..LoadOptions::default() });
    assert!(again.unwrap() == model);
}

#[test]
fn attributes_must_be_whole() {
    let with = |attribute| {
        let mut relu = node("Relu", &["x"], &["y"]);
        relu.attribute = vec![attribute];
        model(graph(vec![relu], &["x"], &["y"]))
    };
    let named =
        |kind: AttributeType| AttributeProto { name: "a".into(), type_: kind.into(), ..Default::default() };
    assert_eq!(fault(&with(named(AttributeType::TENSOR))), "attribute \"a\" of node Relu #0: has no tensor");
    assert_eq!(fault(&with(named(AttributeType::GRAPH))), "attribute \"a\" of node Relu #0: has no graph");
    let mut odd = named(AttributeType::INT);
    odd.merge_from_bytes(&[0xa0, 0x01, 99]).unwrap();
    assert_eq!(
        fault(&with(odd)),
        "attribute \"a\" of node Relu #0: has type number 99, which ONNX does not define"
    );
    let mut twice = with(named(AttributeType::INT));
    let node = &mut twice.graph.as_mut().unwrap().node[0];
    node.attribute.push(named(AttributeType::INT));
    assert_eq!(fault(&twice), "node Relu #0 has two attributes named \"a\"");
    // Files before IR version 3 do not say the type.
    let mut old = AttributeProto { name: "a".into(), ints: vec![1, 2], ..Default::default() };
    old.type_ = AttributeType::UNDEFINED.into();
    let read = read(&with(old)).unwrap();
    assert_eq!(read.graph.nodes().next().unwrap().1.attrs.get("a"), Some(&Attr::Ints(vec![1, 2])));
}

#[test]
fn functions_must_not_call_themselves() {
    let mut recursive = model(graph(vec![], &["x"], &["x"]));
    for (name, calls) in [("F", "G"), ("G", "F"), ("H", "F")] {
        recursive.functions.push(Default::default());
        let function = recursive.functions.last_mut().unwrap();
        (function.name, function.domain) = (name.into(), "d".into());
        let mut call = node(calls, &["a"], &["b"]);
        call.domain = "d".into();
        (function.input, function.output) = (vec!["a".into()], vec!["b".into()]);
        function.node.push(call);
    }
    assert_eq!(fault(&recursive), "function \"F\" calls itself: F → G → F");
    recursive.functions.truncate(2);
    recursive.functions.push(recursive.functions[0].clone());
    assert_eq!(fault(&recursive), "function F is defined twice");
}

#[test]
fn initializers_that_are_inputs_are_defaults_except_in_old_files() {
    let mut body = graph(vec![node("Relu", &["w"], &["y"])], &["w"], &["y"]);
    body.initializer = vec![TensorProto {
        name: "w".into(),
        data_type: DType::F32.to_onnx(),
        dims: vec![1],
        float_data: vec![2.0],
        ..TensorProto::default()
    }];
    let mut proto = model(body);
    let new = read(&proto).unwrap().graph;
    assert_eq!((new.inputs.len(), new.constant(new.inputs[0])), (1, None));
    proto.ir_version = 3;
    let old = read(&proto).unwrap().graph;
    let (id, _) = old.values().find(|(_, v)| v.name == "w").unwrap();
    assert!(old.inputs.is_empty() && old.constant(id).is_some());
}

#[test]
fn sparse_initializers_become_dense() {
    let mut body = graph(vec![node("Relu", &["w"], &["y"])], &[], &["y"]);
    body.sparse_initializer.push(Default::default());
    let sparse = body.sparse_initializer.last_mut().unwrap();
    let vector = |dtype: DType, dims: &[i64]| TensorProto {
        data_type: dtype.to_onnx(),
        dims: dims.to_vec(),
        ..TensorProto::default()
    };
    let values = TensorProto { name: "w".into(), float_data: vec![5.0, 6.0], ..vector(DType::F32, &[2]) };
    let indices = TensorProto { int64_data: vec![0, 1, 1, 2], ..vector(DType::I64, &[2, 2]) };
    (sparse.values, sparse.indices, sparse.dims) = (Some(values).into(), Some(indices).into(), vec![2, 3]);
    let mut proto = model(body);
    let read_back = read(&proto).unwrap().graph;
    let (_, value) = read_back.values().find(|(_, v)| v.name == "w").unwrap();
    let dense = value.constant.as_ref().unwrap();
    assert_eq!(dense.elements::<f32>().unwrap().as_ref(), [0.0, 5.0, 0.0, 0.0, 0.0, 6.0]);
    proto.graph.as_mut().unwrap().sparse_initializer[0].dims = vec![2, 2];
    assert_eq!(fault(&proto), "sparse initializer \"w\": an index is out of bounds for shape [2, 2]");
    proto.graph.as_mut().unwrap().sparse_initializer[0].dims = vec![1 << 20, 1 << 20];
    assert!(fault(&proto).contains("more than the limit"));
}

#[test]
fn not_a_model_at_all() {
    let text = |bytes: &'static [u8]| {
        load_bytes(&Bytes::from_static(bytes), &LoadOptions::default()).unwrap_err().to_string()
    };
    assert_eq!(text(b""), "this is not an ONNX model: at byte 0, the file is empty");
    assert_eq!(
        text(b"version https://git-lfs.github.com/spec/v1"),
        "this is not an ONNX model: at byte 0, a field has a wire type that does not exist"
    );
    assert!(text(b"PK\x03\x04\x14\0\x08\0").starts_with("this is not an ONNX model"));
    let missing = load("no/such/model.onnx", &LoadOptions::default()).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read \"no/such/model.onnx\": "), "{missing}");
}

#[test]
fn nodes_in_any_order_are_read_alike() {
    let branch = |inner: &str| graph(vec![node("Add", &["late", "early"], &[inner])], &[], &[inner]);
    let mut choice = node("If", &["c"], &["y"]);
    for (name, inner) in [("then_branch", "t"), ("else_branch", "e")] {
        choice = with_graph_attribute(choice, name, branch(inner));
    }
    // The body of `If` shadows nothing and captures two values, of which it reads the later one first.
    let sorted = [node("Relu", &["x"], &["early"]), node("Neg", &["early"], &["late"]), choice];
    let read_as = |order: [usize; 3], attributes: [usize; 2]| {
        let mut nodes: Vec<NodeProto> = order.iter().map(|i| sorted[*i].clone()).collect();
        let place = order.iter().position(|i| *i == 2).unwrap();
        let given = nodes[place].attribute.clone();
        nodes[place].attribute = attributes.iter().map(|i| given[*i].clone()).collect();
        let model = read(&model(graph(nodes, &["x", "c"], &["y"]))).unwrap();
        fusebox_ir::text::print_model(&model, &Default::default())
    };
    let expected = read_as([0, 1, 2], [0, 1]);
    for order in [[2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1]] {
        assert_eq!(read_as(order, [1, 0]), expected, "{order:?}");
    }
}
