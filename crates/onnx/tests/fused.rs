//! Fused operators and functions: written as calls with definitions, recognised again, written out on demand.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use fusebox_ir::{
    Attr, Attrs, Builder, DType, Dim, Function, Model, OpName, OpsetImport, Tensor, TensorType,
};
use fusebox_onnx::{
    ExpandError, ExportError, LoadOptions, Opset, SaveOptions, Target, expand_functions, load_bytes, to_bytes,
};
use fusebox_ops::{Datum, Interpreter};

fn ramp(shape: &[usize], scale: f32) -> Tensor {
    let count: usize = shape.iter().product();
    let elements = (0..count).map(|i| ((i * 37 % 23) as f32 - 11.0) * scale).collect();
    Tensor::from_vec(shape.to_vec(), elements).unwrap()
}

/// Two Linear operators of one shape and kind (one function), one of another, and a norm with two outputs.
fn fused_model() -> Model {
    let mut b = Builder::new();
    let batch = Dim::symbol("batch");
    let x = b.input("x", TensorType::new(DType::F32, [batch, Dim::known(4)]));
    let (w, bias) = (b.constant(ramp(&[4, 4], 0.1)), b.constant(ramp(&[4], 0.5)));
    let relu = Attrs::new().with("activation", "relu");
    let linear = OpName::fusebox("Linear");
    let inputs = |x| [Some(x), Some(w), None, Some(bias)];
    let first = b.node(linear.clone(), &inputs(x), 1, relu.clone())[0];
    let second = b.node(linear.clone(), &inputs(first), 1, relu)[0];
    let third = b.node(linear, &[Some(second), Some(w)], 1, Attrs::new())[0];
    let gamma = b.constant(ramp(&[4], 0.2));
    let norm = OpName::fusebox("SkipLayerNorm");
    let out = b.node(norm, &[Some(third), Some(x), Some(gamma)], 2, Attrs::new());
    let mut graph = b.finish(&[out[0], out[1]]);
    for id in graph.node_ids() {
        graph.node_mut(id).metadata.push(("fused.by".into(), "a rule".into()));
    }
    graph.value_mut(out[0]).name = "y".into();
    graph.value_mut(out[1]).name = "sum".into();
    fusebox_ops::infer_graph(&mut graph, &[]).unwrap();
    let opsets = vec![OpsetImport { domain: String::new(), version: 13 }];
    Model { graph, opsets, ir_version: 8, ..Model::default() }
}

fn write(model: &Model, target: Target) -> Model {
    let bytes = to_bytes(model, &SaveOptions { target, ..SaveOptions::default() }).unwrap();
    load_bytes(&bytes.into(), &LoadOptions::default()).unwrap()
}

fn run(model: &Model) -> Vec<Tensor> {
    let inputs = [Some(Datum::from(ramp(&[3, 4], 0.3)))];
    let outputs = Interpreter::new(&model.functions).run(&model.graph, &inputs, &[]).unwrap();
    outputs.into_iter().map(|o| o.into_tensor().unwrap()).collect()
}

fn operators(model: &Model) -> Vec<String> {
    model.graph.nodes().map(|(_, node)| node.op.to_string()).collect()
}

#[test]
fn calls_with_definitions_come_back_as_operators() {
    let model = fused_model();
    let bytes = to_bytes(&model, &SaveOptions::default()).unwrap();
    let raw = LoadOptions { upgrade: false, ..LoadOptions::default() };
    let file = load_bytes(&bytes.clone().into(), &raw).unwrap();
    let calls = [
        "ai.fusebox.Linear__0",
        "ai.fusebox.Linear__0",
        "ai.fusebox.Linear__1",
        "ai.fusebox.SkipLayerNorm__0",
    ];
    assert_eq!(operators(&file), calls);
    assert_eq!(file.functions.len(), 3);
    assert_eq!(file.functions[0].graph.inputs.len(), 4, "an absent input keeps its place");
    assert_eq!(file.functions[0].required, ["activation"]);
    assert_eq!((file.opset("ai.fusebox"), file.opset("")), (Some(1), Some(13)));
    let back = load_bytes(&bytes.clone().into(), &LoadOptions::default()).unwrap();
    assert_eq!(operators(&back), operators(&model));
    assert!(back.functions.is_empty());
    assert_eq!(to_bytes(&back, &SaveOptions::default()).unwrap(), bytes);
    assert_eq!(run(&back), run(&model));
}

#[test]
fn definitions_written_out_compute_the_same() {
    let model = fused_model();
    let written = write(&model, Target::Onnx);
    assert!(operators(&written).iter().all(|op| !op.starts_with("ai.fusebox")), "{:?}", operators(&written));
    assert_eq!(written.opset("ai.fusebox"), None);
    let provenance = |(_, node): (_, &fusebox_ir::Node)| node.metadata("fused.by") == Some("a rule");
    assert!(written.graph.nodes().all(provenance));
    let (reference, result) = (run(&model), run(&written));
    for (a, b) in reference.iter().zip(&result) {
        let (a, b) = (a.floats().unwrap(), b.floats().unwrap());
        let difference = a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(difference < 1e-5, "{difference}");
    }
    let mut nodes: Vec<_> = written.graph.nodes().map(|(_, node)| node.name.as_str()).collect();
    nodes.sort_unstable();
    assert!(
        nodes.windows(2).all(|pair| pair[0] != pair[1]),
        "ONNX Runtime refuses repeated names: {nodes:?}"
    );
    let names: Vec<_> = written.graph.outputs.iter().map(|o| written.graph.value(*o).name.as_str()).collect();
    assert_eq!(names, ["y", "sum"]);
}

#[test]
fn onnxruntime_gets_its_own_operators() {
    let written = write(&fused_model(), Target::OnnxRuntime);
    assert!(operators(&written).iter().all(|op| !op.starts_with("ai.fusebox")));
    let microsoft = operators(&written).iter().any(|op| op.starts_with("com.microsoft"));
    assert_eq!(microsoft, written.opset("com.microsoft").is_some());
}

#[test]
fn operators_with_a_definition_are_written_out_where_they_do_not_exist() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[3, 4]));
    let gelu = b.node(OpName::new("com.microsoft", "Gelu"), &[Some(x)], 1, Attrs::new())[0];
    let graph = b.finish(&[gelu]);
    let opsets =
        [("", 17), ("com.microsoft", 1)].map(|(d, version)| OpsetImport { domain: d.into(), version });
    let model = Model { graph, opsets: opsets.to_vec(), ir_version: 8, ..Model::default() };
    assert_eq!(operators(&write(&model, Target::Fusebox)), ["com.microsoft.Gelu"]);
    let standard = write(&model, Target::Onnx);
    assert!(operators(&standard).iter().all(|op| !op.contains('.')), "{:?}", operators(&standard));
    let (reference, result) = (run(&model), run(&standard));
    assert_eq!(reference[0].shape(), result[0].shape());
    let (a, b) = (reference[0].floats().unwrap(), result[0].floats().unwrap());
    assert!(a.iter().zip(&b).all(|(x, y)| (x - y).abs() < 1e-6));
}

#[test]
fn an_unknown_operator_keeps_the_opset() {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[2]));
    let y = b.op("Frobnicate", &[x]);
    let graph = b.finish(&[y]);
    let opsets = vec![OpsetImport { domain: String::new(), version: 13 }];
    let model = Model { graph, opsets, ..Model::default() };
    assert_eq!(write(&model, Target::Fusebox).opset(""), Some(13));
    let newer = SaveOptions { opset: Opset::Exactly(17), ..SaveOptions::default() };
    let error = to_bytes(&model, &newer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "opset 17 is needed, but node Frobnicate #0 has an operator that is known only as opset 13 defines it"
    );
    let absurd = SaveOptions { opset: Opset::Exactly(1000), ..SaveOptions::default() };
    assert!(matches!(to_bytes(&model, &absurd), Err(ExportError::NoSuchOpset { opset: 1000, .. })));
}

/// `Twice(x; k) = Scale(Scale(x))`, `Scale(x; k = 2) = x * k`, with a constant taken from the attribute.
fn functions() -> Vec<Function> {
    let mut b = Builder::new();
    let x = b.input("x", fusebox_ir::Type::Unknown);
    let constant = Attrs::new().with("value_float", 0.0);
    let k = b.op_with("Constant", &[], constant);
    let y = b.op("Mul", &[x, k]);
    let mut scale = b.finish(&[y]);
    let id = scale.node_ids()[0];
    scale.node_mut(id).attrs = Attrs::from_iter([("value_float".into(), Attr::Reference("k".into(), 1))]);
    let mut b = Builder::new();
    let x = b.input("x", fusebox_ir::Type::Unknown);
    let call = OpName::new("local", "Scale");
    let once = b.node(call.clone(), &[Some(x)], 1, Attrs::new())[0];
    let twice = b.node(call, &[Some(once)], 1, Attrs::new().with("k", 5.0))[0];
    let twice = b.finish(&[twice, x]);
    let opsets = ["", "local"].map(|d| OpsetImport { domain: d.into(), version: 17 }).to_vec();
    let function = |name: &str, graph, defaults| Function {
        domain: "local".into(),
        name: name.into(),
        graph,
        defaults,
        opsets: opsets.clone(),
        ..Function::default()
    };
    vec![function("Scale", scale, Attrs::new().with("k", 2.0)), function("Twice", twice, Attrs::new())]
}

fn calling_model() -> Model {
    let mut b = Builder::new();
    let x = b.input("x", TensorType::known(DType::F32, &[3, 4]));
    let out = b.node(OpName::new("local", "Twice"), &[Some(x)], 2, Attrs::new());
    let mut graph = b.finish(&out);
    (graph.value_mut(out[0]).name, graph.value_mut(out[1]).name) = ("y".into(), "copy".into());
    let opsets = ["", "local"].map(|d| OpsetImport { domain: d.into(), version: 17 }).to_vec();
    Model { graph, functions: functions(), opsets, ir_version: 8, ..Model::default() }
}

#[test]
fn expanded_functions_compute_the_same() {
    let mut model = calling_model();
    let before = write(&model, Target::Fusebox);
    assert_eq!(before.functions.len(), 2);
    assert_eq!(expand_functions(&mut model).unwrap(), 3);
    model.graph.verify().unwrap();
    assert!(operators(&model).iter().all(|op| !op.starts_with("local")));
    let input = ramp(&[3, 4], 0.3);
    let expected: Vec<f64> =
        input.floats().unwrap().iter().map(|x| f64::from(*x as f32 * 2.0 * 5.0)).collect();
    let outputs = run(&model);
    assert_eq!(outputs[0].floats().unwrap(), expected);
    assert_eq!(outputs[1], input);
}

#[test]
fn recursion_and_wrong_calls_are_refused() {
    let mut model = calling_model();
    let id = model.functions[0].graph.node_ids()[1];
    model.functions[0].graph.node_mut(id).op = OpName::new("local", "Twice");
    assert!(matches!(expand_functions(&mut model), Err(ExpandError::Recursive { .. })));
    let mut model = calling_model();
    let id = model.graph.node_ids()[0];
    let x = model.graph.inputs[0];
    model.graph.node_mut(id).inputs.push(Some(x));
    assert!(matches!(
        expand_functions(&mut model),
        Err(ExpandError::Arity { what: "inputs", found: 2, expected: 1, .. })
    ));
}

#[test]
fn multiplying_functions_are_stopped() {
    let mut model = calling_model();
    let opsets = model.functions[0].opsets.clone();
    for level in 0..40 {
        let mut b = Builder::new();
        let x = b.input("x", fusebox_ir::Type::Unknown);
        let callee = if level == 0 { "Twice".to_owned() } else { format!("F{}", level - 1) };
        let call = OpName::new("local", &callee);
        let first = b.node(call.clone(), &[Some(x)], 1, Attrs::new())[0];
        let second = b.node(call, &[Some(first)], 1, Attrs::new())[0];
        let (domain, name, opsets) = ("local".into(), format!("F{level}"), opsets.clone());
        model.functions.push(Function {
            domain,
            name,
            graph: b.finish(&[second]),
            opsets,
            ..Function::default()
        });
    }
    let id = model.graph.node_ids()[0];
    model.graph.node_mut(id).op = OpName::new("local", "F39");
    let outputs: Vec<_> = model.graph.node(id).outputs.iter().copied().take(1).collect();
    model.graph.set_outputs(id, outputs);
    model.graph.outputs.truncate(1);
    assert!(matches!(expand_functions(&mut model), Err(ExpandError::TooManyNodes { .. })));
    // A file that says so is refused before anything follows its calls.
    let bytes = to_bytes(&model, &SaveOptions { opset: Opset::AsWritten, ..SaveOptions::default() }).unwrap();
    let error = load_bytes(&bytes.into(), &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("make more than 500000 nodes"), "{error}");
}

#[test]
fn functions_that_copy_long_names_are_stopped() {
    let mut model = calling_model();
    let id = model.functions[0].graph.node_ids()[0];
    let opsets = model.functions[0].opsets.clone();
    model.functions[0].graph.node_mut(id).metadata.push(("doc".into(), "x".repeat(1 << 20)));
    for level in 0..12 {
        let mut b = Builder::new();
        let mut x = b.input("x", fusebox_ir::Type::Unknown);
        let callee = if level == 0 { model.functions[0].name.clone() } else { format!("F{}", level - 1) };
        for _ in 0..2 {
            x = b.node(OpName::new("local", &callee), &[Some(x)], 1, Attrs::new())[0];
        }
        let (domain, name, opsets) = ("local".into(), format!("F{level}"), opsets.clone());
        let graph = b.finish(&[x]);
        model.functions.push(Function { domain, name, graph, opsets, ..Function::default() });
    }
    let id = model.graph.node_ids()[0];
    model.graph.node_mut(id).op = OpName::new("local", "F11");
    let outputs: Vec<_> = model.graph.node(id).outputs.iter().copied().take(1).collect();
    model.graph.set_outputs(id, outputs);
    model.graph.outputs.truncate(1);
    assert!(matches!(expand_functions(&mut model), Err(ExpandError::TooManyBytes { .. })));
}

#[test]
fn parts_of_a_split_that_nothing_reads_have_names() {
    let text = "graph (%0: f32[6]) -> (%2) {
  %1, _, %2 = Split(%0, i64[3]{1, 2, 3}) : f32[1], f32[3]
}";
    let graph = fusebox_ir::text::parse(text).unwrap();
    let opsets = vec![OpsetImport { domain: String::new(), version: 18 }];
    let read = write(&Model { graph, opsets, ir_version: 8, ..Model::default() }, Target::Onnx);
    let (_, split) = read.graph.nodes().next().unwrap();
    let names: Vec<&str> = split.outputs.iter().map(|o| read.graph.value(o.unwrap()).name.as_str()).collect();
    assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
}
