//! Memory of import: within a stated multiple of the file, whatever the file says. A test binary of its own with one test, which
//! starts itself once per file and measures that process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use bytes::Bytes;
use fusebox_onnx::{LoadOptions, load_bytes};

/// Most bytes of memory per byte of a file that is no weight: what the limit on parts comes to for the smallest parts.
const MULTIPLE: usize = 512;
/// What the process, its tables and the allocator take besides.
const SLACK: usize = 32 << 20;

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let tag = u32::from(number) << 3 | 2;
    [varint(tag as usize), varint(content.len()), content.to_vec()].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A model of IR version 10 and opset 21 around the fields of a graph.
fn model(graph: &[u8]) -> Vec<u8> {
    let opset = field(8, &[0x0a, 0, 0x10, 21]);
    [vec![0x08, 10], field(7, graph), opset].concat()
}

/// Bytes of the line of `/proc/self/status` that begins so.
fn status(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    value.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

/// Names the file that a process started by the test reads.
const CASE: &str = "FUSEBOX_MEMORY_CASE";
/// What such a process says first.
const ANSWER: &str = "peak and acceptance: ";

/// Most memory that reading the file takes on top of what there is already, and whether it was accepted. In a process
/// of its own: an allocator keeps what it was given once, and hides what later reading takes.
fn peak_of_reading(bytes: &[u8]) -> (usize, bool) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.arg("--nocapture").env(CASE, file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, answer) = text.split_once(ANSWER).unwrap();
    let mut words = answer.split_whitespace();
    (words.next().unwrap().parse().unwrap(), words.next() == Some("true"))
}

fn answer(path: &std::path::Path) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let before = status("VmRSS:");
    let accepted = load_bytes(&bytes, &LoadOptions::default()).is_ok();
    println!("{ANSWER}{} {accepted}", status("VmHWM:").saturating_sub(before));
}

#[test]
fn import_takes_no_more_than_the_stated_multiple() {
    if let Some(path) = std::env::var_os(CASE) {
        return answer(path.as_ref());
    }
    let many = |count: usize, part: &dyn Fn(usize) -> Vec<u8>| (0..count).flat_map(part).collect::<Vec<u8>>();
    let node = |body: &[u8]| field(1, body);
    let identity = |index: usize| {
        let (from, to) = (index.to_string(), (index + 1).to_string());
        node(&[field(1, from.as_bytes()), field(2, to.as_bytes()), field(4, b"Abs")].concat())
    };
    let input = |name: &str| field(11, &field(1, name.as_bytes()));
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("nodes of nothing", many(200_000, &|_| node(&[]))),
        ("a chain", [input("0"), many(50_000, &identity)].concat()),
        ("inputs without a type", many(100_000, &|index| input(&index.to_string()))),
        ("outputs that nothing defines", many(100_000, &|_| field(12, &[]))),
        ("descriptions", many(100_000, &|index| field(13, &field(1, index.to_string().as_bytes())))),
        ("empty inputs of a node", node(&many(200_000, &|_| field(1, &[])))),
        ("outputs of a node", node(&many(100_000, &|index| field(2, index.to_string().as_bytes())))),
        ("attributes", node(&many(100_000, &|index| field(5, &field(1, index.to_string().as_bytes()))))),
        ("numbers of an attribute", node(&field(5, &field(8, &vec![1; 1 << 20])))),
        ("numbers one by one", node(&field(5, &[0x40, 1].repeat(1 << 19)))),
        ("sizes", field(5, &field(1, &vec![1; 1 << 20]))),
        ("numbers of a tensor", field(5, &[vec![0x10, 7], field(7, &vec![1; 1 << 20])].concat())),
        ("strings of a tensor", field(5, &[vec![0x10, 8], many(200_000, &|_| field(6, &[]))].concat())),
        ("tensors", many(100_000, &|index| field(5, &field(8, index.to_string().as_bytes())))),
        ("sizes of an input", field(11, &field(2, &field(1, &field(2, &many(200_000, &|_| field(1, &[]))))))),
        ("metadata", many(100_000, &|_| field(16, &[]))),
        ("unknown fields", many(200_000, &|_| vec![0xf8, 0x7f, 1])),
    ];
    let mut accepted = 0;
    for (name, graph) in files {
        let bytes = model(&graph);
        let (peak, read) = peak_of_reading(&bytes);
        accepted += usize::from(read);
        let limit = MULTIPLE * bytes.len() + SLACK;
        println!("{name}: {} bytes, {} times that", bytes.len(), peak / bytes.len());
        assert!(
            peak <= limit,
            "{name}: {} bytes take {peak} bytes of memory, more than {limit}",
            bytes.len()
        );
    }
    weights_are_not_copied();
    assert!(accepted >= 4, "only {accepted} of the files are models");
}

fn weights_are_not_copied() {
    let weights = field(
        5,
        &[field(1, &varint(16 << 20)), vec![0x10, 1], field(8, b"w"), field(9, &vec![0; 64 << 20])].concat(),
    );
    let bytes = model(&weights);
    let (peak, read) = peak_of_reading(&bytes);
    assert!(read && peak <= SLACK, "{peak} bytes of memory for {} bytes of weights", bytes.len());
}
