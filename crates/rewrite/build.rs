//! Lists the files of `rules/` for embedding, so that a new file needs no other change.

use std::{env, fs, path::Path};

fn main() {
    let rules = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by Cargo")).join("../../rules");
    println!("cargo::rerun-if-changed={}", rules.display());
    let mut files: Vec<_> = fs::read_dir(&rules)
        .expect("rules/ is part of the repository")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "rules"))
        .collect();
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.file_name().expect("a file has a name").to_string_lossy();
        println!("cargo::rerun-if-changed={}", file.display());
        list += &format!("    (\"rules/{name}\", include_str!({:?})),\n", file.display().to_string());
    }
    list += "]\n";
    let out = Path::new(&env::var("OUT_DIR").expect("set by Cargo")).join("rules.rs");
    fs::write(out, list).expect("OUT_DIR is writable");
}
