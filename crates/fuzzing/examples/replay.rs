//! Runs a target on files, without libFuzzer: `cargo run -p fusebox-fuzzing --example replay -- TARGET FILE…`.

use fusebox_fuzzing::{smoke, target};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let target: smoke::Target = match arguments.next().as_deref() {
        Some("import") => target::import,
        Some("text") => target::text,
        Some("rules") => target::rules,
        Some("optimize") => target::optimize,
        Some("run") => target::run,
        _ => return Err("give a target (import, text, rules, optimize, run) and files".into()),
    };
    let mut failed = 0;
    for path in arguments {
        let content = std::fs::read(&path)?;
        let outcome = std::panic::catch_unwind(|| target(&content));
        println!("{path}: {}", if outcome.is_ok() { "ok" } else { "panicked" });
        failed += usize::from(outcome.is_err());
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} failed").into()) }
}
