//! A folder of its own in which the program is run, and what a run looked like as text for a snapshot.

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A folder with files for one test.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("the system has a folder for temporary files"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a file on the desk.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path().join(name), content).expect("a temporary folder can be written");
    }

    /// Puts a model of the corpus on the desk, under the last part of its name.
    pub(crate) fn corpus(&self, name: &str) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
        let content = std::fs::read(corpus.join(name)).expect("the corpus is part of the repository");
        self.put(name.rsplit('/').next().expect("a name"), &content);
    }

    /// Names of the files on the desk.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("a temporary folder can be read");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("a temporary folder can be read").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// Runs `fusebox` with arguments separated by spaces; gives the command, what it wrote and its exit code.
    pub(crate) fn run(&self, arguments: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fusebox"));
        command.args(arguments.split_whitespace());
        self.finish(&mut command, &format!("fusebox {arguments}"))
    }

    /// As [`Desk::run`], where no file can grow beyond some kilobytes: what a full disk looks like to a program.
    pub(crate) fn run_on_full_disk(&self, arguments: &str) -> String {
        let mut command = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_fusebox")]).args(arguments.split_whitespace());
        self.finish(&mut command, &format!("fusebox {arguments}"))
    }

    fn finish(&self, command: &mut Command, shown: &str) -> String {
        command.current_dir(self.path()).env("NO_COLOR", "1").env_remove("RUST_LOG").env("COLUMNS", "100");
        let output = command.output().expect("the program was built");
        let stream = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>()
        };
        let (out, err) = (stream(&output.stdout), stream(&output.stderr));
        assert!(!err.contains("panicked"), "{shown}: {err}");
        let code = output.status.code().map_or_else(|| "none: killed".to_owned(), |code| code.to_string());
        format!("$ {shown}\n{out}{err}exit code {code}\n")
    }
}

/// Settings for snapshots of what the program writes: times, accuracies and random names replaced.
pub(crate) fn settings() -> insta::Settings {
    let mut settings = fusebox_testing::snapshot::settings("cli");
    settings.add_filter(r"\b\d+(\.\d+)? ?(ns|µs|us|ms|s)\b", "[time]");
    settings.add_filter(r"memory at most [\d.]+ [KMG]iB", "memory at most [memory]");
    settings.add_filter(
        r"cosine \d(\.\d+)?, relative error \S+, signal to noise \S+ dB",
        "cosine [c], relative error [e], signal to noise [q] dB",
    );
    settings.add_filter(r"(rules/)?\b\w+\.rules:\d+ ", "[rule] ");
    settings.add_filter(r#" at path "[^"]*""#, " at path [temporary]");
    settings
}

/// As [`settings`], with columns closed up: their widths follow from times.
pub(crate) fn table_settings() -> insta::Settings {
    let mut settings = settings();
    settings.add_filter(r" {2,}", "  ");
    settings
}

/// As [`table_settings`], for answers that hold measured numbers.
pub(crate) fn measured_settings() -> insta::Settings {
    let mut settings = table_settings();
    settings.add_filter(r"-?\b\d+\.\d+(e-?\d+)?", "[n]");
    settings.add_filter(r"(\[n\]|\b\d+) ?(GFLOP/s|MFLOP|KiB|MiB|dB|%|×)", "[n] $2");
    settings
}
