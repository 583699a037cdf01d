//! Every command as a user runs it, on small corpus models: exit codes, what is written, what is said.

use fusebox_ir::{Builder, DType, Dim, Model, OpName, OpsetImport, TensorType};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusebox"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("FUSEBOX_KERNEL");
    command
}

fn finish(output: Output) -> Run {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    let code = output.status.code().expect("the program ends by itself");
    Run { code, out: text(output.stdout), err: text(output.stderr) }
}

fn fusebox(arguments: &[&str]) -> Run {
    finish(command(arguments).output().expect("the program starts"))
}

/// The JSON answer of a command that succeeds.
fn json(arguments: &[&str]) -> Value {
    let run = fusebox(&[arguments, &["--json"]].concat());
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.err);
    let answer: Value = serde_json::from_str(&run.out).expect("stdout is one JSON value");
    assert_eq!((&answer["version"], &answer["command"]), (&Value::from(1), &Value::from(arguments[0])));
    answer
}

/// The command fails with a code, says something and gives help.
fn fails(code: i32, arguments: &[&str], says: &str) {
    let run = fusebox(arguments);
    assert_eq!(run.code, code, "{arguments:?}: {}{}", run.out, run.err);
    assert!(run.err.contains(says), "{arguments:?} does not say {says:?}: {}", run.err);
    assert!(!run.err.contains('\u{1b}'), "no colours in a pipe");
}

fn corpus(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(name);
    path.to_str().expect("a UTF-8 path").to_owned()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a UTF-8 path").to_owned()
    }

    fn names(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder exists");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    fn npy(&self, name: &str, shape: &[usize]) -> String {
        let path = self.path(name);
        let array = ndarray::ArrayD::<f32>::from_elem(shape, 0.5);
        ndarray_npy::write_npy(&path, &array).expect("the array is written");
        path
    }

    /// A model with one operator that nobody knows.
    fn unknown_operator(&self) -> String {
        let mut b = Builder::new();
        let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n")]));
        let y = b.node(OpName::new("acme", "Fizz"), &[Some(x)], 1, fusebox_ir::Attrs::new())[0];
        let mut graph = b.finish(&[y]);
        graph.name = "g".into();
        graph.value_mut(y).name = "y".into();
        graph.value_mut(y).ty = TensorType::new(DType::F32, [Dim::symbol("n")]).into();
        let opset = |domain: &str, version| OpsetImport { domain: domain.into(), version };
        let opsets = vec![opset("", 17), opset("acme", 1)];
        let model: fusebox::Model = Model { graph, opsets, ir_version: 8, ..Model::default() }.into();
        let path = self.path("unknown.onnx");
        model.save(&path, &fusebox::SaveOptions::default()).expect("the model is written");
        path
    }
}

#[test]
fn optimize_fuses_verifies_and_writes() {
    let folder = Folder::new();
    let (model, out) = (corpus("attention.onnx"), folder.path("out.onnx"));
    let answer = json(&["optimize", &model, "-o", &out, "--int8"]);
    assert_eq!(answer["verification"]["passed"], true);
    assert!(!answer["fired"].as_array().unwrap().is_empty());
    assert!(answer["after"]["nodes"].as_u64() < answer["before"]["nodes"].as_u64());
    assert!(answer["precision"]["lowered"].as_u64() > Some(0));
    assert_eq!(folder.names(), [PathBuf::from(&out)], "nothing but the model is left behind");
    assert_eq!(fusebox(&["verify", &model, &out, "--tolerance", "cosine=0.999"]).code, 0);
    let first = std::fs::read(&out).unwrap();
    json(&["optimize", &model, "-o", &out, "--int8", "--threads", "1"]);
    assert_eq!(std::fs::read(&out).unwrap(), first, "the same bytes whatever the threads");
}

#[test]
fn a_result_past_the_tolerance_is_not_written() {
    let folder = Folder::new();
    let (model, out) = (corpus("digits_vit.onnx"), folder.path("out.onnx"));
    fails(
        1,
        &["optimize", &model, "-o", &out, "--int8", "--tolerance", "rel=1e-7"],
        "differs from the original",
    );
    assert!(folder.names().is_empty());
    json(&["optimize", &model, "-o", &out, "--int8"]);
    fails(1, &["verify", &model, &out], "past the tolerance");
    let run = fusebox(&["verify", &model, &out, "--json"]);
    let answer: Value = serde_json::Deserializer::from_str(&run.out).into_iter().next().unwrap().unwrap();
    assert_eq!((run.code, &answer["passed"]), (1, &Value::from(false)));
    assert!(answer["comparison"]["first_difference"]["node"].is_string());
}

#[test]
fn sizes_that_are_fixed_stay_fixed() {
    let folder = Folder::new();
    let (model, out) = (corpus("attention.onnx"), folder.path("out.onnx"));
    json(&["optimize", &model, "-o", &out, "--dim", "seq=24", "--dim", "batch=3"]);
    let answer = json(&["inspect", &out]);
    assert_eq!(answer["inputs"][0]["type"], "f32[3, 24, 128]");
    assert_eq!(fusebox(&["verify", &model, &out]).code, 0);
}

#[test]
fn every_target_is_written_and_verified() {
    let folder = Folder::new();
    let (model, out) = (corpus("attention.onnx"), folder.path("out.onnx"));
    for (target, domain) in [("fusebox", "ai.fusebox"), ("onnx", ""), ("onnxruntime", "com.microsoft")] {
        json(&["optimize", &model, "-o", &out, "--target", target]);
        let operators = json(&["inspect", &out])["operators"].clone();
        let names: Vec<&str> =
            operators.as_array().unwrap().iter().filter_map(|o| o["op"].as_str()).collect();
        let fused = names.iter().filter(|name| name.starts_with("ai.fusebox")).count();
        assert_eq!(fused > 0, target == "fusebox", "{target}: {names:?}");
        assert!(
            domain.is_empty() || names.iter().any(|name| name.starts_with(domain)),
            "{target}: {names:?}"
        );
    }
}

#[test]
fn run_takes_files_and_writes_files() {
    let folder = Folder::new();
    let (model, out) = (corpus("cross_attention.onnx"), folder.path("out.npz"));
    let query = format!("query={}", folder.npy("q.npy", &[1, 6, 128]));
    let context = format!("context={}", folder.npy("c.npy", &[1, 9, 128]));
    let answer = json(&["run", &model, "--input", &query, "--input", &context, "-o", &out]);
    assert_eq!(answer["outputs"][0]["type"], "f32[1, 6, 128]");
    let mut archive = ndarray_npy::NpzReader::new(std::fs::File::open(&out).unwrap()).unwrap();
    let output: ndarray::ArrayD<f32> = archive.by_name("output").unwrap();
    assert_eq!(output.shape(), [1, 6, 128]);
    fails(2, &["run", &model, "--input", &query], "\"context\"");
    let answer = json(&["run", &model, "--input", &query, "--random"]);
    assert_eq!(answer["inputs"].as_array().unwrap().len(), 2);
    let wrong = format!("query={}", folder.npy("w.npy", &[1, 6, 127]));
    fails(2, &["run", &model, "--input", &wrong, "--random"], "dim 2 is 127 instead of 128");
    fails(2, &["run", &model, "--input", "nobody=x.npy", "--random"], "its inputs are query, context");
}

#[test]
fn random_inputs_are_the_same_for_the_same_seed() {
    let model = corpus("digits_cnn.onnx");
    let outputs = |seed| json(&["run", &model, "--seed", seed])["outputs"].clone();
    assert_eq!(outputs("1"), outputs("1"));
    assert_ne!(outputs("1"), outputs("2"));
    let reference = json(&["run", &model, "--seed", "1", "--reference"]);
    let mean = |outputs: &Value| outputs[0]["mean"].as_f64().unwrap();
    assert!((mean(&reference["outputs"]) - mean(&outputs("1"))).abs() < 1e-4);
}

/// Name of a model's first input.
fn input_name(model: &str) -> String {
    json(&["inspect", model])["inputs"][0]["name"].as_str().expect("inputs have names").to_owned()
}

#[test]
fn wrong_usage_is_2() {
    let (model, folder) = (corpus("attention.onnx"), Folder::new());
    let out = folder.path("out.onnx");
    fails(2, &["optimize", &model], "--output");
    fails(2, &["optimize", &model, "-o", &out, "--int8", "--fp16"], "cannot be used with");
    fails(2, &["optimize", &model, "-o", &out, "--dim", "length=3"], "its symbolic dims are batch, seq");
    fails(2, &["optimize", &model, "-o", &out, "--dim", "seq"], "NAME=N");
    fails(2, &["optimize", &model, "-o", &out, "--dim", "seq=1", "--dim", "seq=2"], "two sizes");
    fails(2, &["optimize", &model, "-o", &out, "--disable", "no.rule"], "no.rule");
    let x = folder.path("x.npy");
    let header = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 128), }");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend([0u8; 1024]);
    std::fs::write(&x, bytes).unwrap();
    let given = format!("{}={x}", input_name(&model));
    fails(
        2,
        &["run", &model, "-i", &given, "--dim", "seq=3"],
        "contradicts the given inputs, where seq is 2",
    );
    fails(2, &["run", &model, "-i", &given, "--dim", "length=3"], "its symbolic dims are batch, seq");
    std::fs::remove_file(&x).unwrap();
    fails(2, &["optimize", &model, "-o", &model], "is the model that is being read");
    fails(2, &["verify", &model, &corpus("digits_cnn.onnx")], "cannot be compared");
    fails(2, &["frobnicate"], "unrecognized subcommand");
    assert!(folder.names().is_empty());
}

#[test]
fn what_is_read_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.onnx").to_string_lossy().into_owned();
    std::fs::copy(corpus("small_cnn.onnx"), &model).unwrap();
    let before = std::fs::read(&model).unwrap();
    fails(2, &["run", &model, "-o", &model], "is a file that this command reads");
    fails(2, &["optimize", &model, "-o", &model], "is the model that is being read");
    let rules = folder.path().join("r.rules").to_string_lossy().into_owned();
    std::fs::write(&rules, "").unwrap();
    fails(2, &["optimize", &model, "-o", &rules, "--rules", &rules], "is a file that this command reads");
    assert_eq!(std::fs::read(&model).unwrap(), before);
}

#[test]
fn excluded_nodes_go_by_the_names_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("o.onnx").to_string_lossy().into_owned();
    let model = corpus("medium_mlp.onnx");
    fails(
        2,
        &["optimize", &model, "--int8", "--exclude", "nope", "-o", &out],
        "no node of the model is named",
    );
    let lowered = |arguments: &[&str]| {
        let mut all = vec!["optimize", &model, "--int8", "-o", &out, "--tolerance", "cosine=0.9"];
        all.extend(arguments);
        let layers = json(&all)["precision"]["layers"].clone();
        layers.as_array().unwrap().iter().filter(|l| l["lowered"] == true).count()
    };
    let all = lowered(&[]);
    assert_eq!(lowered(&["--exclude", "node_linear"]), all - 1);
}

#[test]
fn invalid_files_are_3() {
    let folder = Folder::new();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = std::fs::read(corpus("attention.onnx")).unwrap();
    let cut = write("cut.onnx", &whole[..whole.len() / 2]);
    let text = write("text.onnx", b"this is no model");
    let rules = write("bad.rules", b"rule x : real phase=recognize\n  Add(?x => ?x\n");
    let npy = write("bad.npy", b"this is no array");
    fails(3, &["inspect", &cut], "cut off");
    fails(3, &["run", &text], "not an ONNX model");
    fails(3, &["rules", "check", &rules], "bad.rules:");
    let out = folder.path("out.onnx");
    fails(3, &["optimize", &corpus("attention.onnx"), "-o", &out, "--rules", &rules], "bad.rules:");
    fails(3, &["run", &corpus("attention.onnx"), "--input", &format!("input={npy}")], "not a tensor");
    assert!(!Path::new(&out).exists());
}

#[test]
fn the_file_system_is_4() {
    let model = corpus("attention.onnx");
    fails(4, &["inspect", "/nowhere/model.onnx"], "cannot read");
    fails(4, &["optimize", &model, "-o", "/nowhere/out.onnx"], "out.onnx\": entity not found\nhelp");
    fails(4, &["run", &model, "--input", "input=/nowhere/x.npy"], "cannot read");
    fails(4, &["run", &model, "-o", "/nowhere/out.npz"], "cannot write");
    fails(4, &["rules", "check", "/nowhere/x.rules"], "cannot read");
}

#[test]
fn an_unknown_operator_passes_optimize_and_is_5_in_run() {
    let folder = Folder::new();
    let (model, out) = (folder.unknown_operator(), folder.path("out.onnx"));
    let run = fusebox(&["optimize", &model, "-o", &out]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("not verified") && run.err.contains("acme.Fizz"), "{}", run.err);
    fails(5, &["run", &out], "acme.Fizz");
    fails(5, &["verify", &model, &out], "acme.Fizz");
    let operators = json(&["inspect", &out])["operators"].clone();
    assert_eq!(
        (&operators[0]["op"], &operators[0]["known"]),
        (&Value::from("acme.Fizz"), &Value::from(false))
    );
}

#[test]
fn failures_are_told_in_json_too() {
    let run = fusebox(&["inspect", "/nowhere/model.onnx", "--json"]);
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((run.code, &answer["error"]["exit_code"]), (4, &Value::from(4)));
    assert_eq!(answer["error"]["code"], "fusebox::model");
}

#[test]
fn bench_measures_and_serves() {
    let model = corpus("digits_cnn.onnx");
    let answer = json(&["bench", &model, "--runs", "3", "--threads", "1", "--profile", "--baseline", &model]);
    assert_eq!(answer["models"].as_array().unwrap().len(), 2);
    assert!(answer["models"][0]["seconds"]["median"].as_f64() > Some(0.0));
    assert!(!answer["profile"]["steps"].as_array().unwrap().is_empty());
    let mut child = command(&["bench", &model, "--serve", "--threads", "1"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"run 2\nquit\n").unwrap();
    let run = finish(child.wait_with_output().unwrap());
    let lines: Vec<&str> = run.out.lines().collect();
    let ready: Value = serde_json::from_str(lines[0].strip_prefix("ready ").unwrap()).unwrap();
    assert!(ready["load_ms"].as_f64() > Some(0.0));
    let times: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!((run.code, times["times_us"].as_array().unwrap().len()), (0, 2));
}

#[test]
fn inspect_tells_family_and_modules() {
    let answer = json(&["inspect", &corpus("bert_base.onnx")]);
    assert_eq!(
        (&answer["family"]["name"], &answer["family"]["attention"]),
        (&"attention".into(), &12.into())
    );
    assert!(answer["hierarchy"]["share"].as_f64() > Some(0.9));
    assert_eq!(json(&["inspect", &corpus("medium_mlp.onnx")])["family"]["name"], "MLP");
    assert_eq!(json(&["inspect", &corpus("small_cnn.onnx")])["family"]["name"], "CNN");
    assert!(fusebox(&["inspect", &corpus("medium_mlp.onnx"), "--text"]).out.contains("Gemm"));
}

#[test]
fn diff_groups_by_rule_and_ends_as_asked() {
    let folder = Folder::new();
    let (model, out) = (corpus("digits_cnn.onnx"), folder.path("out.onnx"));
    json(&["optimize", &model, "-o", &out]);
    let answer = json(&["diff", &model, &out]);
    assert_eq!(answer["equal"], false);
    assert!(answer["groups"][0]["rule"].as_str().unwrap().contains("conv."));
    assert_eq!(fusebox(&["diff", &model, &out, "--exit-code"]).code, 1);
    assert_eq!(fusebox(&["diff", &model, &model, "--exit-code"]).code, 0);
}

#[test]
fn rules_are_listed_shown_and_checked() {
    let rules = json(&["rules", "list"])["rules"].clone();
    let first = rules[0]["name"].as_str().unwrap();
    assert!(rules.as_array().unwrap().iter().all(|rule| !rule["why"].as_str().unwrap().is_empty()));
    assert!(fusebox(&["rules", "show", first]).out.contains(first));
    fails(2, &["rules", "show", "no.such"], "no rule is named");
    assert_eq!(
        json(&["rules", "check"])["checked"].as_array().unwrap().len(),
        rules.as_array().unwrap().len()
    );
}

#[test]
fn fill_makes_the_weights_of_a_skeleton() {
    let folder = Folder::new();
    let (skeleton, out) = (corpus("medium_mlp.onnx"), folder.path("filled.onnx"));
    json(&["fill", &skeleton, "-o", &out]);
    assert!(std::fs::metadata(&out).unwrap().len() > 2_000_000);
    assert!(json(&["diff", &skeleton, &out])["equal"].as_bool().unwrap());
    let outputs = |path: &str| json(&["run", path])["outputs"].clone();
    assert_eq!(outputs(&skeleton), outputs(&out));
}

#[test]
fn completions_and_help_name_every_command() {
    let script = fusebox(&["completions", "bash"]).out;
    let help = fusebox(&["--help"]);
    for command in ["optimize", "run", "verify", "bench", "inspect", "diff", "rules", "fill", "completions"] {
        assert!(script.contains(command) && help.out.contains(command), "{command}");
    }
    assert!(help.out.contains("Exit codes:") && help.code == 0);
    assert_eq!(fusebox(&["inspect", &corpus("digits_cnn.onnx"), "--quiet"]).out, "");
}
