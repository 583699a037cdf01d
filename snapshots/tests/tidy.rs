//! Rules of the house that the compiler does not check: who may name which library, where `unsafe` lives, how long a
//! file may be, that every file says what it owns.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file, its tests aside.
const MAX_LINES: usize = 800;

/// A library and the one crate that names it.
const OWNERS: &[(&str, &str)] = &[
    ("onnx_ir", "crates/onnx"),
    ("egg", "crates/rewrite"),
    ("pulp", "crates/kernels"),
    ("memmap2", "crates/kernels"),
    ("clap", "crates/cli"),
    ("indicatif", "crates/cli"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut stack = vec![root().join("crates"), root().join("snapshots"), root().join("benches")];
    while let Some(folder) = stack.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace is readable") {
            let path = entry.expect("a folder of the workspace is readable").path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && name != "target" {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let relative =
                    path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((relative, fs::read_to_string(&path).expect("sources are UTF-8")));
            }
        }
    }
    found.sort();
    found
}

/// The part before the first test module, without comments and string contents that would confuse a word search.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    body.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn fail_with(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n{}", offenders.join("\n"));
}

#[test]
fn a_library_is_named_by_one_crate() {
    let mut offenders = Vec::new();
    for (path, text) in sources() {
        for (library, owner) in OWNERS {
            let named = |line: &str| {
                line.contains(&format!("{library}::")) || line.contains(&format!("use {library};"))
            };
            let word = |line: &str| {
                let at = line.find(&format!("{library}::")).unwrap_or(0);
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            };
            if !path.starts_with(owner) && code(&text).lines().any(|line| named(line) && word(line)) {
                offenders.push(format!("{path} names {library}, which belongs to {owner}"));
            }
        }
    }
    fail_with("libraries outside their crate", &offenders);
}

#[test]
fn unsafe_lives_in_kernels() {
    let word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe");
    let offenders: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("crates/kernels/") && !path.ends_with("tidy.rs"))
        .filter(|(_, text)| code(text).lines().any(word))
        .map(|(path, _)| path)
        .collect();
    fail_with("unsafe outside crates/kernels", &offenders);
}

#[test]
fn files_stay_readable() {
    let mut offenders = Vec::new();
    for (path, text) in sources() {
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        if lines > MAX_LINES {
            offenders.push(format!("{path}: {lines} lines, {MAX_LINES} allowed"));
        }
        if !text.starts_with("//!") {
            offenders.push(format!("{path} does not say what it owns (`//!` on the first line)"));
        }
    }
    fail_with("files", &offenders);
}

#[test]
fn nothing_is_left_for_later() {
    let banned = ["todo!(", "unimplemented!(", "#[ignore"];
    let offenders: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| !path.ends_with("tidy.rs") && banned.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path)
        .collect();
    fail_with("unfinished code or ignored tests", &offenders);
}
