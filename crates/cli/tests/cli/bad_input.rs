//! Bad input: each fault with its message and exit code in a snapshot. Nothing panics, nothing half-written remains.

use crate::desk::{Desk, settings, table_settings};
use crate::wire::{Draft, FLOAT, INT64, external, filled, node, node_of};

/// Runs commands on a file and keeps what they said. No command may leave a file behind.
fn snapshot(name: &str, desk: &Desk, arguments: &[&str]) {
    let before = desk.files();
    let text: Vec<String> = arguments.iter().map(|arguments| desk.run(arguments)).collect();
    assert_eq!(desk.files(), before, "{}", text.join("\n"));
    settings().bind(|| insta::assert_snapshot!(name, text.join("\n")));
}

/// `optimize` and `run` on a model of these bytes, both of which must fail with this exit code.
fn refused(name: &str, model: &[u8], code: u8) {
    let desk = Desk::new();
    desk.put("bad.onnx", model);
    for verb in ["inspect bad.onnx", "verify bad.onnx bad.onnx", "diff bad.onnx bad.onnx"] {
        let said = desk.run(verb);
        assert!(!said.contains("exit code none"), "{said}");
    }
    for verb in ["optimize bad.onnx -o out.onnx", "run bad.onnx"] {
        let said = desk.run(verb);
        assert!(said.ends_with(&format!("exit code {code}\n")), "{name}: {said}");
    }
    snapshot(name, &desk, &["optimize bad.onnx -o out.onnx", "run bad.onnx"]);
}

#[test]
fn not_a_protobuf() {
    refused("bad-not_a_protobuf", b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea\n", 3);
    refused("bad-empty", b"", 3);
}

#[test]
fn truncated() {
    let whole = Draft::new(&[node("MatMul", &["x", "w"], &["y"])]).with(&[filled("w", &[4, 4], 1.0)]).bytes();
    refused("bad-truncated", &whole[..whole.len() / 2], 3);
}

#[test]
fn cyclic() {
    let nodes = [node("Add", &["x", "b"], &["a"]), node("Relu", &["a"], &["b"]), node("Neg", &["b"], &["y"])];
    refused("bad-cyclic", &Draft::new(&nodes).bytes(), 3);
}

#[test]
fn missing_input() {
    refused("bad-missing_input", &Draft::new(&[node("Add", &["x", "bias"], &["y"])]).bytes(), 3);
    refused("bad-missing_operand", &Draft::new(&[node("MatMul", &["x"], &["y"])]).bytes(), 3);
}

#[test]
fn undeclared_opset() {
    let unknown = Draft::new(&[node_of("com.example", "Mystery", &["x"], &["y"])]);
    refused("bad-undeclared_opset", &unknown.bytes(), 3);
    let none = Draft { opsets: vec![], ..Draft::new(&[node("Relu", &["x"], &["y"])]) };
    refused("bad-no_opset", &none.bytes(), 3);
}

#[test]
fn wrong_dtype() {
    let nodes = [node("MatMul", &["x", "w"], &["y"])];
    let model = Draft { input: (INT64, vec![2, 4]), ..Draft::new(&nodes) }.with(&[filled("w", &[4, 4], 1.0)]);
    refused("bad-wrong_dtype", &model.bytes(), 3);
    let undefined = Draft { input: (99, vec![2, 4]), ..Draft::new(&[node("Relu", &["x"], &["y"])]) };
    refused("bad-undefined_dtype", &undefined.bytes(), 3);
}

#[test]
fn shape_mismatch() {
    let nodes = [node("MatMul", &["x", "w"], &["a"]), node("MatMul", &["a", "v"], &["y"])];
    let weights = [filled("w", &[4, 3], 1.0), filled("v", &[5, 4], 1.0)];
    refused("bad-shape_mismatch", &Draft::new(&nodes).with(&weights).bytes(), 3);
}

#[test]
fn unknown_operator_passes_optimize_but_not_run() {
    let nodes = [
        node("Identity", &["x"], &["i"]),
        node_of("com.example", "Mystery", &["i"], &["m"]),
        node("Relu", &["m"], &["y"]),
    ];
    let model = Draft { opsets: vec![("", 20), ("com.example", 1)], ..Draft::new(&nodes) };
    let desk = Desk::new();
    desk.put("unknown.onnx", &model.bytes());
    let arguments = ["optimize unknown.onnx -o out.onnx", "run unknown.onnx", "run out.onnx"];
    let said: Vec<String> = arguments.iter().map(|arguments| desk.run(arguments)).collect();
    assert!(said[0].ends_with("exit code 0\n") && said[1].ends_with("exit code 5\n"), "{}", said.join("\n"));
    assert_eq!(desk.files(), ["out.onnx", "unknown.onnx"]);
    table_settings().bind(|| insta::assert_snapshot!("bad-unknown_operator", said.join("\n")));
}

#[test]
fn external_data() {
    let model = |location| {
        Draft::new(&[node("MatMul", &["x", "w"], &["y"])]).with(&[external("w", &[4, 4], location)]).bytes()
    };
    refused("bad-external_missing", &model("weights.bin"), 4);
    let desk = Desk::new();
    desk.put("short.bin", &[0; 60]);
    desk.put("short.onnx", &model("short.bin"));
    snapshot("bad-external_short", &desk, &["run short.onnx"]);
    refused("bad-external_outside", &model("../outside.bin"), 3);
    refused("bad-external_absolute", &model("/etc/hostname"), 3);
}

fn npy(sizes: &str, count: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    let header = format!("{header:<117}\n");
    [
        b"\x93NUMPY\x01\x00".to_vec(),
        (header.len() as u16).to_le_bytes().to_vec(),
        header.into(),
        vec![0; 4 * count],
    ]
    .concat()
}

#[test]
fn inputs_that_do_not_fit() {
    let desk = Desk::new();
    desk.put("model.onnx", &Draft::new(&[node("Relu", &["x"], &["y"])]).bytes());
    desk.put("good.npy", &npy("2, 4", 8));
    desk.put("wide.npy", &npy("2, 5", 10));
    desk.put("deep.npy", &npy("2, 4, 1", 8));
    desk.put("cut.npy", &npy("2, 4", 7));
    desk.put("text.npy", b"1 2 3 4");
    assert!(desk.run("run model.onnx --input x=good.npy").ends_with("exit code 0\n"));
    let arguments = [
        "run model.onnx --input x=wide.npy",
        "run model.onnx --input x=deep.npy",
        "run model.onnx --input x=cut.npy",
        "run model.onnx --input x=text.npy",
        "run model.onnx --input x=absent.npy",
        "run model.onnx --input z=good.npy",
        "run model.onnx --input x",
        "run absent.onnx",
        "optimize model.onnx -o out.onnx --dim batch=3",
        "optimize model.onnx -o model.onnx",
        "optimize model.onnx -o nowhere/out.onnx",
        "optimize model.onnx -o out.onnx --disable no.such",
    ];
    snapshot("bad-arguments", &desk, &arguments);
}

/// Rule files with one fault each: name of the file and its text.
const RULES: &[(&str, &str)] = &[
    ("syntax", "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(Neg(?x) => ?x\n"),
    ("character", "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(?x) => ?x;\n"),
    ("contract", "rule a.b : perfect\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(Neg(?x)) => ?x\n"),
    ("no_reason", "rule a.b : exact\n  example ?x: f32[b, 4]\n  Neg(Neg(?x)) => ?x\n"),
    ("no_example", "rule a.b : exact\n  why \"x\"\n  Neg(Neg(?x)) => ?x\n"),
    ("operator", "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Negg(?x) => ?x\n"),
    ("arity", "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(?x, ?x) => ?x\n"),
    ("unbound", "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(Neg(?x)) => ?y\n"),
    (
        "function",
        "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(Neg(?x)) => ?x\n  when flat(?x)\n",
    ),
    (
        "guard",
        "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(Neg(?x)) => ?x\n  when rank(?x) == 3\n",
    ),
    ("types", "rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  ReduceSum[keepdims=1](?x) => ?x\n"),
    ("twice", "rule gelu.erf : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  Neg(Neg(?x)) => ?x\n"),
    ("string", "rule a.b : exact\n  why \"x\n  example ?x: f32[b, 4]\n  Neg(Neg(?x)) => ?x\n"),
];

#[test]
fn rule_files() {
    let desk = Desk::new();
    desk.put("model.onnx", &Draft::new(&[node("Relu", &["x"], &["y"])]).bytes());
    for (name, text) in RULES {
        desk.put(&format!("{name}.rules"), text.as_bytes());
    }
    let mut said = Vec::new();
    for (name, _) in RULES {
        said.push(desk.run(&format!("optimize model.onnx -o out.onnx --rules {name}.rules")));
        let last = said.last().expect("just pushed");
        assert!(last.ends_with("exit code 3\n"), "{last}");
        assert!(last.contains(&format!("{name}.rules:")), "no place in {last}");
    }
    let deep = format!("rule a.b : exact\n  why \"x\"\n  example ?x: f32[b, 4]\n  {}", "Neg(".repeat(20_000));
    desk.put("deep.rules", deep.as_bytes());
    desk.put("binary.rules", b"# not text\n  \xff\xfe");
    for name in ["deep", "binary"] {
        said.push(desk.run(&format!("rules check {name}.rules")));
        assert!(said.last().is_some_and(|last| last.ends_with("exit code 3\n")), "{said:?}");
    }
    said.push(desk.run("optimize model.onnx -o out.onnx --rules absent.rules"));
    assert!(!desk.files().contains(&"out.onnx".to_owned()));
    settings().bind(|| insta::assert_snapshot!("bad-rules", said.join("\n")));
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let desk = Desk::new();
    desk.corpus("torchscript/mobilenet_block.onnx");
    let said = [
        desk.run_on_full_disk("optimize mobilenet_block.onnx -o out.onnx"),
        desk.run_on_full_disk("optimize mobilenet_block.onnx -o out.onnx --no-verify"),
        desk.run_on_full_disk("run mobilenet_block.onnx -o out.npz"),
    ];
    assert_eq!(desk.files(), ["mobilenet_block.onnx"], "{}", said.join("\n"));
    assert!(said[..2].iter().all(|said| said.ends_with("exit code 4\n")), "{}", said.join("\n"));
    desk.put("out.onnx", b"what was there before");
    desk.run_on_full_disk("optimize mobilenet_block.onnx -o out.onnx");
    let kept = std::fs::read(desk.path().join("out.onnx")).expect("still there");
    assert_eq!(kept, b"what was there before");
    settings().bind(|| insta::assert_snapshot!("bad-full_disk", said[..2].join("\n")));
}

#[test]
fn drafts_without_a_fault_run() {
    let desk = Desk::new();
    let model = Draft { output: (FLOAT, vec![2, 4]), ..Draft::new(&[node("MatMul", &["x", "w"], &["y"])]) };
    desk.put("good.onnx", &model.with(&[filled("w", &[4, 4], 1.0)]).bytes());
    let said = desk.run("run good.onnx");
    assert!(said.ends_with("exit code 0\n"), "{said}");
}
