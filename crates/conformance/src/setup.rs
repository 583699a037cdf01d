//! Makes the Python environment and the cases below a folder, and asks ONNX Runtime what it makes of them.
//!
//! Everything is made once: a stamp holds the scripts and the versions that made it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const REQUIREMENTS: &str = include_str!("../requirements.txt");
const GENERATE: &str = include_str!("../generate.py");
const PEER: &str = include_str!("../peer.py");

/// Folder of this package's scripts.
fn scripts() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn interpreter(folder: &Path) -> PathBuf {
    folder.join("venv").join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// Makes what is not there: the environment, the cases, the answers of ONNX Runtime on the originals.
///
/// # Errors
/// What failed: no Python, no package index, no space.
pub fn prepare(folder: &Path, jobs: usize) -> Result<(), String> {
    let stamp = folder.join("stamp");
    let wanted = [REQUIREMENTS, GENERATE, PEER].concat();
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let fault = |e: std::io::Error| format!("{}: {e}", folder.display());
    fs::create_dir_all(folder).map_err(fault)?;
    if !interpreter(folder).is_file() {
        let made =
            call(Path::new("python3"), &["-m".as_ref(), "venv".as_ref(), folder.join("venv").as_ref()]);
        made.map_err(|e| format!("the conformance suite needs Python 3.11 with venv: {e}"))?;
    }
    let requirements = scripts().join("requirements.txt");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"].map(AsRef::as_ref);
    call(&interpreter(folder), &[&pip[..], &[requirements.as_ref()]].concat()).map_err(|e| {
        format!(
            "the conformance suite needs PyPI (or a mirror that pip is configured for) to install onnx: {e}"
        )
    })?;
    call(&interpreter(folder), &[scripts().join("generate.py").as_ref(), folder.as_ref()])?;
    peer(folder, &folder.join("cases"), &originals(folder), jobs)?;
    fs::write(&stamp, wanted).map_err(fault)
}

/// Where ONNX Runtime's answers on the originals lie.
pub fn originals(folder: &Path) -> PathBuf {
    folder.join("original.tsv")
}

/// Runs the models below `models` by ONNX Runtime; `results` receives a line per case.
///
/// # Errors
/// When the script itself fails.
pub fn peer(folder: &Path, models: &Path, results: &Path, jobs: usize) -> Result<(), String> {
    let script = scripts().join("peer.py");
    let jobs = jobs.to_string();
    call(
        &interpreter(folder),
        &[script.as_ref(), folder.as_ref(), models.as_ref(), results.as_ref(), jobs.as_ref()],
    )
}

fn call(program: &Path, arguments: &[&std::ffi::OsStr]) -> Result<(), String> {
    let status = Command::new(program).args(arguments).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} {:?} ended with {status}", program.display(), arguments)),
        Err(error) => Err(format!("{}: {error}", program.display())),
    }
}
