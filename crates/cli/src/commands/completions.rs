//! `fusebox completions SHELL`: a completion script on stdout.

use super::Verb;
use crate::context::Context;
use crate::failure::Failure;
use clap::Args;
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Shell to write for
    shell: Shell,
}

impl Verb for Completions {
    const NAME: &'static str = "completions";
    const ABOUT: &'static str = "Print a completion script for a shell";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::parser(), "fusebox", &mut script);
        let script = String::from_utf8_lossy(&script);
        if cx.json {
            return cx
                .answer(&serde_json::json!({ "shell": self.shell.to_string(), "script": script }), |_| {
                    String::new()
                });
        }
        cx.print(&script)
    }
}
